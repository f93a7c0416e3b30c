/**
 * Containers in the sandbox of another: the host process that stands for each, and how they are ended.
 *
 * The waiter is what a caller reaps: it exits with the container's code, by a byte that the sandbox sends it, or with 137
 * when the sandbox is gone. That it is killed ends the container, since the sandbox then finds the other end closed.
 *
 * A sandbox that does not answer cannot end one of its containers, and its others are not to end for the sake of one. What
 * can be killed from outside are this container's stubs, by its own cgroup: without them none of its code runs. One
 * without a cgroup of its own (those of ordinary users mostly) loses its waiter; whatever then still runs of it can
 * compute, and nothing else, since nobody serves its system calls, until its sandbox goes on and ends it, or is ended.
 */
import { closeSync } from "node:fs";
import type { CommandContext } from "../command.ts";
import { describe, RuntimeError } from "../errors.ts";
import type { HostCalls } from "../host-calls.ts";
import { KILLED, type ProcessRef, type SandboxHandle, type SandboxLauncher } from "../sandbox.ts";
import { cgroupProcesses, joinCgroups, thawCgroups } from "./cgroup.ts";
import { leaveExitStatus } from "./exit-status.ts";
import { descendants, ended, isAlive, processRef } from "./process-ref.ts";
import type { Metadata, Store } from "./store.ts";

const SIGKILL = 9;
/** What a sandbox has to take on the end of one of its containers, and then to carry it out. Less than 5 s together. */
const ANSWER_MS = 2000;
const DONE_MS = 2000;
/** One that is ending by itself is not to be had any more, and gone in a moment. */
const MOMENT_MS = 300;
/** Stubs that are born while others are killed: how often it is looked again. */
const ROUNDS = 100;
const ROUND_MS = 10;

export const isJoiner = ({ id, sandboxId }: Metadata): boolean => sandboxId !== id;

/** A waiter that was started, and the end of its channel that is the sandbox's. */
export interface Waiter {
  process: ProcessRef;
  channel: number;
  /** It is in its cgroups. */
  joined: Promise<void>;
}

export class Joiners {
  constructor(
    private readonly store: Store,
    private readonly host: HostCalls,
    private readonly launcher: () => Promise<SandboxLauncher>,
    private readonly log: CommandContext["log"],
  ) {}

  /**
   * Starts the process that stands for a container, in its cgroups and its sandbox' namespaces; `terminal`, or -1, is the
   * container's. It ends when nobody has the channel. It is on its way into the cgroups when this returns.
   */
  startWaiter(cgroups: readonly string[], terminal: number, sandbox: ProcessRef): Waiter {
    const pair = new Int32Array(2);
    const made = this.host.socketPair(pair);
    if (made < 0) throw new RuntimeError("host", `cannot make a socket pair (errno ${-made})`);
    const [its, channel] = [pair[0]!, pair[1]!];
    const pid = this.host.spawnWaiter(its, terminal, sandbox.pid);
    closeSync(its);
    if (pid < 0) {
      closeSync(channel);
      throw new RuntimeError("host", `cannot start a waiting process (errno ${-pid})`);
    }
    const joined = joinCgroups(cgroups, pid);
    // For who awaits it, if somebody still does.
    joined.catch(() => {});
    return { process: processRef(pid), channel, joined };
  }

  /** Ends a joiner's processes, by its kernel's hand where that is to be had. `sandbox`: an open handle. */
  async end(metadata: Metadata, sandbox: SandboxHandle | null): Promise<void> {
    // The waiter is noted before anything is added.
    if (metadata.process === null) return;
    thawCgroups(metadata.cgroups, this.log);
    if (!this.hasSandbox(metadata)) this.host.signalProcess(metadata.process, SIGKILL);
    // Whoever has killed the waiter may have done so since the sandbox did not answer.
    else if (!isAlive(metadata.process)) await this.killAllStubs(metadata);
    else if (!(await this.endByKernel(metadata, metadata.process, sandbox)) && !(await this.endByForce(metadata)))
      this.log.warn(
        `the sandbox process ${metadata.sandbox!.pid} does not answer: what may still run of ${metadata.id} ends when it goes on; "runts delete --force ${metadata.sandboxId}" ends the sandbox`,
      );
  }

  private async endByKernel(metadata: Metadata, ref: ProcessRef, open: SandboxHandle | null): Promise<boolean> {
    const { id } = metadata;
    let sandbox = open;
    try {
      sandbox ??= await (await this.launcher()).attach(this.store.directory(id), metadata.sandbox!);
      await sandbox.request("destroy", { id }, [], ANSWER_MS);
      return await ended(ref, DONE_MS);
    } catch (error) {
      this.log.debug(describe(error));
      return ended(ref, MOMENT_MS);
    } finally {
      if (open === null) sandbox?.close();
    }
  }

  /**
   * Without asking its kernel: kills the waiter, and the stubs in the container's cgroup. False: it has none of its own, so
   * that stubs may be left.
   */
  async endByForce(metadata: Metadata): Promise<boolean> {
    thawCgroups(metadata.cgroups, this.log);
    // Before it is killed, for who waits.
    leaveExitStatus(this.store.directory(metadata.id), KILLED);
    if (metadata.process !== null) this.host.signalProcess(metadata.process, SIGKILL);
    return this.killAllStubs(metadata);
  }

  /** False: they cannot be told from those of others. */
  private async killAllStubs(metadata: Metadata): Promise<boolean> {
    const groups = this.ownGroups(metadata);
    for (let round = 0; round < ROUNDS && this.killStubs(metadata, groups) > 0; round++) await Bun.sleep(ROUND_MS);
    return groups.length > 0;
  }

  /** Whatever else is in these groups is not ours: only what has come from the sandbox process is killed. */
  private killStubs({ sandbox }: Metadata, groups: readonly string[]): number {
    const there = cgroupProcesses(groups);
    if (there.length === 0 || sandbox === null || !isAlive(sandbox)) return 0;
    const stubs = new Set(descendants(sandbox.pid));
    const found = there
      .filter((pid) => stubs.has(pid))
      .map(processRef)
      .filter(isAlive);
    for (const ref of found) this.host.signalProcess(ref, SIGKILL);
    return found.length;
  }

  /** Groups in which no other container of its sandbox is. */
  ownGroups({ id, sandboxId, cgroups }: Metadata): string[] {
    const others = this.store.joiners(sandboxId).filter((each) => each.id !== id);
    const taken = new Set(others.flatMap((each) => each.cgroups));
    try {
      for (const each of this.store.read(sandboxId).cgroups) taken.add(each);
    } catch {
      // Deleted: then its sandbox is gone.
    }
    return cgroups.filter((each) => !taken.has(each));
  }

  private hasSandbox({ sandbox }: Metadata): boolean {
    return sandbox !== null && isAlive(sandbox);
  }
}
