import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive, processRef } from "../core/container/process-ref.ts";
import { RuntimeError } from "../core/errors.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { closeFd, fcntl, listen, socketpair, unixBind, unixConnect, unixSocket } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import { type Answer, ControlServer } from "./control.ts";
import { attach, Handle } from "./handle.ts";

const SOCK_STREAM = 1;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** A control server without a kernel around it, in this process; `turning` lets it serve. */
class Served {
  readonly warnings: string[] = [];
  readonly poller = new HostPoller();
  readonly server: ControlServer;
  readonly kept: Answer[] = [];
  turning = true;
  private readonly timer = setInterval(() => {
    if (this.turning) this.poller.dispatch();
  }, 1);

  constructor() {
    const log = { warn: (text: string) => this.warnings.push(text) };
    this.server = new ControlServer({ poller: this.poller, log } as unknown as Kernel);
    this.server.methods.set("echo", (params: unknown) => ({ params }));
    this.server.methods.set("keep", (_params: never, _fds: number[], answer: Answer) => {
      this.kept.push(answer);
      return undefined;
    });
    this.server.methods.set("wait", this.server.methods.get("keep")!);
  }
  connect(): Handle {
    const pair = new Int32Array(2);
    socketpair(SOCK_STREAM, pair);
    fcntl(pair[0]!, F_SETFL, O_NONBLOCK);
    this.server.serve(pair[1]!);
    const { pid, startTime } = processRef(process.pid);
    return new Handle(pair[0]!, pid, startTime, false);
  }
  close(): void {
    clearInterval(this.timer);
    this.poller.close();
  }
}

let served: Served;
beforeEach(() => {
  served = new Served();
});
afterEach(() => served.close());

const descriptors = () => readdirSync("/proc/self/fd").length;
const threads = () => readdirSync("/proc/self/task").length;
/** Until `count` is at most `most`: what is closed goes with the event loop's next turns. */
async function settles(count: () => number, most: number): Promise<number> {
  for (let tries = 0; tries < 200 && count() > most; tries++) await Bun.sleep(10);
  return count();
}

describe("handles", () => {
  test("hundreds one after the other leave neither a descriptor nor a thread", async () => {
    const first = served.connect();
    await first.request("echo", 1);
    const before = { descriptors: descriptors(), threads: threads() };
    for (let i = 0; i < 400; i++) {
      const handle = served.connect();
      // Some are closed without a word, some with a question outstanding.
      if (i % 3 === 0) expect(await handle.request("echo", i)).toEqual({ params: i });
      else if (i % 3 === 1) handle.request("keep", i).catch(() => {});
      handle.close();
    }
    expect(await settles(descriptors, before.descriptors)).toBeLessThanOrEqual(before.descriptors);
    // The runtime starts some of its own when it likes to.
    expect(threads()).toBeLessThan(before.threads + 16);
    expect(await first.request("echo", "still")).toEqual({ params: "still" });
    first.close();
  });
  test("a hundred at once, more than there are pool threads, all answer", async () => {
    const handles = Array.from({ length: 100 }, () => served.connect());
    const before = threads();
    const answers = await Promise.all(handles.map((each, i) => each.request("echo", i)));
    expect(answers).toEqual(handles.map((_, i) => ({ params: i })));
    // Files can still be read in the background.
    expect(await Bun.file("/proc/self/comm").text()).not.toBe("");
    expect(threads()).toBeLessThanOrEqual(before + 4);
    for (const each of handles) each.close();
  });
  test("what is outstanding is refused when the handle is closed, and at once afterwards", async () => {
    const handle = served.connect();
    const waiting = handle.request("wait", {});
    handle.close();
    await expect(waiting).rejects.toThrow("was closed");
    await expect(handle.request("echo", 1)).rejects.toThrow("is gone");
  });
  test("a connection that is not taken ends with the reason, not with a sandbox that is said to have ended", async () => {
    const listening = unixSocket(SOCK_STREAM);
    const name = Buffer.from(`\0runts-handle-test-${process.pid}`);
    expect(unixBind(listening, name, name.length)).toBe(0);
    listen(listening, 300);
    served.server.listen(listening);
    const { pid, startTime } = processRef(process.pid);
    const connect = (): Handle => {
      const socket = unixSocket(SOCK_STREAM);
      expect(unixConnect(socket, name, name.length)).toBe(0);
      fcntl(socket, F_SETFL, O_NONBLOCK);
      return new Handle(socket, pid, startTime, false);
    };
    // As many as there may be, all waiting for something.
    const others = Array.from({ length: 256 }, connect);
    const waiting = others.map((each) => each.request("keep", {}).catch(() => {}));
    while (served.kept.length < others.length) await Bun.sleep(2);
    const late = connect();
    await expect(late.request("echo", 1)).rejects.toThrow("too many other requests");
    await expect(late.request("echo", 2)).rejects.toThrow("too many other requests");
    for (const each of [late, ...others]) each.close();
    await Promise.all(waiting);
    served.poller.unwatch(listening);
    closeFd(listening);
  });

  test("a large message goes out piece by piece, and its answer comes back whole", async () => {
    const handle = served.connect();
    const text = "x".repeat(3 << 20);
    expect(await handle.request("echo", text)).toEqual({ params: text });
    handle.close();
  });
});

