/**
 * The one narrow door between the host half (`src/core`) and the sandbox process (`src/boot`).
 *
 * `core` knows no kernel: it launches a sandbox, sends it requests, and looks whether it lives. The real launcher is
 * `src/boot/launch.ts`, injected by `src/main.ts`; unit tests inject one that lives in memory.
 *
 * Wire format of requests: a unix stream socket in the container's state directory; each message is a 4-byte
 * little-endian length and that many bytes of JSON, descriptors travel by SCM_RIGHTS with the first byte of the message
 * that names them. A request is `{ seq, method, params, fds: n }`, its answer `{ seq, result }` or
 * `{ seq, error: { message, errno?, code? } }`. Requests on one connection may be answered out of order (`wait`); what is
 * not answered at once is acknowledged at once, `{ seq, later: true }`.
 */
import type { Hook, Process, Resources, Spec } from "./spec/schema.ts";

/** A host process, told from a later one with the same number by its start time (field 22 of /proc/PID/stat). */
export interface ProcessRef {
  pid: number;
  startTime: number;
}

/** How a process ended: an exit code, or the signal that killed it. */
export interface ExitStatus {
  exitCode: number;
  /** Signal number, 0 when it exited by itself. */
  signal: number;
  /** Filled in where the kernel can explain a crash: "SIGSEGV at 0x0, last calls: …". */
  explanation?: string;
}

const SIGKILL = 9;
/** Of what was ended with its sandbox, or by force. */
export const KILLED: ExitStatus = { exitCode: 128 + SIGKILL, signal: SIGKILL };

/** From a status as wait(2) has it. */
export function exitStatus(status: number): ExitStatus {
  const signal = status & 0x7f;
  return signal !== 0 ? { exitCode: 128 + signal, signal } : { exitCode: (status >> 8) & 0xff, signal: 0 };
}

/** One plugin as the sandbox process shall load it. Built-in ones by name, others from `path`. */
export interface SandboxPlugin {
  name: string;
  path: string | null;
  options: unknown;
}

/** A mount of the first container that a plugin's file system may want to make while the host's files are in reach. */
export interface EarlyMount {
  destination: string;
  type: string;
  source: string;
  options: readonly string[];
}

/** `size` ids from `containerID` on, as the sandbox's user namespace numbers them, are those from `hostID` on. */
export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

/** What the sandbox process' own namespaces are made by. */
export interface SandboxNamespaces {
  /** Ids that the spec maps; empty: the usual ones. */
  uidMappings: readonly IdMapping[];
  gidMappings: readonly IdMapping[];
  /** Without mappings: "container": user 0 is who starts it where that is an ordinary user; "caller": ids stay as they are. */
  usualIds: "container" | "caller";
  /** Path of a network namespace to join; null: a new one. */
  network: string | null;
}

/** Clocks at one moment, nanoseconds. */
export interface ClockValues {
  monotonicNs: number;
  boottimeNs: number;
}

/** What guests may reach outside of their sandbox, as texts: see src/core/egress.ts. */
export interface OutsideNetwork {
  /** What may be reached. */
  egress: string;
  /** What may not, whatever `egress` says; null: nothing. */
  deny: string | null;
  /** Ports of guests that may be reached from outside, and where; null: all that they listen on. */
  publish: string | null;
  /** Addresses that names are asked for at. */
  resolvers: readonly string[];
  /** It is the caller's own namespace: its loopback, and what clouds keep there, is not for guests that did not name it. */
  shared: boolean;
  /** Somebody relies on it: without it the sandbox is not started. */
  required: boolean;
}

