/**
 * What the sandbox answers: each request of core/sandbox.ts' ControlMethods, and of add-params.ts, on the containers that
 * they name. The first container is the sandbox's root: its end is the sandbox's.
 */
import {
  type ExitStatus,
  exitStatus,
  type GuestProcess,
  type GuestStats,
  KILLED,
  type SavedPart,
} from "../core/sandbox.ts";
import { decodeName } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { F_SETFL, O_NONBLOCK } from "../kernel/abi/fcntl.ts";
import { Carried } from "../kernel/net/carried.ts";
import { SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH } from "../kernel/signal/numbers.ts";
import { kernelInfo, sendSignal } from "../kernel/signal/send.ts";
import { ImageError } from "../kernel/state/encode.ts";
import type { Process } from "../kernel/task/process.ts";
import { RUN_ZOMBIE } from "../kernel/task/task.ts";
import { readClock } from "../kernel/time/clock.ts";
import { processCpuNs } from "../kernel/time/cpu-time.ts";
import { Timer } from "../kernel/time/timers.ts";
import { closeFd, dupTo, fcntl } from "../native/host.ts";
import { exitProcess } from "../native/sandbox.ts";
import type { Home } from "../platform/platform.ts";
import {
  type AddParams,
  bindsOf,
  DESCRIPTORS_MAX,
  descriptorCount,
  IMAGE_DESCRIPTORS,
  type RestoreParams,
} from "./add-params.ts";
import { type Arrived, AwaitedSandbox } from "./awaited.ts";
import { Checkpoint } from "./checkpoint.ts";
import { ContainerDescriptors, type ContainerOwner, SandboxContainer, STOP_NS } from "./container.ts";
import { type Answer, type Caller, type ControlServer, type Method, Refusal } from "./control.ts";
import type { Taken } from "./from-host.ts";
import { NULL_FD, STDERR_FD } from "./launch.ts";
import { applyLimits } from "./limits.ts";
import { takeBroker, whenNetworkKnown } from "./network.ts";
import { checkDescriptors, checkParams, type Methods } from "./params.ts";
import { checkRestore, restoreKernel, savedPart } from "./restore.ts";

const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;
const ESRCH = 3;
/** Signals that ask nobody to stop. */
const NO_STOP_SIGNALS = new Set([0, SIGKILL, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH]);
const CLOCK_REALTIME = 0;
const CLOCK_PROCESS_CPUTIME_ID = 2;

/** Every request but `ping`, which the server answers itself. Undefined: the answer comes later. */
type Served = {
  [M in Exclude<keyof Methods, "ping">]: (
    params: Methods[M]["params"],
    fds: number[],
    answer: Answer,
  ) => Methods[M]["result"] | undefined;
};

/** How a container has ended that goes on elsewhere. */
const SAVED: ExitStatus = { exitCode: 0, signal: 0 };

/** So long others may be asked to stop when the root container has ended. */
const ASK_NS = 2e9;

/** The time is over that containers had to stop, or to be asked to, when the sandbox's root container has ended before them. */
class StopLimit extends Timer {
  constructor(private readonly passed: () => void) {
    super();
  }
  fire(): void {
    this.passed();
  }
}

export class Requests implements ContainerOwner {
  private readonly containers = new Map<string, SandboxContainer>();
  private root: SandboxContainer | null = null;
  /** How the root container has ended, while others still stop. */
  private rootStatus: number | null = null;

  constructor(
    private readonly taken: Taken,
    private readonly server: ControlServer,
  ) {
    for (const name of Object.keys(this.served) as (keyof Served)[]) {
      const serve = this.served[name] as (params: unknown, fds: number[], answer: Answer) => unknown;
      server.methods.set(name, ((params: unknown, fds: number[], answer: Answer) => {
        checkParams(name, params);
        return serve(params, fds, answer);
      }) as Method);
    }
  }

  /** The launching command's connection: without a root container that is to stay, the sandbox goes with it. */
  dieWith(launcher: Caller): void {
    launcher.onClosed.push(() => {
      if ((this.awaited?.first ?? this.root)?.committed !== true) exitProcess(KILLED.exitCode);
    });
  }

  /** What the host's terminal or another process sent to the sandbox process: it stands for the root container. */
  hostSignal(signo: number): void {
    if (this.awaited?.first) this.awaited.signal(this.awaited.first.id, signo);
    else this.root?.signal(signo, true);
  }

  private container(id: string): SandboxContainer {
    this.awaited?.refuse(id);
    const container = this.containers.get(id);
    if (container === undefined) throw new Refusal(`there is no container "${id}" in this sandbox`, ESRCH);
    return container;
  }

