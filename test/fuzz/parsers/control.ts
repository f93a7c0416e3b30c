/**
 * The control connection: bytes and descriptors from a peer that keeps to nothing. The reader must go on or refuse, the
 * server must answer or hang up, and whatever was sent along is closed again.
 */
import { readdirSync } from "node:fs";
import { ControlServer, Refusal } from "../../../src/boot/control.ts";
import type { Kernel } from "../../../src/kernel/kernel.ts";
import { closeFd, dup, sendmsg, socketpair } from "../../../src/native/host.ts";
import type { HostWatcher } from "../../../src/native/poller.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const POLLIN = 1;
let text = "";
let warning = "";
let watcher: HostWatcher | null = null;
/** Of the kernel, the server needs somebody who tells when there is something to read, and a log. */
const kernel = {
  poller: {
    watch: (_fd: number, _events: number, who: HostWatcher) => {
      watcher = who;
    },
    unwatch: () => {
      watcher = null;
    },
  },
  log: {
    warn: (message: string) => {
      warning = message;
    },
  },
} as unknown as Kernel;

const server = new ControlServer(kernel);
server.methods.set("echo", (params: unknown) => params ?? {});
server.methods.set("later", (_params: unknown, fds, answer) => {
  for (const fd of fds) closeFd(fd);
  answer.resolve({});
  return undefined;
});
server.methods.set("refuse", (_params: unknown, fds) => {
  for (const fd of fds) closeFd(fd);
  throw new Refusal("refused", 1);
});

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;
let before = 0;

export const fuzzer: ParserFuzzer = {
  one(random) {
    if (before === 0) {
      // The library of native calls is opened by the first one, and stays open.
      closeFd(dup(0));
      before = openDescriptors();
    }
    const pair = new Int32Array(2);
    if (socketpair(1, pair) < 0) throw new Error("no socket pair");
    const [ours, theirs] = pair as unknown as [number, number];
    server.serve(theirs);
    text = "";
    for (let k = 1 + random.below(4); k > 0; k--) {
      const sample = {
        seq: random.below(10),
        method: random.pick(["echo", "later", "refuse", "nothing", "constructor"]),
        params: { a: [1, { b: "c" }] },
        fds: random.below(3),
      };
      let body = Buffer.from(JSON.stringify(random.oneIn(3) ? sample : random.spoilJson(sample, 4)) ?? "");
      if (random.oneIn(4)) body = Buffer.from(random.spoil(body));
      if (random.oneIn(50)) body = Buffer.from(`${"[".repeat(30_000)}`);
      const length = random.oneIn(8)
        ? random.pick([0, 1, 3, 0x7fffffff, 0xffffffff, 16 << 20, (16 << 20) + 1])
        : body.length;
      const whole = Buffer.alloc(4 + body.length);
      whole.writeUInt32LE(length);
      body.copy(whole, 4);
      text += `${length}:${body.toString("latin1").slice(0, 300)} `;
      const fds = Int32Array.from(Array.from({ length: random.below(4) }, () => dup(0)));
      const cut = random.oneIn(6) ? random.below(whole.length) : whole.length;
      sendmsg(ours, whole, cut, fds, fds.length, 0x4040);
      for (const fd of fds) closeFd(fd);
      warning = "";
      watcher?.hostReady(theirs, POLLIN);
      if (/TypeError|RangeError|undefined is not|null is not|not a function|not an object/.test(warning))
        throw new TypeError(`the connection ended by an accident: ${warning}`);
      if (watcher === null) break;
    }
    closeFd(ours);
    watcher?.hostReady(theirs, POLLIN);
    if (watcher !== null) throw new TypeError("the connection is still watched after its peer has gone");
    const now = openDescriptors();
    if (now > before) {
      const more = now - before;
      before = now;
      throw new RangeError(`${more} descriptors stay open`);
    }
  },
  last: () => text,
  meant: () => false,
};