/** What a sandbox is made by: nothing of a container. */
export interface SandboxOptions {
  /** Also the id of its first container. */
  id: string;
  /** Name of a registered platform. */
  platform: string;
  /**
   * What its guests reach through the broker: the namespace of `namespaces.network`, or a new one ("sandbox"); the
   * caller's ("host"); nothing, a loopback only ("none", or `outside` null).
   */
  network: "sandbox" | "host" | "none";
  /** How they reach it. The sandbox process itself is not told. */
  outside: OutsideNetwork | null;
  debug: boolean;
  /** null: off; [] : every call; otherwise the calls named. */
  strace: readonly string[] | null;
  /**
   * Where the kernel's lines go (debug, strace, and its warnings and errors): a path, or null for descriptor 2 of the
   * launching command. What concerns the caller's spec belongs into the answer to `addContainer`.
   */
  debugLog: string | null;
  plugins: readonly SandboxPlugin[];
  /** Of the first container: those whose type is a plugin's are made before the jail closes. */
  earlyMounts: readonly EarlyMount[];
  namespaces: SandboxNamespaces;
  /**
   * A pty's slave that becomes the sandbox process' controlling terminal (setsid, TIOCSCTTY), so that the host's line
   * discipline sends SIGINT, SIGTSTP and SIGWINCH to the sandbox, which passes them to the first container's foreground
   * group. It does not stay open there.
   */
  terminal: number | null;
  /** Host cgroup directories that the sandbox, with all that it starts, is born into. */
  cgroups: readonly string[];
  /** True: the sandbox dies with the launching process for good (`do`, attached `run`); see also `commit`. */
  dieWithParent: boolean;
  /**
   * What CLOCK_MONOTONIC and CLOCK_BOOTTIME show when the sandbox starts, for its kernel and for guests: those of a saved
   * one go on. null: the host's. The sandbox process has them by a time namespace; what it is told itself is what it has
   * to do without one.
   */
  clock: ClockValues | null;
}

/** One container, the first of a sandbox or a later one. */
export interface ContainerOptions {
  id: string;
  /** Absolute path of the bundle; null for `do`. */
  bundle: string | null;
  /** The checked spec. Paths in `root.path` and bind sources are absolute already. */
  spec: Spec;
  /** "memory": root and writable binds get a memory upper layer, the host sees no write. `do` uses it. */
  overlay: "none" | "memory";
  /**
   * Descriptors that become the first process' 0, 1, 2 (and 3… with --preserve-fds). With `terminal`, 0 to 2 are a pty's
   * slave, which becomes the controlling terminal of the first process' session. LISTEN_FDS is not here: callers put it
   * in the environment and the descriptors in `stdio`.
   */
  stdio: readonly number[];
  terminal: boolean;
  /**
   * Existing directory that will hold the control socket (`control.sock`), and into which the sandbox writes, when the
   * container has ended, `exit.json` (an ExitStatus); null: it can be reached by this handle alone.
   */
  stateDirectory: string | null;
  /**
   * Host cgroup directories that what runs this container's programs is born into. Empty for a sandbox's first container,
   * which has those of the sandbox.
   */
  cgroups: readonly string[];
  /** Ids of the containers of this sandbox whose namespaces it shares; null: one of its own. The network is shared always. */
  share: { pid: string | null; ipc: string | null; uts: string | null };
  /**
   * One end of a stream socket whose other end is held by the host process that stands for the container: it gets one
   * byte, the exit code (128+n after a signal), when the container has ended, and the container is killed when the
   * other end closes before. null: the sandbox process itself stands for it.
   */
  waiter: number | null;
}

/** What a sandbox says of itself when it is saved: what commands, and whoever restores it, need not read its objects for. */
export interface SandboxManifest {
  /** The version of runts that saved it. */
  kernel: string;
  platform: string;
  arch: "x86-64";
  /** At the moment that was saved. */
  clock: { monotonicNs: number; boottimeNs: number; realtimeNs: number };
  /** What programs may have relied on: see CpuFeatures of platform/platform.ts. */
  cpu: { xfeatures: number; words: readonly string[]; areas: readonly number[] };
  /** Version of the schema of objects.jsonl. */
  schema: number;
  /** How many address spaces there are: each has its memory in a file of its own. */
  spaces: number;
  /** In the order in which they were added; `trees`: host trees, its root's among them; `stdio`: inherited descriptors. */
  containers: readonly SavedPart[];
  summary: SandboxSummary;
}

export interface SavedPart {
  id: string;
  trees: number;
  stdio: number;
  /** Wait status of processes that were brought in from outside and have ended, by pid. */
  ended: Readonly<Record<string, number>>;
}

/** For people. */
export interface SandboxSummary {
  processes: readonly SavedProcess[];
  memoryBytes: { private: number; shared: number; files: number };
  /** How many, by kind. */
  openFiles: Readonly<Record<string, number>>;
  sockets: Readonly<Record<string, number>>;
}
export interface SavedProcess {
  pid: number;
  ppid: number;
  comm: string;
  args: readonly string[];
  threads: number;
}

/** What a restored program reads that it is. */
export type RestoredAs = "restored" | `branched ${number}`;