  private readonly served: Served = {
    start: ({ id }, _fds, answer) => {
      if (this.awaited !== null) {
        this.awaited.start(id);
        return {};
      }
      // Before anything is waited for: it may not be there, or have been started.
      this.container(id).requireUnstarted();
      whenNetworkKnown(this.taken.kernel, () => {
        try {
          this.container(id).start();
          answer.resolve({});
        } catch (error) {
          answer.reject(error);
        }
      });
      return undefined;
    },
    wait: ({ id, pid }, fds, answer) => {
      // The answer may be long in coming.
      for (const fd of fds.splice(0)) closeFd(fd);
      return this.awaited !== null ? this.awaited.wait(id, pid, answer) : this.container(id).wait(pid, answer);
    },
    signal: ({ id, signal, pid, all, foreground }) => {
      if (this.awaited !== null) {
        this.awaited.signal(id, signal);
        return {};
      }
      const container = this.container(id);
      // A frozen guest could not die: SIGKILL thaws, as runc's kill does.
      if (signal === SIGKILL) container.inner.thaw();
      if (all) for (const process of container.inner.living()) sendSignal(process, kernelInfo(signal));
      else if (foreground) container.signal(signal, true);
      else if (signal === SIGKILL && container === this.root && this.rootStatus !== null) this.end(this.rootStatus);
      else sendSignal(container.processOf(pid), kernelInfo(signal));
      if (!NO_STOP_SIGNALS.has(signal)) container.askedToStop = this.taken.kernel.now();
      return {};
    },
    commit: ({ id }) => {
      if (this.awaited !== null) this.awaited.commit(id);
      else this.container(id).commit();
      // The launching command's standard error is not ours to keep: its callers wait until everybody has closed it.
      if (id === (this.awaited?.first ?? this.root)?.id) dupTo(NULL_FD, STDERR_FD);
      return {};
    },
    destroy: ({ id }, _fds, answer) => {
      if (this.awaited !== null) {
        this.awaited.destroy(id);
        return {};
      }
      const container = this.containers.get(id);
      if (container === undefined) return {};
      container.destroy(answer);
      return undefined;
    },
    hook: (params, _fds, answer) => this.container(params.id).hook(params, answer),
    exec: (params, fds) => this.container(params.id).exec(params, fds),
    pause: ({ id }) => {
      const { inner } = this.container(id);
      if (inner.frozen) throw new Refusal("the container is paused already", EBUSY);
      inner.freeze();
      return {};
    },
    resume: ({ id }) => {
      const { inner } = this.container(id);
      if (!inner.frozen) throw new Refusal("the container is not paused", EINVAL);
      inner.thaw();
      return {};
    },
    processes: ({ id }) => ({
      processes: this.container(id)
        .inner.living()
        .map((process) => this.describe(process)),
    }),
    stats: ({ id }) => this.stats(this.container(id)),
    update: ({ id, resources }) => {
      applyLimits(this.container(id).inner, resources);
      return {};
    },
    forward: ({ id, port }, fds, answer) => this.forward(id, port, fds, answer),
    descriptors: (_params, fds, { caller }) => {
      if (caller.held.length + fds.length > DESCRIPTORS_MAX) {
        for (const fd of caller.held.splice(0)) closeFd(fd);
        throw new Refusal(`descriptors: more than ${DESCRIPTORS_MAX} for one container`, EINVAL);
      }
      caller.held.push(...fds.splice(0));
      return {};
    },
    checkpoint: (params, fds, answer) => this.save(params, fds, answer),
    checkpointPages: ({ id, from }, fds, answer) => {
      this.container(id);
      if (this.checkpoint === null) throw new Refusal("nobody saves the sandbox", EINVAL);
      this.checkpoint.takePages(from, fds, answer);
      return undefined;
    },
    checkpointWanted: ({ id }, _fds, answer) => {
      this.container(id);
      const { savePoint } = this.taken.kernel;
      if (savePoint.listener !== null)
        throw new Refusal("somebody waits already for guests that want to be saved", EBUSY);
      const listener = (container: string): void => {
        if (container !== id) return;
        savePoint.listener = null;
        answer.resolve({});
      };
      savePoint.listener = listener;
      answer.caller.onClosed.push(() => {
        if (savePoint.listener === listener) savePoint.listener = null;
      });
      return undefined;
    },
    checkpointed: ({ id, keep, errno = 0 }) => {
      const { checkpoint } = this;
      this.container(id);
      if (checkpoint === null || checkpoint.over) {
        if (!keep || errno === 0) throw new Refusal("nobody saves the sandbox", EINVAL);
        // It came to nothing before it had begun: who has asked for it is told.
        this.taken.kernel.savePoint.over("resumed", errno);
        return {};
      }
      if (!keep && !checkpoint.saved) throw new Refusal("the sandbox is not saved yet", EBUSY);
      if (!keep) this.end(0, SAVED);
      checkpoint.goOn(errno);
      return {};
    },
    restore: (params, fds, answer) => {
      fds.unshift(...answer.caller.held.splice(0));
      return this.restore(params, fds, answer);
    },
    add: (params, fds, answer) => {
      // From here on what is not taken over is closed with the request.
      fds.unshift(...answer.caller.held.splice(0));
      return this.add(params, fds, answer);
    },
  };

