/**
 * `--strace`: prints each system call of guests with its decoded arguments and result, signals and exits.
 *
 * The style is that of strace(1) with -f. Arguments come from the declaration of the call; what they point to is read
 * before the call, or after it for what the call fills in. A call that blocks is printed up to there; if something else
 * is printed before it ends, it is shown as unfinished and resumed later.
 * Invariant: the tracer only looks; it changes no task.
 */
import { ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, errnoName } from "../abi/errno.ts";
import { SYSCALL_NAMES } from "../abi/syscall-numbers.ts";
import type { Kernel } from "../kernel.ts";
import {
  CLD_CONTINUED,
  CLD_DUMPED,
  CLD_EXITED,
  CLD_KILLED,
  CLD_STOPPED,
  CLD_TRAPPED,
  SIGCHLD,
} from "../signal/numbers.ts";
import type { SigInfo } from "../signal/task-signals.ts";
import { NO_RETURN, type SyscallDeclaration } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { errnoText } from "./errno-text.ts";
import { address, argumentCount, filledIn, printers, returnsAddress, signalText } from "./printers.ts";

/** Results start in this column, as strace has them. */
const RESULT_COLUMN = 40;

const RESTARTS: Readonly<Record<number, string>> = {
  [ERESTARTSYS]: "? ERESTARTSYS (To be restarted if SA_RESTART is set)",
  [ERESTARTNOINTR]: "? ERESTARTNOINTR (To be restarted)",
  [ERESTARTNOHAND]: "? ERESTARTNOHAND (To be restarted if no handler)",
  [ERESTART_RESTARTBLOCK]: "? ERESTART_RESTARTBLOCK (Interrupted by signal)",
};

/** A call that has begun. */
interface Begun {
  name: string;
  declaration: SyscallDeclaration | undefined;
  /** Arguments by name, as decoded at the start. */
  call: Record<string, unknown>;
  /** What has been printed of `name(args`; the rest comes after the call. */
  head: string;
  /** The first argument that `head` does not show. */
  next: number;
  /** `head` ends with the comma before argument `next`. */
  comma: boolean;
  /** `head` stands on the terminal, its line not ended. */
  open: boolean;
  /** `head` was ended with "<unfinished ...>". */
  unfinished: boolean;
}

export class Tracer {
  private readonly begun = new Map<Task, Begun>();
  /** Whose half line is the last thing printed. */
  private openLine: Begun | null = null;
  private readonly only: ReadonlySet<string> | null;

  /** `names`: the calls to print, all of them when empty. */
  constructor(
    kernel: Kernel,
    private readonly sink: (text: string) => void,
    names: readonly string[] = [],
  ) {
    this.only = names.length === 0 ? null : new Set(names);
    for (const name of names)
      if (!(SYSCALL_NAMES as readonly (string | undefined)[]).includes(name))
        kernel.log.warn(`--strace: no system call is named "${name}"`);
  }

  /** A call begins. */
  onCall(task: Task, nr: number): void {
    const name = SYSCALL_NAMES[nr] ?? `syscall_${nr}`;
    if (this.only !== null && !this.only.has(name)) return;
    const declaration = task.kernel.declaration(nr);
    const begun: Begun = {
      name,
      declaration,
      call: {},
      head: `${name}(`,
      next: 0,
      comma: false,
      open: false,
      unfinished: false,
    };
    if (declaration !== undefined) {
      declaration.argNames.forEach((argument, i) => {
        begun.call[argument] = declaration.args[argument]!.decode(task, i);
      });
      this.printArguments(task, begun, Number.NaN);
    }
    this.begun.set(task, begun);
  }

  /** The call waits. */
  onBlocked(task: Task): void {
    const begun = this.begun.get(task);
    if (begun === undefined || begun.open || begun.unfinished) return;
    this.closeLine();
    this.sink(prefix(task) + begun.head);
    begun.open = true;
    this.openLine = begun;
  }

