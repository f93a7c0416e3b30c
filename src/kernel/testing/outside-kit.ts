/**
 * Kernels of unit tests with a network outside: real brokers in a network namespace of the test's own, where nothing but the
 * loopback device is. Two kits with a broker each reach each other there, as two sandboxes on one host do.
 */
import { closeSync, openSync } from "node:fs";
import { encodeRules } from "../../core/network.ts";
import { closeFd, poll1, pwrite, waitChild } from "../../native/host.ts";
import { brokerFile, memoryFile } from "../../native/host-calls.ts";
import { startBrokerProcess } from "../../native/network.ts";
import { encodeCString } from "../abi/bytes.ts";
import type { SyscallDeclaration } from "../syscall.ts";
import { BLOCKED } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { POLLIN } from "../vfs/file.ts";
import type { TaskKit } from "./task-kit.ts";

const LOOPBACK_UP = 1;
/** Its name, and the ids that it takes on: those that the namespace of the test has. */
const WORDS = encodeCString(["runts-broker: test", "0", "0"].join("\0"));
const ALL = { egress: "all,raw", deny: null, publish: null, resolvers: [], shared: false, required: true };

export class TestNetwork {
  private readonly holder = Bun.spawn(
    ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo; exec sleep 600"],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  private readonly brokers: { pid: number; socket: number }[] = [];

  /** The namespace is there. */
  async ready(): Promise<this> {
    const { value } = await this.holder.stdout.getReader().read();
    if (value === undefined) throw new Error("cannot make a network namespace");
    return this;
  }

  /** Starts a broker with these rules: its socket's other end. */
  broker(bytes = encodeRules(ALL)): number {
    const { pid } = this.holder;
    const rules = memoryFile("rules");
    pwrite(rules, bytes, bytes.length, 0);
    const program = brokerFile();
    const user = openSync(`/proc/${pid}/ns/user`, "r");
    const net = openSync(`/proc/${pid}/ns/net`, "r");
    const out = new Int32Array(3);
    const result = startBrokerProcess(program, rules, user, net, WORDS, encodeCString(""), LOOPBACK_UP, out);
    for (const fd of [user, net]) closeSync(fd);
    closeFd(rules);
    closeFd(program);
    if (result < 0) throw new Error(`cannot start a broker: ${result}, step ${out[2]}`);
    this.brokers.push({ pid: out[1]!, socket: out[0]! });
    return out[0]!;
  }
  /** Ends one that was started, as from outside. */
  kill(socket: number): void {
    // Numbers are used again.
    const broker = this.brokers.findLast((one) => one.socket === socket)!;
    process.kill(broker.pid, "SIGKILL");
    // Its end of the socket is closed by then.
    poll1(socket, POLLIN, 5000);
  }

  /** Afterwards nothing is left of it. Kernels that have one of its brokers are closed before. */
  async end(): Promise<void> {
    this.holder.kill("SIGKILL");
    await this.holder.exited;
    for (const { pid } of this.brokers) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
      waitChild(pid, 0, new Int32Array(2));
    }
  }
}

/** Lets the kernels hear what is new outside, until `done`; false when that takes too long. */
export function pump(kits: readonly TaskKit[], done: () => boolean, timeoutMs = 5000): boolean {
  for (const until = Date.now() + timeoutMs; Date.now() < until; ) {
    if (done()) return true;
    for (const { kernel } of kits) kernel.poller.wait(kits.length === 1 ? 20 : 2);
  }
  return done();
}

/** Runs a call to its end, however often it waits for what is outside. */
export function complete(kit: TaskKit, declaration: SyscallDeclaration, ...args: number[]): number {
  return finish(kit, kit.task, declaration, kit.call(declaration, ...args));
}
export function finish(kit: TaskKit, task: Task, declaration: SyscallDeclaration, first: number, kits = [kit]): number {
  let result: number | undefined = first;
  const again = (): boolean => {
    result = kit.again(task, declaration);
    return result !== undefined && result !== BLOCKED;
  };
  if (result === BLOCKED && !pump(kits, again)) throw new Error(`${declaration.name} does not end`);
  return result!;
}