  private forward(id: string, port: number, fds: number[], answer: Answer): undefined {
    const container = this.container(id);
    const [fd, ...more] = fds;
    if (fd === undefined || more.length > 0)
      throw new Refusal(`forward: ${fds.length} descriptors came, not one`, EINVAL);
    const { first } = container.inner;
    if (first === null || !container.running) throw new Refusal("the container does not run", ESRCH);
    fds.length = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    const refused = (errno: number) => new Refusal(`nobody listens on port ${port} (${errnoName(errno)})`, errno);
    const { onClosed } = answer.caller;
    const end = () => {
      if (typeof carried === "object") carried.close();
    };
    const carried = Carried.begin(
      this.taken.kernel,
      first.leader,
      fd,
      port,
      (result) => (result < 0 ? answer.reject(refused(-result)) : answer.resolve({})),
      () => {
        const at = onClosed.indexOf(end);
        if (at >= 0) onClosed.splice(at, 1);
      },
    );
    if (typeof carried === "number") throw refused(-carried);
    onClosed.push(end);
    return undefined;
  }

  /** The sandbox is being saved, or has been. */
  private checkpoint: Checkpoint | null = null;
  private save({ id, leaveRunning }: Methods["checkpoint"]["params"], fds: number[], answer: Answer): undefined {
    const container = this.container(id);
    if (fds.length !== IMAGE_DESCRIPTORS)
      throw new Refusal(`checkpoint: ${fds.length} descriptors came, not ${IMAGE_DESCRIPTORS}`, EINVAL);
    if (container !== this.root)
      throw new Refusal(`"${id}" lives in the sandbox of "${this.root?.id}", which is saved as a whole`, EINVAL);
    if (!container.running) throw new Refusal("the container does not run", EINVAL);
    if (this.checkpoint !== null && !this.checkpoint.over)
      throw new Refusal("the sandbox is being saved already", EBUSY);
    // Kept beyond the answer.
    const [objects, pages] = fds.splice(0) as [number, number];
    const { kernel } = this.taken;
    this.checkpoint = new Checkpoint(kernel, { objects, pages }, () => this.savedParts(), leaveRunning, answer);
    kernel.chores.push(this.checkpoint);
    return undefined;
  }

  /** What an image says of the containers; null: one of them is just ending. */
  private savedParts(): SavedPart[] | null {
    const others = this.others();
    if (others.some((other) => other.ending)) return null;
    for (const other of others)
      if (!other.running)
        throw new Refusal(`"${other.id}" has not been started: the sandbox cannot be saved yet`, EBUSY);
    return [this.root!, ...others].map((each) => each.saved);
  }

  /** The sandbox is to become a saved one. */
  private awaited: AwaitedSandbox | null = null;
  private restore(params: RestoreParams, fds: number[], answer: Answer): Methods["restore"]["result"] | undefined {
    const { kernel } = this.taken;
    const first = params.part === 0;
    const imageDescriptors = first ? IMAGE_DESCRIPTORS + params.manifest.spaces : 0;
    checkDescriptors(params, fds.length, descriptorCount(params.descriptors) + imageDescriptors);
    if (this.containers.size > 0 || (first && this.awaited !== null))
      throw new Refusal("restore: the sandbox has a container already", EEXIST);
    checkRestore(kernel, params);
    answer.acknowledge();
    if (first) {
      const [objects, pages, ...memory] = fds.splice(-imageDescriptors) as [number, number, ...number[]];
      const image = { objects, pages, memory };
      this.awaited = new AwaitedSandbox(kernel, this.server, params.manifest, image, (status) =>
        exitProcess(exitStatus(status).exitCode),
      );
    }
    const { awaited } = this;
    if (awaited === null)
      throw new Refusal("restore: the first container of the image comes first, with a sandbox of its own", EINVAL);
    awaited.check(params);
    const descriptors = new ContainerDescriptors(params, bindsOf(params.spec), fds.splice(0));
    descriptors.reopenStdio();
    const arrived = awaited.add(params, descriptors);
    if (!first)
      answer.caller.onClosed.push(() => {
        const { container } = arrived;
        if (container === null) {
          if (!arrived.committed) awaited.abandon(arrived);
        } else if (!container.committed) container.kill();
      });
    const { complete } = awaited;
    if (complete !== null) return this.fill(awaited, complete, params, answer);
    return { warnings: first ? [awaited.missingText!] : [] };
  }