  /** The call has ended, or will not return. */
  onResult(task: Task, _nr: number, result: number): void {
    const begun = this.begun.get(task);
    if (begun === undefined) return;
    this.begun.delete(task);
    let before = begun.head.length;
    let start = begun.head;
    if (begun.unfinished) {
      start = `<... ${begun.name} resumed>`;
      before = start.length;
    }
    begun.head = start;
    const replaced = result === NO_RETURN;
    if (begun.declaration === undefined) begun.head += rawArguments(task);
    // After execve there is no memory left to look at; what it would have filled in does not exist.
    else this.printArguments(task, begun, replaced ? 0 : result);
    const line = `${begun.head})`.padEnd(RESULT_COLUMN - 1);
    const end = `${line} = ${showResult(begun.name, result)}\n`;
    if (begun.open && this.openLine === begun) {
      this.openLine = null;
      this.sink(end.slice(before));
    } else {
      this.closeLine();
      this.sink(prefix(task) + end);
    }
  }

  /** A signal is about to be acted on. */
  onSignal(task: Task, info: SigInfo): void {
    this.closeLine();
    this.sink(`${prefix(task)}--- ${signalText(info.signo)} ${showSignal(info)} ---\n`);
  }

  onStopped(task: Task, signo: number): void {
    this.closeLine();
    this.sink(`${prefix(task)}--- stopped by ${signalText(signo)} ---\n`);
  }

  /** A thread has ended; `status` in wait(2) encoding. */
  onExit(task: Task, status: number): void {
    const begun = this.begun.get(task);
    // exit and exit_group, and calls that were under way when the end came.
    if (begun !== undefined) {
      if (begun.unfinished) {
        this.closeLine();
        this.sink(`${prefix(task)}${`<... ${begun.name} resumed>)`.padEnd(RESULT_COLUMN - 1)} = ?\n`);
      } else this.onResult(task, -1, NO_RETURN);
      this.begun.delete(task);
    }
    this.closeLine();
    const signal = status & 0x7f;
    const what =
      signal === 0
        ? `exited with ${(status >> 8) & 0xff}`
        : `killed by ${signalText(signal)}${status & 0x80 ? " (core dumped)" : ""}`;
    this.sink(`${prefix(task)}+++ ${what} +++\n`);
  }

  private closeLine(): void {
    if (this.openLine === null) return;
    this.sink(" <unfinished ...>\n");
    this.openLine.open = false;
    this.openLine.unfinished = true;
    this.openLine = null;
  }

  /** Adds arguments to `head`: before the call (result NaN) up to the first that it fills in, after it the rest. */
  private printArguments(task: Task, begun: Begun, result: number): void {
    const { declaration, name, call } = begun;
    if (declaration === undefined) return;
    const before = Number.isNaN(result);
    const filled = filledIn[name];
    const { argNames, args } = declaration;
    const shown = Math.min(argNames.length, argumentCount[name]?.(call) ?? argNames.length);
    for (; begun.next < shown; begun.next++) {
      const argument = argNames[begun.next]!;
      const type = args[argument]!;
      const out = type.out === true || filled?.includes(argument) === true;
      // The comma belongs to what stands before it, also when the line is broken there.
      if (begun.next > 0 && !begun.comma) begun.head += ", ";
      begun.comma = false;
      if (out && before) {
        begun.comma = true;
        return;
      }
      begun.head += this.show(task, begun, argument, result, out);
    }
    // The mode of open means something only when a file may be made.
    if (before && call["mode"] !== undefined && name.startsWith("open") && typeof call["flags"] === "number")
      if ((call["flags"] & 0o20000100) === 0) begun.head = begun.head.replace(/, 0\d*$/, "");
  }

  private show(task: Task, begun: Begun, argument: string, result: number, out: boolean): string {
    const type = begun.declaration!.args[argument]!;
    const value = begun.call[argument];
    if (type.fallible && typeof value === "number")
      return address(task.arg(begun.declaration!.argNames.indexOf(argument)));
    if (out && result < 0 && typeof value === "number" && argument !== "arg") return address(value);
    const printer = printers[begun.name]?.[argument];
    if (printer !== undefined && typeof value === "number") {
      const text = printer(value, task, begun.call, result);
      return text ?? address(value);
    }
    // Reading only is the absence of a flag.
    const opens = argument === "flags" && begun.name.startsWith("open");
    if (opens && type.format !== undefined && typeof value === "number" && (value & 3) === 0) {
      const rest = value === 0 ? "" : `|${type.format(value, task, begun.call, 0)}`;
      return `O_RDONLY${rest}`;
    }
    if (type.kind === "signal" && typeof value === "number") return value === 0 ? "0" : signalText(value);
    if (type.format) return type.format(value, task, begun.call, Number.isNaN(result) ? -1 : result);
    return String(value);
  }
}