/** An image, as a sandbox is filled from it. */
export interface RestoreImage {
  manifest: SandboxManifest;
  /** Which of the manifest's containers: 0 begins a sandbox, which waits for the others. */
  part: number;
  /** Go on although files of the host are not as they were. */
  allowChanged: boolean;
  as: RestoredAs;
  /** Readable descriptors, which stay the caller's: objects and pages. Asked for with the first container alone. */
  files: readonly number[];
  /** The same for the memory of each address space, in order. */
  memory: readonly number[];
}

/** Every request, with its parameters and its answer. A sandbox half of a plugin may add methods (`kernel.control`). */
export interface ControlMethods {
  /** Loads the program and lets the first process run. Answers after the exec succeeded or failed; twice is EBUSY. */
  start: { params: { id: string }; result: Record<string, never> };
  /** Answers when the process has ended. `pid` is the guest's pid; absent: the container's first process. */
  wait: { params: { id: string; pid?: number }; result: ExitStatus };
  /** Starts another process. Its stdio (and more) are the request's descriptors. Answers when it has been executed. */
  exec: { params: ExecParams; result: ExecResult };
  /** Runs one startContainer hook in the container, before its program. Answers when it has ended. */
  hook: { params: HookParams; result: HookResult };
  /** `pid`: one guest process; `all`: every process; `foreground`: the terminal's foreground group; else the first. */
  signal: {
    params: { id: string; signal: number; pid?: number; all?: boolean; foreground?: boolean };
    result: Record<string, never>;
  };
  pause: { params: { id: string }; result: Record<string, never> };
  resume: { params: { id: string }; result: Record<string, never> };
  processes: { params: { id: string }; result: { processes: GuestProcess[] } };
  stats: { params: { id: string }; result: GuestStats };
  /** New limits that the guest kernel itself enforces. The host's cgroup is the caller's work. */
  update: { params: { id: string; resources: Resources }; result: Record<string, never> };
  /**
   * Connects the request's descriptor, a stream socket that somebody outside is connected to, to who listens on a TCP port in the
   * container's network, on its loopback too. Refused with ECONNREFUSED when nobody does. Ends with this connection.
   */
  forward: { params: { id: string; port: number }; result: Record<string, never> };
  /** Nothing: to see whether the sandbox answers. */
  ping: { params: Record<string, never>; result: Record<string, never> };
  /** Takes one container down, and answers when it is gone; the sandbox goes with its first one. */
  destroy: { params: { id: string }; result: Record<string, never> };
  /**
   * Everything after setting up is done: from now on the container outlives the connection that it was added by, and the
   * sandbox the one that launched it when this is its first container. Refused with the errno, as runc's create does it,
   * when the first process' program is not there or its user may not run it: hooks have had their chance to put it there.
   */
  commit: { params: { id: string }; result: Record<string, never> };
  /**
   * Takes the state of the sandbox with all that is in it, to two files, the request's descriptors: objects and pages.
   * Answers when it is taken; the objects are not complete yet, see `checkpointPages`. With `leaveRunning` the guests go on
   * from there; else they stand still until `checkpointed`, or until this connection is closed: then they go on.
   */
  checkpoint: { params: { id: string; leaveRunning: boolean }; result: { manifest: SandboxManifest } };
  /**
   * The request's descriptors, 1 to 32, open for reading and writing, get the memory of address spaces `from`, `from + 1`, …
   * Asked on the connection of `checkpoint`, in order, until all `spaces` have been given; answers when they are written. With
   * the last one the file of objects is complete; without address spaces it is with the answer to `checkpoint`.
   */
  checkpointPages: { params: { id: string; from: number }; result: Record<string, never> };
  /**
   * What became of the image. Without `keep` the sandbox ends. With it, it goes on; a program that has asked for the
   * checkpoint (see `checkpointWanted`) and waits for it is told: of success, or of `errno`.
   */
  checkpointed: { params: { id: string; keep: boolean; errno?: number }; result: Record<string, never> };
  /** Answers when a program of the container has written to /proc/runts/checkpoint, and waits for that. */
  checkpointWanted: { params: { id: string }; result: Record<string, never> };
}

export interface ExecParams {
  id: string;
  process: Process;
  /** As in ContainerOptions: descriptors 0 to 2 are a pty's slave, which becomes the new session's controlling terminal. */
  terminal: boolean;
  /**
   * True: the last descriptor of the request is a stream socket that shall get one byte, the exit code (128+n after a
   * signal), when the process has ended. Its other end is held by the process that stands for this one on the host; when
   * that closes without our doing (somebody killed it), the guest's process is killed.
   */
  notify: boolean;
  /** Also into a container that is paused: the process runs when it is resumed. */
  ignorePaused: boolean;
}
export interface ExecResult {
  /** Guest pid, for `wait` and `signal`. */
  pid: number;
}

