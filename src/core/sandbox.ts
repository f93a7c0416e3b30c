/**
 * The one narrow door between the host half (`src/core`) and the sandbox process (`src/boot`).
 *
 * `core` knows no kernel: it launches a sandbox, sends it requests, and looks whether it lives. The real launcher is
 * `src/boot/launch.ts`, injected by `src/main.ts`; unit tests inject one that lives in memory.
 *
 * Wire format of requests: a unix stream socket in the container's state directory; each message is a 4-byte
 * little-endian length and that many bytes of JSON, descriptors travel by SCM_RIGHTS with the first byte of the message
 * that names them. A request is `{ seq, method, params, fds: n }`, its answer `{ seq, result }` or
 * `{ seq, error: { message, errno?, code? } }`. Requests on one connection may be answered out of order (`wait`).
 */
import type { Process, Resources, Spec } from "./spec/schema.ts";

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

/** One plugin as the sandbox process shall load it. Built-in ones by name, others from `path`. */
export interface SandboxPlugin {
  name: string;
  path: string | null;
  options: unknown;
}

export interface LaunchOptions {
  /** The container whose sandbox this is (also the sandbox's id). */
  id: string;
  /** Absolute path of the bundle; null for `do`. */
  bundle: string | null;
  /** The checked spec. Paths in `root.path` and bind sources are absolute already. */
  spec: Spec;
  /** "memory": root and writable binds get a memory upper layer, the host sees no write. `do` uses it. */
  overlay: "none" | "memory";
  /** Name of a registered platform. */
  platform: string;
  /** "sandbox" (own stack), "host" (pass-through sockets: not there yet), "none" (loopback only). */
  network: "sandbox" | "host" | "none";
  debug: boolean;
  /** null: off; [] : every call; otherwise the calls named. */
  strace: readonly string[] | null;
  /**
   * Where the kernel's lines go (debug, strace, and its warnings and errors): a path, or null for descriptor 2 of the
   * launching command. What concerns the caller's spec belongs into the launch's answer, see SandboxHandle.warnings.
   */
  debugLog: string | null;
  /**
   * Existing directory that will hold the control socket (`control.sock`), and into which the sandbox writes, when the
   * container has ended, `exit.json` (an ExitStatus); null: the sandbox serves only this handle.
   */
  stateDirectory: string | null;
  /**
   * Descriptors that become the first process' 0, 1, 2 (and 3… with --preserve-fds). With `terminal`, 0 to 2 are the
   * pty's slave, which also becomes the sandbox process' controlling terminal (setsid, TIOCSCTTY): so that the host's
   * line discipline sends SIGINT, SIGTSTP and SIGWINCH to the sandbox, which passes them to the guest's foreground group.
   */
  stdio: readonly number[];
  terminal: boolean;
  /** LISTEN_FDS is not here: callers put it in the environment and the descriptors in `stdio`. */
  plugins: readonly SandboxPlugin[];
  /** True: the sandbox dies with the launching process for good (`do`, attached `run`); see also `commit`. */
  dieWithParent: boolean;
}

/** Every request, with its parameters and its answer. A sandbox half of a plugin may add methods (`kernel.control`). */
export interface ControlMethods {
  /** Loads the program and lets the first process run. Answers after the exec succeeded or failed; twice is EBUSY. */
  start: { params: { id: string }; result: Record<string, never> };
  /** Answers when the process has ended. `pid` is the guest's pid; absent: the container's first process. */
  wait: { params: { id: string; pid?: number }; result: ExitStatus };
  /** Starts another process. Its stdio (and more) are the request's descriptors. Answers when it has been executed. */
  exec: { params: ExecParams; result: ExecResult };
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
  /** Takes one container down; the sandbox goes with its first one. */
  destroy: { params: { id: string }; result: Record<string, never> };
  /**
   * Everything after setting up is done: from now on the sandbox outlives the command that launched it. Refused with the
   * errno, as runc's create does it, when the first process' program is not there or its user may not run it: hooks have
   * had their chance to put it there.
   */
  commit: { params: Record<string, never>; result: Record<string, never> };
}

export interface ExecParams {
  id: string;
  process: Process;
  /** As in LaunchOptions: descriptors 0 to 2 are a pty's slave, which becomes the new session's controlling terminal. */
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
  /** After a launch: what of the spec was accepted and has no effect, for the command's log. */
  readonly warnings?: readonly string[];
  /** Rejects with ControlError when refused, with RuntimeError "sandbox" when the sandbox went away. */
  request<M extends keyof ControlMethods>(
    method: M,
    params: ControlMethods[M]["params"],
    fds?: readonly number[],
  ): Promise<ControlMethods[M]["result"]>;
  /** Requests of methods that a plugin's sandbox half added. */
  request(method: string, params: unknown, fds?: readonly number[]): Promise<unknown>;
  /** False once the process is gone or a zombie. */
  isAlive(): boolean;
  /** SIGKILL to the sandbox and all that is in it; resolves when it is gone. */
  kill(): Promise<void>;
  /** Drops the connection; the sandbox is not touched. */
  close(): void;
}

export interface SandboxLauncher {
  /**
   * Starts a sandbox with its first container set up but not started: file systems mounted. On failure nothing is left
   * behind.
   * Until `commit` is answered, the sandbox dies with this process (its side of the connection closes).
   */
  launch(options: LaunchOptions): Promise<SandboxHandle>;
  /** Connects to a running sandbox through its state directory. */
  attach(stateDirectory: string, process: ProcessRef): Promise<SandboxHandle>;
}
