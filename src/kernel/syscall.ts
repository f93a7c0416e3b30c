/**
 * The declaration of a system call: one object from which dispatch, argument decoding, prefetching by the platform,
 * `--strace` and the call objects of interceptors come.
 *
 *   export const dup3 = syscall("dup3", { oldfd: fd, newfd: fd, flags: flags({ O_CLOEXEC }) }, (task, call) => …);
 *
 * A handler returns `>= 0`, `-errno`, a `-ERESTART*` code, or BLOCKED (what `task.block()` returns). A blocked call is
 * run again from its arguments when a wait queue wakes it; progress that must survive is kept in `task.restart`.
 */

import type { PrefetchSpec } from "../platform/platform.ts";
import { SYSCALL_NUMBERS, type SyscallName } from "./abi/syscall-numbers.ts";
import type { Task } from "./task/task.ts";

/** The handler registered the task on wait queues: nothing to return yet. */
export const BLOCKED = -0x10000;
/** The handler has set the registers itself (execve, rt_sigreturn) or the task is gone (exit). */
export const NO_RETURN = -0x10001;

/** How one argument is decoded and printed. */
export interface ArgType<T> {
  readonly kind: string;
  /** Value of argument register `index` of the task's current call. */
  decode(task: Task, index: number): T;
  /** strace's rendering; `result` is known when printing out-arguments. */
  format?(value: T, task: Task, call: Readonly<Record<string, unknown>>, result: number): string;
  /** What the platform should bring along; the names of other arguments are resolved by `syscall`. */
  readonly prefetch?: { kind: "string" } | { kind: "fixed"; size: number } | { kind: "length"; lengthArg: string };
  /** True: `decode` may return a negative errno in place of the value, which then is the call's result. */
  readonly fallible?: boolean;
  /** Printed only after the call (out-arguments). */
  readonly out?: boolean;
}

export type ArgTypes = Readonly<Record<string, ArgType<unknown>>>;
/** The decoded arguments of a call. */
export type CallArgs<A extends ArgTypes> = { [K in keyof A]: A[K] extends ArgType<infer T> ? T : never };

export interface SyscallDeclaration {
  readonly name: SyscallName;
  readonly nr: number;
  readonly args: ArgTypes;
  readonly argNames: readonly string[];
  readonly prefetch: readonly PrefetchSpec[];
  /** Decodes, then runs the handler. */
  readonly invoke: (task: Task) => number;
  /** Decodes into a fresh call object, or a negative errno. */
  readonly decode: (task: Task) => Record<string, unknown> | number;
  /** The handler on a decoded call object. */
  readonly run: (task: Task, call: Record<string, unknown>) => number;
}

/** Declares a system call. See the file comment. */
export function syscall<A extends ArgTypes>(
  name: SyscallName,
  args: A,
  handler: (task: Task, call: CallArgs<A>) => number,
): SyscallDeclaration {
  const argNames = Object.keys(args);
  const types = argNames.map((n) => args[n] as ArgType<unknown>);
  const prefetch: PrefetchSpec[] = [];
  types.forEach((type, arg) => {
    if (!type.prefetch) return;
    if (type.prefetch.kind === "length") {
      const lengthArg = argNames.indexOf(type.prefetch.lengthArg);
      if (lengthArg < 0) throw new Error(`${name}: no argument named ${type.prefetch.lengthArg}`);
      prefetch.push({ arg, kind: "length", lengthArg });
    } else prefetch.push({ arg, ...type.prefetch });
  });
  const count = types.length;
  const decode = (task: Task): Record<string, unknown> | number => {
    const call: Record<string, unknown> = {};
    for (let i = 0; i < count; i++) {
      const type = types[i]!;
      const value = type.decode(task, i);
      if (type.fallible && typeof value === "number" && value < 0) return value;
      call[argNames[i]!] = value;
    }
    return call;
  };
  const run = handler as unknown as (task: Task, call: Record<string, unknown>) => number;
  return {
    name,
    nr: SYSCALL_NUMBERS[name],
    args,
    argNames,
    prefetch,
    decode,
    run,
    invoke(task) {
      const call = decode(task);
      return typeof call === "number" ? call : run(task, call);
    },
  };
}