  /** All are there: the sandbox becomes the saved one. */
  private fill(
    awaited: AwaitedSandbox,
    arrivals: readonly Arrived[],
    { as }: RestoreParams,
    answer: Answer,
  ): Methods["restore"]["result"] | undefined {
    const { server, taken } = this;
    const { kernel } = taken;
    const { objects, pages, memory } = awaited.image;
    this.awaited = null;
    const warnings: string[] = [];
    try {
      for (const each of arrivals) each.handOver();
      const restored = restoreKernel(kernel, arrivals, awaited.image, taken.early);
      warnings.push(...restored.warnings);
      for (const [i, arrived] of arrivals.entries()) {
        const { params, descriptors } = arrived;
        const { ended } = savedPart(params);
        const inner = restored.containers[i]!;
        const container = SandboxContainer.restored(inner, this, server, taken, params, descriptors, ended);
        arrived.container = container;
        this.containers.set(params.id, container);
        this.root ??= container;
        warnings.push(...container.warnings);
      }
    } catch (cause) {
      const error = cause instanceof ImageError ? new Refusal(cause.message, EINVAL) : cause;
      for (const each of arrivals) each.end(SIGKILL);
      // Of one that was begun by this command's launch its command makes an end; else nobody would.
      if (arrivals.length === 1) throw error;
      answer.reject(error);
      kernel.log.error(`the sandbox cannot be restored: ${error instanceof Error ? error.message : error}`);
      exitProcess(KILLED.exitCode);
    } finally {
      for (const fd of [objects, pages, ...memory]) closeFd(fd);
    }
    takeBroker(kernel, arrivals[0]!.descriptors);
    kernel.savePoint.over(as);
    for (const arrived of arrivals) this.catchUp(arrived);
    return { warnings };
  }

  /** What was asked of it before it was there. */
  private catchUp({ container, committed, started, signals, waits }: Arrived): void {
    if (committed) container!.commit();
    for (const { pid, answer } of waits)
      try {
        const status = container!.wait(pid, answer);
        if (status !== undefined) answer.resolve(status);
      } catch (error) {
        answer.reject(error);
      }
    for (const signo of signals) container!.signal(signo, false);
    if (started)
      whenNetworkKnown(this.taken.kernel, () => {
        if (!container!.ending) container!.start();
      });
  }

  private add(params: AddParams, fds: number[], answer: Answer): Methods["add"]["result"] {
    const { kernel } = this.taken;
    const { id, share } = params;
    checkDescriptors(params, fds.length, descriptorCount(params.descriptors));
    if (params.descriptors.network === 1 && this.root !== null)
      throw new Refusal("add: the network is that of the sandbox's first container", EINVAL);
    if (this.rootStatus !== null) throw new Refusal("add: the sandbox is ending", ESRCH);
    if (this.awaited !== null) throw new Refusal(`add: ${this.awaited.missingText}`, EBUSY);
    if (this.containers.has(id)) throw new Refusal(`there is a container "${id}" in this sandbox already`, EEXIST);
    const of = (what: "pid" | "ipc" | "uts") => {
      const from = share[what];
      if (from === null) return undefined;
      const other = this.containers.get(from);
      if (other === undefined || other.ending)
        throw new Refusal(
          `add: the ${what} namespace of "${from}": there is no such container in this sandbox`,
          EINVAL,
        );
      return other.inner;
    };
    const shared = { pids: of("pid")?.pids, ipc: of("ipc")?.ipc, uts: of("uts")?.uts };
    answer.acknowledge();
    const descriptors = new ContainerDescriptors(params, bindsOf(params.spec), fds.splice(0));
    const { server, taken } = this;
    takeBroker(kernel, descriptors);
    const inner = kernel.addContainer(id, shared, this.homeOf(descriptors));
    const container = SandboxContainer.add(inner, this, server, taken, params, descriptors);
    this.containers.set(id, container);
    this.root ??= container;
    answer.caller.onClosed.push(() => {
      if (!container.committed && container !== this.root) container.kill();
    });
    return { warnings: [...taken.warnings.splice(0), ...container.warnings] };
  }

