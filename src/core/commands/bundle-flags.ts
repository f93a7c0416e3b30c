/** Flags that create and run (and later restore) share. */
import { flag } from "../flags.ts";

export const bundleFlags = {
  bundle: flag.string({ value: "DIR", short: "b", default: "", help: "directory of the bundle (default: this one)" }),
  consoleSocket: flag.string({ value: "SOCKET", help: "unix socket that gets the master of the container's terminal" }),
  pidFile: flag.string({ value: "FILE", help: "write the process id of the container to this file" }),
  preserveFds: flag.integer({ value: "N", default: 0, help: "hand N descriptors on, from 3", schema: count }),
  noPivot: flag.boolean({ help: "accepted, without effect", hidden: true }),
  noNewKeyring: flag.boolean({ help: "accepted, without effect", hidden: true }),
  pidfdSocket: flag.string({ help: "accepted, without effect", hidden: true }),
};

function count(v: typeof import("valibot")) {
  return v.pipe(v.number(), v.minValue(0, "must not be negative"), v.maxValue(200, "must be at most 200"));
}

/** The descriptors to hand on: systemd's LISTEN_FDS, then those asked for. */
export function preservedFds(asked: number): number {
  return asked + Number(process.env["LISTEN_FDS"] ?? 0);
}