describe("a sandbox that does not answer", () => {
  const caught = (promise: Promise<unknown>) => promise.then(String, (error: RuntimeError) => error);
  test("a request ends with an error that names the process", async () => {
    const handle = served.connect();
    served.turning = false;
    const error = (await caught(handle.request("echo", 1, [], 100))) as RuntimeError;
    expect(error).toBeInstanceOf(RuntimeError);
    expect(error.code).toBe("no-answer");
    expect(error.message).toContain(`process ${process.pid} does not answer`);
    // An answer that comes too late is nobody's, and the handle goes on.
    served.turning = true;
    expect(await handle.request("echo", 2)).toEqual({ params: 2 });
    handle.close();
  });
  test("an acknowledged request may take longer than the limit", async () => {
    const handle = served.connect();
    const late = handle.request("keep", {}, [], 200);
    await Bun.sleep(500);
    served.kept[0]!.resolve({ late: true });
    expect(await late).toEqual({ late: true });
    handle.close();
  });
  test("an acknowledged request is given up when the sandbox stops answering; a wait is not", async () => {
    const handle = served.connect();
    const kept = caught(handle.request("keep", {}));
    let ended = false;
    const waiting = handle.request("wait", {}).finally(() => {
      ended = true;
    });
    while (served.kept.length < 2) await Bun.sleep(5);
    await Bun.sleep(50);
    served.turning = false;
    expect(((await kept) as RuntimeError).code).toBe("no-answer");
    expect(ended).toBe(false);
    served.turning = true;
    served.kept[1]!.resolve({ exitCode: 3 });
    expect(await waiting).toEqual({ exitCode: 3 });
    handle.close();
  }, 30_000);
  test("a message that its socket has no room for", async () => {
    const handle = served.connect();
    served.turning = false;
    const error = (await caught(handle.request("echo", "x".repeat(4 << 20), [], 100))) as RuntimeError;
    expect(error.code).toBe("no-answer");
    handle.close();
  });
  test("a listening queue that nobody takes callers from", async () => {
    const directory = mkdtempSync(join(tmpdir(), "runts-unit-"));
    const socket = unixSocket(SOCK_STREAM);
    const path = Buffer.from(`${directory}/control.sock\0`);
    expect(unixBind(socket, path, path.length)).toBe(0);
    listen(socket, 1);
    const handles: Handle[] = [];
    const error = await (async () => {
      for (let i = 0; i < 10; i++) handles.push(await attach(directory, processRef(process.pid)));
    })().catch((e: RuntimeError) => e);
    expect((error as RuntimeError).code).toBe("no-answer");
    for (const each of handles) each.close();
    closeFd(socket);
    rmSync(directory, { recursive: true });
  }, 20_000);
});

describe("kill", () => {
  /** A handle to a child that is not a sandbox. */
  const handleOf = (pid: number, startTime = processRef(pid).startTime): Handle => {
    const pair = new Int32Array(2);
    socketpair(SOCK_STREAM, pair);
    fcntl(pair[0]!, F_SETFL, O_NONBLOCK);
    closeFd(pair[1]!);
    return new Handle(pair[0]!, pid, startTime, false);
  };
  test("ends a stopped process", async () => {
    const child = Bun.spawn(["sleep", "300"]);
    const ref = processRef(child.pid);
    child.kill("SIGSTOP");
    await handleOf(child.pid).kill();
    expect(isAlive(ref)).toBe(false);
    await child.exited;
  });
  test("does not touch a process of the same number that started at another time", async () => {
    const child = Bun.spawn(["sleep", "300"]);
    await handleOf(child.pid, 1).kill();
    await Bun.sleep(50);
    expect(child.killed || child.exitCode !== null).toBe(false);
    expect(isAlive(processRef(child.pid))).toBe(true);
    child.kill("SIGKILL");
    await child.exited;
  });
});
