/**
 * A container: what some of the kernel's processes have for themselves, and what ends with their first one.
 *
 * Source: namespaces(7), cgroups(7), pid_namespaces(7). Containers of one kernel share what the kernel owns: the network,
 * the clock, the host's figures. Pid space, UTS names and ipc objects may be those of another container; everything else
 * is a container's own.
 *
 * Invariants: every process is in one container for life, as its parent was; a task is in `kernel.tasks` and in its
 * container's pid space at the same times (`addTask`, `removeTask`).
 */
import type { Context, Home } from "../platform/platform.ts";
import { ESRCH } from "./abi/errno.ts";
import { Cgroup } from "./cgroup.ts";
import type { Kernel } from "./kernel.ts";
import { MemoryBound } from "./mm/oom.ts";
import { SIGKILL } from "./signal/numbers.ts";
import { persistent } from "./state/registry.ts";
import { killProcess, reap } from "./task/exit.ts";
import { PidSpace } from "./task/pid-space.ts";
import type { Process } from "./task/process.ts";
import type { Seccomp } from "./task/seccomp.ts";
import type { Task } from "./task/task.ts";
import type { UserCounts } from "./task/users.ts";
import { PtyTable } from "./tty/pty-table.ts";
import type { Tty } from "./tty/tty.ts";
import { type Path, topOf } from "./vfs/dentry.ts";

/** Host and domain name: a UTS namespace. */
export class Uts {
  hostname = "runts";
  domainname = "(none)";
  constructor(readonly namespace: number) {}
}

/** An ipc namespace. Gap: of its objects there are only settings, since System V ipc is not implemented. */
export class Ipc {
  /** Settings of /proc/sys that belong to ipc namespaces, by path below it. */
  readonly sysctls = new Map<string, string>();
  constructor(readonly namespace: number) {}
}

/** What a container has in common with another one. */
export interface Shared {
  pids?: PidSpace;
  uts?: Uts;
  ipc?: Ipc;
}

/** Inode numbers of the namespaces that every container has for itself. */
export interface OwnNamespaces {
  readonly cgroup: number;
  readonly mnt: number;
}

/** Threads of a container that are ended without giving way to others. */
const KILLED_AT_ONCE = 256;

/** Paths below /proc/sys of the settings that ipc namespaces have. Source: ipc_namespaces(7). */
const IPC_SYSCTL = /^(kernel\/(msg|sem|shm)|fs\/mqueue\/)/;

export class Container {
  readonly pids: PidSpace;
  readonly uts: Uts;
  readonly ipc: Ipc;
  readonly namespaces: OwnNamespaces;
  /** Settings of /proc/sys that were written and belong neither to the network nor to an ipc namespace. */
  private readonly ownSysctls = new Map<string, string>();
  /** Its limits, and what is used of them. */
  readonly cgroup = new Cgroup(this);
  readonly memory: MemoryBound;
  /** Its pseudo terminals, by number. */
  readonly ptys = new PtyTable();
  /** The terminal behind its /dev/console. */
  console: Tty | null = null;
  /** Top of its mount tree; the start of a container sets it. */
  root: Path | null = null;
  /** The filters of its spec, for the first process and for those that are brought in. */
  seccomp: Seccomp | null = null;
  /** What is counted per real user id. */
  readonly users = new Map<number, UserCounts>();

  /** All its processes, zombies included. */
  readonly processes = new Set<Process>();
  /** Threads in it, zombies included. */
  tasks = 0;
  /** Processor time of its processes that have ended, ns. */
  endedCpuNs = 0;
  /** Its first process: pid 1 of a pid space of its own, some other number in a shared one. Stays when that has ended. */
  first: Process | null = null;
  /** The wait status of the first process, once that has ended. */
  status: number | null = null;
  /** Told once: the first process has ended, and every other one has. */
  onEnd: ((status: number) => void) | null = null;
  /** Told of the end of each process that nobody forked but the first: one that was brought in (exec, hook). */
  onExit: ((process: Process, status: number) => void) | null = null;
  private ended = false;

  /**
   * None of its tasks is served, and its host processes are stopped: they answer nothing, so that nobody may ask them
   * (others read and write its memory without). What SIGKILL ends, ends when it is thawed.
   */
  frozen = false;
  /** Tasks whose turn came meanwhile, and stops that nobody has looked at. */
  readonly heldTasks: Task[] = [];
  readonly heldStops: Context[] = [];

  constructor(
    readonly kernel: Kernel,
    public id: string,
    shared: Shared = {},
    /** What runs its programs, in the host's cgroups that it is to be in. It goes with the container. */
    readonly home: Home = kernel.platform.ownHome,
  ) {
    const { namespaces } = kernel;
    this.pids = shared.pids ?? new PidSpace(kernel, namespaces.next("pid"));
    this.uts = shared.uts ?? new Uts(namespaces.next("uts"));
    this.ipc = shared.ipc ?? new Ipc(namespaces.next("ipc"));
    this.namespaces = { cgroup: namespaces.next("cgroup"), mnt: namespaces.next("mnt") };
    this.memory = new MemoryBound(kernel, this.processes);
  }