  /** What runs its programs: of the root container the sandbox' own, any other one is paused and placed apart. */
  private homeOf(descriptors: ContainerDescriptors): Home {
    const { platform } = this.taken.kernel;
    const procs = descriptors.takeCgroups();
    if (this.root === null && procs.length === 0) return platform.ownHome;
    const home = platform.createHome(procs);
    if (typeof home !== "number") return home;
    descriptors.close();
    throw new Refusal(`add: cannot start what runs the container's programs: ${errnoName(-home)}`, -home);
  }

  /**
   * One has ended: the sandbox goes with its root container, any other one is taken away. Podman's `pod stop` asks all at
   * once to stop, in no order, and the root container has nothing to do for it: so, unless it was killed, whoever is asked
   * before or right after its end may stop, too.
   */
  ended(container: SandboxContainer, status: number | null): void {
    if (container !== this.root) {
      container.removeSoon(status);
      if (this.rootStatus !== null) this.endWhenStopped(this.rootStatus);
      return;
    }
    // A root container that could not be started is its command's to take down, which is being told so.
    if (status === null) return;
    this.rootStatus = status;
    if (exitStatus(status).signal === SIGKILL || !this.others().some((other) => other.running)) {
      this.end(status);
      return;
    }
    const { kernel } = this.taken;
    const asked = new StopLimit(() => {
      for (const other of this.others()) if (other.running && !other.stopping) other.kill();
      this.endWhenStopped(status);
    });
    kernel.timers.arm(asked, kernel.now() + ASK_NS);
    kernel.timers.arm(new StopLimit(() => this.end(status)), kernel.now() + STOP_NS);
  }
  private others(): SandboxContainer[] {
    return [...this.containers.values()].filter((other) => other !== this.root);
  }
  private endWhenStopped(status: number): void {
    if (!this.others().some((other) => other.running)) this.end(status);
  }
  private end(status: number, others = KILLED): void {
    for (const other of this.others()) other.endWithSandbox(others);
    exitProcess(exitStatus(status).exitCode);
  }

  gone(container: SandboxContainer): void {
    if (this.containers.get(container.id) === container) this.containers.delete(container.id);
  }

  private describe(process: Process): GuestProcess {
    const { kernel } = this.taken;
    const { leader } = process;
    const task = process.tasks.find((t) => t.runState < RUN_ZOMBIE) ?? leader;
    const { mm } = task;
    const length = Math.max(0, Math.min(4096, mm.argEnd - mm.argStart));
    const bytes = new Uint8Array(length);
    const got = Math.max(0, mm.copyIn(mm.argStart, bytes, 0, length));
    const args = decodeName(bytes, 0, got).split("\0");
    if (args.at(-1) === "") args.pop();
    const age = kernel.now() - leader.startTime;
    const { tty } = process.group.session;
    const index = (tty as { index?: number } | null)?.index;
    return {
      pid: process.pid,
      stubPid: mm.space.hostPid,
      ppid: process.parent?.pid ?? 0,
      uid: task.cred.euid,
      gid: task.cred.egid,
      threads: process.tasks.length,
      tty: tty === null ? "?" : index === undefined ? "tty" : `pts/${index}`,
      startTime: readClock(CLOCK_REALTIME).sec - age / 1e9,
      cpuMs: processCpuNs(process) / 1e6,
      command: leader.comm,
      args,
    };
  }

  private stats(container: SandboxContainer): GuestStats {
    const { cgroup } = container.inner;
    const memory = cgroup.memoryUsed();
    // The kernel's own time is nobody's in particular: it is the root container's.
    const kernelTime = container === this.root ? readClock(CLOCK_PROCESS_CPUTIME_ID) : { sec: 0, nsec: 0 };
    return {
      cpuUserNs: cgroup.cpuTimeNs(),
      cpuKernelNs: kernelTime.sec * 1e9 + kernelTime.nsec,
      memoryBytes: memory,
      memoryMaxBytes: cgroup.memoryPeak,
      memoryCacheBytes: 0,
      processes: container.inner.living().reduce((n, process) => n + process.tasks.length, 0),
      interfaces: [
        {
          name: "lo",
          rxBytes: 0,
          rxPackets: 0,
          rxErrors: 0,
          rxDropped: 0,
          txBytes: 0,
          txPackets: 0,
          txErrors: 0,
          txDropped: 0,
        },
      ],
    };
  }
}
