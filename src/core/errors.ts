/**
 * The one error type outside the kernel: what was being done, to what, why it failed, and the exit status for it.
 *
 * Messages are lower case without a full stop. Callers of runc match some of them by text ("container does not exist"),
 * see CONTRACT in docs; those stand here as constants so that they are not reworded by accident.
 */

export type ErrorCode =
  | "usage"
  | "invalid-id"
  | "not-found"
  | "already-exists"
  | "ambiguous-id"
  | "corrupt-state"
  | "busy"
  | "wrong-state"
  | "invalid-spec"
  | "invalid-config"
  | "unsupported"
  | "plugin"
  | "hook"
  | "sandbox"
  | "no-answer"
  | "exec"
  | "image"
  | "host";

/** Texts that containerd, Docker, Podman or CRI-O look for. */
export const MESSAGES = {
  notFound: "container does not exist",
  alreadyExists: "container with given ID already exists",
  invalidId: "invalid container ID format",
  notRunning: "container not running",
  notPaused: "container not paused",
  paused: "container paused",
  stillRunning: "container still running",
  alreadyStarted: "cannot start an already running container",
  stoppedStart: "cannot start a container that has stopped",
  needsConsoleSocket: "cannot allocate tty if runc will detach without setting console socket",
  uselessConsoleSocket: "cannot use console socket if runc will not detach or allocate tty",
} as const;

export interface ErrorDetails {
  /** What was being done: "create", "load", "read config". */
  action?: string;
  /** The container that it was done to. */
  id?: string;
  /** The file that it was done to. */
  path?: string;
  /** Exit status of the command; 1 when absent, as runc's. */
  exitCode?: number;
  cause?: unknown;
}

export class RuntimeError extends Error {
  override readonly name = "RuntimeError";
  readonly code: ErrorCode;
  readonly action: string | undefined;
  readonly id: string | undefined;
  readonly path: string | undefined;
  readonly exitCode: number;
  /** Failures of the clean-up that followed; kept rather than lost. */
  readonly cleanup: unknown[] = [];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.action = details.action;
    this.id = details.id;
    this.path = details.path;
    this.exitCode = details.exitCode ?? 1;
  }
}

/** A failure to run a program: exit status 127 or 126 as a shell gives it (255 from `exec`, as runc). */
export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

/** The message with those of its causes, outermost first, as one line. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts = [plain(error)];
  let cause = error.cause;
  for (let depth = 0; cause !== undefined && depth < 8; depth++) {
    const text = cause instanceof Error ? plain(cause) : String(cause);
    if (text !== "" && !parts.at(-1)?.includes(text)) parts.push(text);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return parts.join(": ");
}

/** Node's "ENOENT: no such file or directory, open '/x'" as "open /x: no such file or directory". */
function plain(error: Error): string {
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error.message;
  const match = /^[A-Z0-9]+: (.*?), /.exec(error.message);
  return `${syscall}${path === undefined ? "" : ` ${path}`}: ${match?.[1] ?? error.message}`;
}