  /** A restored one may have another name than it had. */
  rename(id: string): void {
    const { containers } = this.kernel;
    if (containers.get(this.id) === this) containers.delete(this.id);
    this.id = id;
    containers.set(id, this);
  }

  /** An empty address space with one stopped context; -errno. */
  createAddressSpace(): Context | number {
    return this.kernel.platform.createAddressSpace(this.home);
  }

  /** A setting of /proc/sys as it was written, or undefined. */
  sysctl(path: string): string | undefined {
    return this.sysctlsOf(path).get(path);
  }
  setSysctl(path: string, value: string): void {
    this.sysctlsOf(path).set(path, value);
  }
  private sysctlsOf(path: string): Map<string, string> {
    if (path.startsWith("net/")) return this.kernel.net.sysctls;
    return IPC_SYSCTL.test(path) ? this.ipc.sysctls : this.ownSysctls;
  }

  addTask(task: Task): void {
    this.kernel.tasks.add(task);
    this.pids.tasks.set(task.tid, task);
    this.tasks++;
  }
  removeTask(task: Task): void {
    if (!this.kernel.tasks.delete(task)) return;
    if (this.pids.tasks.get(task.tid) === task) this.pids.tasks.delete(task.tid);
    this.tasks--;
  }

  /** Its processes that have not ended. */
  living(): Process[] {
    return [...this.processes].filter((process) => !process.zombie);
  }

  /** Ends every process, by SIGKILL; those of other containers in a shared pid space stay. */
  killAll(): void {
    this.thaw();
    const { kernel } = this;
    const { ended } = kernel;
    // All at once where they are few; of many, each in a turn of its own (task/exit.ts).
    if (this.tasks <= KILLED_AT_ONCE) kernel.ended = Number.NEGATIVE_INFINITY;
    for (const process of [...this.processes]) killProcess(process, SIGKILL);
    kernel.ended = Math.max(ended, kernel.ended);
  }

  /** A process has become a zombie (task/exit.ts). */
  processEnded(process: Process): void {
    this.endedCpuNs += process.userTime + process.systemTime;
    if (process === this.first) {
      this.status = process.exitStatus;
      this.killAll();
    }
    this.lookForEnd();
  }
  /** Tells of the end when there is nobody left, and the first process has been put away. */
  lookForEnd(): void {
    if (this.status === null || this.ended || this.processes.has(this.first!)) return;
    for (const process of this.processes) if (!process.zombie) return;
    this.ended = true;
    this.memory.stop();
    const { onEnd, status } = this;
    try {
      onEnd?.(status);
    } catch (error) {
      // Whoever waits for the container must not wait for ever.
      this.kernel.logBug(`what is done after the end of container ${this.id}`, error);
      this.kernel.stop();
    }
  }

  /** Freezes every task of it. */
  freeze(): void {
    if (this.frozen) return;
    for (const { zombie, leader } of this.processes) {
      const { space } = leader.mm;
      if (zombie || space.busy) continue;
      space.flush?.();
      space.executor = null;
    }
    this.frozen = true;
    this.home.pause();
  }
  thaw(): void {
    if (!this.frozen) return;
    this.frozen = false;
    this.home.resume();
    this.kernel.takeBack(this);
  }

  /** Lets go of everything: called by `kernel.removeContainer`. -ESRCH while a process lives. */
  release(): number {
    for (const process of this.processes) if (!process.zombie) return -ESRCH;
    // Zombies that nobody has fetched: their parents are in another container, in a shared pid space.
    for (const process of [...this.processes]) reap(process);
    this.memory.stop();
    for (const [, tty] of [...this.ptys.entries()]) tty.discard();
    this.console = null;
    if (this.root !== null) this.kernel.mounts.releaseTree(topOf(this.root.mount));
    this.root = null;
    this.first = null;
    this.seccomp = null;
    this.onEnd = null;
    this.onExit = null;
    this.users.clear();
    this.heldTasks.length = 0;
    this.heldStops.length = 0;
    if (this.home !== this.kernel.platform.ownHome) this.home.destroy();
    return 0;
  }
}

persistent("uts-namespace", Uts);
persistent("ipc-namespace", Ipc);

persistent("container", Container, {
  transient: {
    home: (container, restore) => restore.host.home?.(container.id) ?? restore.kernel.platform.ownHome,
    // Boot's, which waits for the container anew.
    onEnd: () => null,
    onExit: () => null,
    // Whoever was held before its call was served comes to it again.
    heldStops: () => [],
  },
});