const prefix = (task: Task): string => `[pid ${String(task.tid).padStart(5)}] `;

/** A call that nobody has declared: its six registers. */
function rawArguments(task: Task): string {
  if (task.ctx === null) return "";
  return Array.from({ length: 6 }, (_, i) => `0x${task.arg(i).toString(16)}`).join(", ");
}

function showResult(name: string, result: number): string {
  if (result === NO_RETURN) return name.startsWith("execve") || name === "rt_sigreturn" ? "0" : "?";
  if (result <= -512) return RESTARTS[-result] ?? "?";
  if (result < 0) return `-1 ${errnoName(-result)} (${errnoText(-result)})`;
  return returnsAddress.has(name) ? `0x${result.toString(16)}` : String(result);
}

const SI_CODES: Readonly<Record<number, string>> = {
  0: "SI_USER",
  128: "SI_KERNEL",
  [-1]: "SI_QUEUE",
  [-2]: "SI_TIMER",
  [-3]: "SI_MESGQ",
  [-4]: "SI_ASYNCIO",
  [-5]: "SI_SIGIO",
  [-6]: "SI_TKILL",
};
const CHILD_CODES: Readonly<Record<number, string>> = {
  [CLD_EXITED]: "CLD_EXITED",
  [CLD_KILLED]: "CLD_KILLED",
  [CLD_DUMPED]: "CLD_DUMPED",
  [CLD_TRAPPED]: "CLD_TRAPPED",
  [CLD_STOPPED]: "CLD_STOPPED",
  [CLD_CONTINUED]: "CLD_CONTINUED",
};
const FAULT_CODES: Readonly<Record<string, string>> = {
  "11/1": "SEGV_MAPERR",
  "11/2": "SEGV_ACCERR",
  "7/1": "BUS_ADRALN",
  "7/2": "BUS_ADRERR",
  "7/3": "BUS_OBJERR",
  "8/1": "FPE_INTDIV",
  "8/3": "FPE_FLTDIV",
  "4/1": "ILL_ILLOPC",
  "4/2": "ILL_ILLOPN",
  "5/1": "TRAP_BRKPT",
  "5/2": "TRAP_TRACE",
};

function showSignal(info: SigInfo): string {
  const { signo, code } = info;
  const child = signo === SIGCHLD && code > 0 && code !== 128;
  const codeName = (child ? CHILD_CODES[code] : (FAULT_CODES[`${signo}/${code}`] ?? SI_CODES[code])) ?? String(code);
  const parts = [`si_signo=${signalText(signo)}`, `si_code=${codeName}`];
  if (info.addr !== undefined) parts.push(`si_addr=${address(info.addr)}`);
  if (info.timerId !== undefined) parts.push(`si_timerid=${info.timerId}`, `si_overrun=${info.overrun ?? 0}`);
  if (info.pid !== undefined) parts.push(`si_pid=${info.pid}`, `si_uid=${info.uid ?? 0}`);
  if (child) {
    const status = info.status ?? 0;
    parts.push(`si_status=${code === CLD_EXITED ? status : signalText(status)}`);
    parts.push(`si_utime=${Math.floor(info.utime ?? 0)}`, `si_stime=${Math.floor(info.stime ?? 0)}`);
  }
  if (info.valueLo !== undefined) parts.push(`si_int=${info.valueLo | 0}`);
  return `{${parts.join(", ")}}`;
}
