/**
 * A sandbox that is to become a saved one, before it does: its containers are restored one after the other, each by a command
 * of its own, and it is filled when all are there. Nothing of it runs before that.
 *
 * What is asked meanwhile of those that have come is done then, but for their ends: one that is killed makes room for another
 * try, and the first takes the sandbox along.
 */

import { type ExitStatus, exitStatus } from "../core/sandbox.ts";
import { EAGAIN, EBUSY, EEXIST, EINVAL } from "../kernel/abi/errno.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { SIGKILL } from "../kernel/signal/numbers.ts";
import { closeFd, readNoWait, writeNoWait } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import type { RestoreParams } from "./add-params.ts";
import type { ContainerDescriptors, SandboxContainer } from "./container.ts";
import { type Answer, type ControlServer, Refusal } from "./control.ts";
import { type Arrival, type ImageDescriptors, savedPart } from "./restore.ts";
import { writeState } from "./state-directory.ts";

const POLLIN = 1;
const POLLHUP = 16;

/** A container that has come. */
export class Arrived implements Arrival, HostWatcher {
  readonly essential = true;
  committed = false;
  started = false;
  readonly signals = new Set<number>();
  readonly waits: { pid: number | undefined; answer: Answer }[] = [];
  /** When the sandbox has been filled. */
  container: SandboxContainer | null = null;

  constructor(
    readonly params: RestoreParams,
    readonly descriptors: ContainerDescriptors,
    private readonly kernel: Kernel,
    private readonly server: ControlServer,
    /** The process that stands for it is gone. */
    private readonly onGone: (arrived: Arrived) => void,
  ) {
    const { listening, waiter } = descriptors;
    if (listening >= 0) server.listen(listening);
    if (waiter >= 0) kernel.poller.watch(waiter, POLLIN | POLLHUP, this);
  }
  get id(): string {
    return this.params.id;
  }

  hostReady(fd: number): void {
    // What its terminal says is for programs that do not run yet.
    const n = readNoWait(fd, new Uint8Array(64), 64);
    if (n > 0 || n === -EAGAIN) return;
    this.kernel.poller.unwatch(fd);
    this.onGone(this);
  }

  /** Everything is the container's from here on. */
  handOver(): void {
    const { waiter } = this.descriptors;
    if (waiter >= 0) this.kernel.poller.unwatch(waiter);
  }

  /** It has ended before it went on. */
  end(status: number): void {
    const { descriptors, kernel, server } = this;
    const result = exitStatus(status);
    if (descriptors.state >= 0) writeState(descriptors.state, "exit.json", JSON.stringify(result));
    for (const { answer } of this.waits.splice(0)) answer.resolve(result);
    const waiter = descriptors.takeWaiter();
    if (waiter >= 0) {
      kernel.poller.unwatch(waiter);
      writeNoWait(waiter, Uint8Array.of(result.exitCode), 1);
      closeFd(waiter);
    }
    if (descriptors.listening >= 0) server.unlisten(descriptors.listening);
    descriptors.listening = -1;
    descriptors.close();
  }
}

export class AwaitedSandbox {
  private readonly parts: (Arrived | null)[];

  constructor(
    private readonly kernel: Kernel,
    private readonly server: ControlServer,
    private readonly manifest: RestoreParams["manifest"],
    /** Descriptors of the image. */
    readonly image: ImageDescriptors,
    /** The first container is to end. */
    private readonly onEnd: (status: number) => void,
  ) {
    this.parts = manifest.containers.map(() => null);
  }

  /** Is there anything against one more? Throws a Refusal. */
  check(params: RestoreParams): void {
    const { id } = savedPart(params);
    // The number of a part says nothing of another image.
    if (JSON.stringify(params.manifest) !== JSON.stringify(this.manifest))
      throw new Refusal("restore: the sandbox is restored from another image", EINVAL);
    const there = this.parts[params.part];
    if (there) throw new Refusal(`restore: the saved container "${id}" is restored already, as "${there.id}"`, EEXIST);
    if (this.find(params.id) !== null)
      throw new Refusal(`there is a container "${params.id}" in this sandbox already`, EEXIST);
  }

  add(params: RestoreParams, descriptors: ContainerDescriptors): Arrived {
    const { kernel, server } = this;
    const arrived = new Arrived(params, descriptors, kernel, server, (gone) => this.end(gone, SIGKILL));
    this.parts[params.part] = arrived;
    return arrived;
  }

  /** All of them, in the order of the manifest; null while one is missing. */
  get complete(): readonly Arrived[] | null {
    const there = this.parts.filter((part) => part !== null);
    return there.length === this.parts.length ? there : null;
  }
  get first(): Arrived | null {
    return this.parts[0] ?? null;
  }
  /** By the ids that it may be restored by. */
  private get missing(): string[] {
    return this.manifest.containers.filter((_, i) => this.parts[i] === null).map(({ id }) => id);
  }
  /** For people; null: nothing is missing. */
  get missingText(): string | null {
    const { missing } = this;
    if (missing.length === 0) return null;
    return `nothing of the sandbox runs before the other containers of its image are restored, too: ${missing.join(", ")}`;
  }

  find(id: string): Arrived | null {
    return this.parts.find((part) => part?.id === id) ?? null;
  }
  private get(id: string): Arrived {
    const found = this.find(id);
    if (found !== null) return found;
    throw new Refusal(
      `there is no container "${id}" in this sandbox, which waits for: ${this.missing.join(", ")}`,
      EBUSY,
    );
  }

  // ---- What is asked of those that have come ----

  commit(id: string): void {
    this.get(id).committed = true;
  }
  start(id: string): void {
    const arrived = this.get(id);
    if (arrived.started) throw new Refusal("the first process has been started already", EBUSY);
    arrived.started = true;
  }
  wait(id: string, pid: number | undefined, answer: Answer): ExitStatus | undefined {
    const { waits } = this.get(id);
    for (let i = waits.length - 1; i >= 0; i--) if (waits[i]!.answer.gone) waits.splice(i, 1);
    waits.push({ pid, answer });
    return undefined;
  }
  signal(id: string, signo: number): void {
    const arrived = this.get(id);
    if (signo === SIGKILL) this.end(arrived, SIGKILL);
    else if (signo !== 0) arrived.signals.add(signo);
  }
  destroy(id: string): void {
    const arrived = this.find(id);
    if (arrived !== null) this.end(arrived, SIGKILL);
  }
  /** Its command is gone, or has given it up. */
  abandon(arrived: Arrived): void {
    if (this.parts[arrived.params.part] === arrived) this.end(arrived, SIGKILL);
  }
  refuse(id: string): never {
    this.get(id);
    throw new Refusal(this.missingText ?? "the sandbox is being restored", EBUSY);
  }

  private end(arrived: Arrived, status: number): void {
    this.parts[arrived.params.part] = null;
    if (arrived.params.part !== 0) {
      arrived.end(status);
      return;
    }
    // It goes with its first container.
    for (const other of this.parts) other?.end(status);
    arrived.end(status);
    this.onEnd(status);
  }
}