export interface HookParams {
  id: string;
  /** Its path is one of the container. */
  hook: Hook;
  /** What it reads on its input: the container's state. */
  state: string;
}
export interface HookResult {
  status: ExitStatus;
  /** It was killed since its time was over. */
  timedOut: boolean;
  /** The beginning of what it has printed. */
  stdout: string;
  stderr: string;
}

/** One guest process, as `ps` shows it. Times in the units of their names. */
export interface GuestProcess {
  pid: number;
  /** Pid of its stub in the sandbox's pid namespace; 0 when it has none of its own. */
  stubPid: number;
  ppid: number;
  uid: number;
  gid: number;
  threads: number;
  tty: string;
  /** Seconds since the epoch. */
  startTime: number;
  cpuMs: number;
  command: string;
  args: readonly string[];
}

/** What only the guest kernel knows; the rest of `events --stats` comes from the host's cgroup and /proc. */
export interface GuestStats {
  cpuUserNs: number;
  cpuKernelNs: number;
  memoryBytes: number;
  memoryMaxBytes: number;
  memoryCacheBytes: number;
  processes: number;
  interfaces: readonly GuestInterface[];
}
export interface GuestInterface {
  name: string;
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/** A request that the sandbox refused. `errno` is the positive number when a guest or host call failed. */
export class ControlError extends Error {
  override readonly name = "ControlError";
  constructor(
    message: string,
    readonly errno: number = 0,
  ) {
    super(message);
  }
}

/** A launched or attached sandbox. */
export interface SandboxHandle extends ProcessRef {
  /**
   * Rejects with ControlError when refused, with RuntimeError "sandbox" when the sandbox went away, and "no-answer" when
   * it neither answers nor acknowledges within `limitMs` (a few seconds by default).
   */
  request<M extends keyof ControlMethods>(
    method: M,
    params: ControlMethods[M]["params"],
    fds?: readonly number[],
    limitMs?: number,
  ): Promise<ControlMethods[M]["result"]>;
  /** Requests of methods that a plugin's sandbox half added. */
  request(method: string, params: unknown, fds?: readonly number[]): Promise<unknown>;
  /** False once the process is gone or a zombie. */
  isAlive(): boolean;
  /** How the sandbox process itself ended, once it has, if this process launched it. */
  exitStatus?(): Promise<ExitStatus | null>;
  /** SIGKILL to the sandbox and all that is in it; resolves when it is gone, rejects when it does not go. */
  kill(): Promise<void>;
  /** Drops the connection; the sandbox is not touched. */
  close(): void;
}

export interface SandboxLauncher {
  /**
   * Starts a sandbox without a container. Its process is there when this resolves; its jail may still be closing, and
   * what fails there is told by `addContainer`. Until its first container is committed, the sandbox dies with this
   * process (its side of the connection closes).
   */
  launch(options: SandboxOptions): Promise<SandboxHandle>;
  /**
   * Sets a container up, with its file systems mounted, but does not start it; the first one of a sandbox and later ones
   * alike. When it fails nothing of the container is left in the sandbox; a sandbox without a container is the caller's
   * to kill. Until `commit`, the container goes when `sandbox` is closed. The warnings are what of the spec was accepted
   * and has no effect. `ready`: what the sandbox must not be asked before.
   */
  addContainer(
    sandbox: SandboxHandle,
    options: ContainerOptions,
    ready?: Promise<void>,
  ): Promise<{ warnings: readonly string[] }>;
  /**
   * The same for a container that is restored. The first of its sandbox brings the image; when as many have come as that has,
   * the sandbox becomes what was saved, and each goes on when it has been started, too. Before that the sandbox takes
   * `commit`, `start`, `wait`, `signal` and `destroy` for them.
   */
  restoreContainer(
    sandbox: SandboxHandle,
    options: ContainerOptions,
    image: RestoreImage,
    ready?: Promise<void>,
  ): Promise<{ warnings: readonly string[] }>;
  /** Connects to a running sandbox through the state directory of one of its containers. */
  attach(stateDirectory: string, process: ProcessRef): Promise<SandboxHandle>;
}
