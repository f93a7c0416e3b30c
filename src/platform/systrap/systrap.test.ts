/** The systrap platform alone. */
import { expect, test } from "bun:test";
import { killProcess } from "../../native/host.ts";
import { HostPoller } from "../../native/poller.ts";
import { checkpointConformance } from "../checkpoint-conformance.ts";
import { platformConformance } from "../conformance.ts";
import { type Context, type Platform, STOP_GONE, STOP_INTERRUPT } from "../platform.ts";
import { CODE, DATA, EXEC, LOOP, made, PAGE, READ, start, WRITE } from "../testing/guests.ts";
import { nextStop } from "../testing/stops.ts";
import { SystrapPlatform } from "./systrap.ts";

const SIGCONT = 18;
const SIGSTOP = 19;

platformConformance("systrap", (pollerFd) => new SystrapPlatform({ pollerFd }));
// Every command takes long: reads go another way, the rest is waited for while others could be served.
platformConformance("systrap, impatient", (pollerFd) => new SystrapPlatform({ pollerFd, patienceNs: 0 }));

checkpointConformance("systrap", (pollerFd) => new SystrapPlatform({ pollerFd }));
checkpointConformance("systrap, impatient", (pollerFd) => new SystrapPlatform({ pollerFd, patienceNs: 0 }));

test("who does not stop is killed, and keeps nobody", () => {
  const poller = new HostPoller();
  const platform = new SystrapPlatform({ pollerFd: poller.fd, stopMaxNs: 3e8 });
  const why: string[] = [];
  (platform as Platform).onKill = (_pid, text) => why.push(text);
  try {
    const [deaf, good] = [0, 1].map(() => {
      const ctx = made(platform.createAddressSpace(platform.ownHome));
      nextStop(platform);
      const space = ctx.addressSpace;
      space.executor = ctx;
      expect(space.map(CODE, PAGE, READ | WRITE | EXEC, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(LOOP), 0, 2)).toBe(2);
      space.flush?.();
      start(ctx, CODE);
      ctx.resumeWithRegisters();
      return ctx;
    }) as [Context, Context];
    killProcess(deaf.hostTid!, SIGSTOP);
    const begin = performance.now();
    expect(platform.quiesce()).toBe(0);
    expect(performance.now() - begin).toBeLessThan(5000);
    expect(why).toEqual(["a thread of it does not stop"]);
    expect(platform.states([deaf, good]).map((state) => typeof state)).toEqual(["number", "object"]);
    expect(deaf.addressSpace.snapshot()).toBeLessThan(0);
    const copy = made(good.addressSpace.snapshot());
    platform.unquiesce();
    const stops = new Map([nextStop(platform), nextStop(platform)].map((ctx) => [ctx as Context, ctx.stop]));
    expect([stops.get(deaf), stops.get(good)]).toEqual([STOP_GONE, STOP_INTERRUPT]);
    copy.destroy();
  } finally {
    platform.shutdown();
    poller.close();
  }
});

test("within a call that waits for its stub nothing can stand still", () => {
  const poller = new HostPoller();
  const platform = new SystrapPlatform({ pollerFd: poller.fd });
  const ctx = made(platform.createAddressSpace(platform.ownHome));
  nextStop(platform);
  ctx.addressSpace.executor = ctx;
  const results: number[] = [];
  platform.serveOthers = () => {
    results.push(platform.quiesce());
    killProcess(ctx.hostTid!, SIGCONT);
  };
  try {
    killProcess(ctx.hostTid!, SIGSTOP);
    expect(ctx.addressSpace.map(DATA, PAGE, READ, false, null, 0)).toBe(0);
    expect(results[0]).toBe(-16);
    expect(platform.quiesce()).toBe(0);
    // Nor is anybody served while it does.
    const served = results.length;
    killProcess(ctx.hostTid!, SIGSTOP);
    const woken = Bun.spawn(["sh", "-c", `sleep 0.1; kill -CONT ${ctx.hostTid}`]);
    expect(ctx.addressSpace.map(DATA, PAGE, READ, false, null, 0)).toBe(0);
    expect(results.length).toBe(served);
    woken.unref();
    platform.unquiesce();
  } finally {
    platform.shutdown();
    poller.close();
  }
});

/** Two guests' commands take long, the second one's within the first one's; the first answers while the second still waits. */
test("an answer to an outer command is not taken for a stop", () => {
  const poller = new HostPoller();
  const platform = new SystrapPlatform({ pollerFd: poller.fd });
  const made = (): Context => {
    const ctx = platform.createAddressSpace(platform.ownHome) as Context;
    for (let i = 0; i < 50 && platform.wait(100e6) !== ctx; i++);
    ctx.addressSpace.executor = ctx;
    return ctx;
  };
  const outer = made();
  const inner = made();
  const map = ({ addressSpace }: Context) => addressSpace.map(0x600000, 4096, 3, false, null, 0);
  const signal = ({ hostTid }: Context, signo: number) => killProcess(hostTid!, signo);
  const stops: (Context | null)[] = [];
  let innerResult: number | null = null;
  let looks = 0;
  platform.serveOthers = () => {
    if (innerResult === null && looks === 0) {
      looks = 1;
      signal(inner, SIGSTOP);
      innerResult = map(inner);
      return;
    }
    // Within both: the outer one answers, is seen to have done so, and must not be found again.
    if (looks === 1) signal(outer, SIGCONT);
    if (looks++ === 12) signal(inner, SIGCONT);
    else Bun.sleepSync(6);
    if (looks > 3 && looks < 12) stops.push(platform.wait(0));
  };
  try {
    signal(outer, SIGSTOP);
    expect(map(outer)).toBe(0);
    expect(innerResult as number | null).toBe(0);
    expect(looks).toBeGreaterThan(12);
    expect(stops.filter((ctx) => ctx !== null).length).toBe(0);
  } finally {
    for (const ctx of [outer, inner]) {
      signal(ctx, SIGCONT);
      ctx.addressSpace.destroy();
    }
    platform.shutdown();
    poller.close();
  }
});
