/** `runts update ID`: new limits, from flags or (`--resources FILE`, `-` for the standard input) as JSON. */
import { readFileSync } from "node:fs";
import { command } from "../command.ts";
import { type FlagValues, flag, usage } from "../flags.ts";
import type { Resources } from "../spec/schema.ts";

const flags = {
  resources: flag.string({ value: "FILE", short: "r", help: "linux.resources as JSON; - is the standard input" }),
  memory: flag.string({ value: "BYTES", help: "memory limit; -1 is none" }),
  memoryReservation: flag.string({ value: "BYTES", help: "memory that is taken away last" }),
  memorySwap: flag.string({ value: "BYTES", help: "memory and swap together; -1 is no limit" }),
  cpuShare: flag.integer({ value: "N", help: "weight against other containers" }),
  cpuQuota: flag.integer({ value: "MICROSECONDS", help: "processor time in each period; -1 is no limit" }),
  cpuPeriod: flag.integer({ value: "MICROSECONDS", help: "length of that period" }),
  cpuRtPeriod: flag.integer({ value: "MICROSECONDS", help: "period of realtime scheduling" }),
  cpuRtRuntime: flag.integer({ value: "MICROSECONDS", help: "realtime processor time in that period" }),
  cpusetCpus: flag.string({ value: "LIST", help: "processors to use, as 0-3,7" }),
  cpusetMems: flag.string({ value: "LIST", help: "memory nodes to use" }),
  pidsLimit: flag.integer({ value: "N", help: "processes and threads, at most; -1 is no limit" }),
  blkioWeight: flag.integer({ value: "N", help: "weight of block input and output, 10 to 1000" }),
  cpuBurst: flag.integer({ help: "accepted, without effect", hidden: true }),
  cpuIdle: flag.integer({ help: "accepted, without effect", hidden: true }),
  kernelMemory: flag.string({ help: "accepted, without effect", hidden: true }),
  kernelMemoryTcp: flag.string({ help: "accepted, without effect", hidden: true }),
  l3CacheSchema: flag.string({ help: "accepted, without effect", hidden: true }),
  memBwSchema: flag.string({ help: "accepted, without effect", hidden: true }),
};

export default command({
  name: "update",
  summary: "change a container's limits",
  args: "<container-id>",
  description: "What is not named stays. With --resources the other flags are ignored.",
  flags,
  async run(context, values, [id]) {
    const { parseResources } = await import("../spec/load.ts");
    const resources =
      values.resources === undefined
        ? fromFlags(values)
        : parseResources(
            readFileSync(values.resources === "-" ? 0 : values.resources, "utf8"),
            sourceName(values.resources),
          );
    await (await context.containers()).update(id!, resources);
  },
});

const sourceName = (path: string): string => (path === "-" ? "standard input" : path);

export function fromFlags(values: FlagValues<typeof flags>): Resources {
  const group = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } | undefined => {
    const set = Object.entries(fields).filter(([, value]) => value !== undefined);
    return set.length === 0 ? undefined : (Object.fromEntries(set) as never);
  };
  const all = {
    memory: group({
      limit: bytes("memory", values.memory),
      reservation: bytes("memory-reservation", values.memoryReservation),
      swap: bytes("memory-swap", values.memorySwap),
    }),
    cpu: group({
      shares: values.cpuShare,
      quota: values.cpuQuota,
      period: values.cpuPeriod,
      realtimePeriod: values.cpuRtPeriod,
      realtimeRuntime: values.cpuRtRuntime,
      cpus: values.cpusetCpus,
      mems: values.cpusetMems,
    }),
    pids: group({ limit: values.pidsLimit }),
    blockIO: group({ weight: values.blkioWeight }),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Docker's units: "64m", "1GiB", "-1". */
export function bytes(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(-?\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (match === null) throw usage("runts update", `flag --${name}: "${text}" is no size, such as 64m`);
  return Math.round(Number(match[1]) * 1024 ** " kmgt".indexOf(match[2]!.toLowerCase() || " "));
}
