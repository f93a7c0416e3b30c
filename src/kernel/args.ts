/**
 * Argument types of system call declarations: how a register becomes a value, what the platform prefetches, how
 * `--strace` prints it.
 *
 * Strings are decoded at once (a bad pointer ends the call with EFAULT, one too long with ENAMETOOLONG); buffers and
 * structures stay addresses, since the order of checks is ABI: handlers read them through `task.mm`.
 */
import { EFAULT, ENAMETOOLONG } from "./abi/errno.ts";
import { quote } from "./strace/quote.ts";
import type { ArgType } from "./syscall.ts";

/** A signed 32-bit integer. */
export const int: ArgType<number> = { kind: "int", decode: (task, i) => task.argLo(i) | 0 };
/** An unsigned 32-bit integer. */
export const uint: ArgType<number> = { kind: "uint", decode: (task, i) => task.argLo(i) };
/** A file descriptor. */
export const fd: ArgType<number> = {
  kind: "fd",
  decode: (task, i) => task.argLo(i) | 0,
  format: (value) => (value === -100 ? "AT_FDCWD" : String(value)),
};
/** An unsigned 64-bit value (size_t) as a number; above 2^53 the low bits are lost, which no valid size has. */
export const size: ArgType<number> = { kind: "size", decode: (task, i) => task.arg(i) };
/** A signed 64-bit value (off_t, long) as a number. */
export const long: ArgType<number> = { kind: "long", decode: (task, i) => task.argSigned(i) };
export const off = long;
/** A guest address; 0 is NULL. */
export const addr: ArgType<number> = {
  kind: "addr",
  decode: (task, i) => task.arg(i),
  format: (value) => (value === 0 ? "NULL" : `0x${value.toString(16)}`),
};
/** A file mode, printed in octal. */
export const mode: ArgType<number> = {
  kind: "mode",
  decode: (task, i) => task.argLo(i),
  format: (value) => `0${value.toString(8)}`,
};
export const pid: ArgType<number> = { ...int, kind: "pid" };
export const uid: ArgType<number> = {
  kind: "uid",
  decode: (task, i) => task.argLo(i),
  format: (value) => (value === 0xffffffff ? "-1" : String(value)),
};

/** Flags printed by name. `table` maps names to bits; the value stays a u32 for the handler to check. */
export function flags(table: Readonly<Record<string, number>>): ArgType<number> {
  const entries = Object.entries(table);
  return {
    kind: "flags",
    decode: (task, i) => task.argLo(i),
    format(value) {
      let rest = value >>> 0;
      const names: string[] = [];
      for (const [name, bits] of entries) {
        if (bits !== 0 && (rest & bits) >>> 0 === bits >>> 0) {
          names.push(name);
          rest = (rest & ~bits) >>> 0;
        }
      }
      if (names.length === 0) {
        const zero = entries.find(([, bits]) => bits === 0);
        return rest === 0 ? (zero ? zero[0] : "0") : `0x${rest.toString(16)}`;
      }
      if (rest !== 0) names.push(`0x${rest.toString(16)}`);
      return names.join("|");
    },
  };
}

/** One value out of a list, printed by name. */
export function oneOf(table: Readonly<Record<string, number>>): ArgType<number> {
  const names = new Map(Object.entries(table).map(([name, value]) => [value, name]));
  return { kind: "enum", decode: (task, i) => task.argLo(i) | 0, format: (value) => names.get(value) ?? String(value) };
}

/** A NUL-terminated path or name of at most 4096 bytes, see decodeName in abi/bytes.ts. */
export const cstring: ArgType<string> = {
  kind: "string",
  fallible: true,
  prefetch: { kind: "string" },
  decode: (task, i) => {
    const value = task.mm.readString(task.arg(i), 4096);
    // A fallible type returns the errno in place of the value; `syscall` sorts it out before the handler runs.
    if (typeof value === "number") return (value === -ENAMETOOLONG ? -ENAMETOOLONG : -EFAULT) as unknown as string;
    return value;
  },
  format: (value) => quote(value),
};
/** Like cstring, but NULL is null. */
export const optionalCstring: ArgType<string | null> = {
  ...cstring,
  decode: (task, i) => (task.arg(i) === 0 ? null : cstring.decode(task, i)),
  format: (value) => (value === null ? "NULL" : quote(value)),
};

/** Address of bytes that the kernel reads; their count is the argument named `lengthArg`. */
export function inBuffer(lengthArg: string): ArgType<number> {
  return {
    kind: "inBuffer",
    decode: (task, i) => task.arg(i),
    prefetch: { kind: "length", lengthArg },
    format: (value, task, call, result) => {
      const length = Math.min(Number(call[lengthArg]), result >= 0 ? result : Number.POSITIVE_INFINITY, 33);
      return formatBytes(value, task, length, Number(call[lengthArg]));
    },
  };
}
/** Address of bytes that the kernel writes, at most as many as the argument named by the parameter. */
export function outBuffer(): ArgType<number> {
  return {
    kind: "outBuffer",
    out: true,
    decode: (task, i) => task.arg(i),
    format: (value, task, call, result) =>
      result < 0 ? addr.format!(value, task, call, result) : formatBytes(value, task, Math.min(result, 33), result),
  };
}
function formatBytes(
  at: number,
  task: Parameters<ArgType<number>["decode"]>[0],
  length: number,
  whole: number,
): string {
  if (at === 0) return "NULL";
  const shown = Math.max(0, Math.min(length, 32));
  const bytes = new Uint8Array(shown);
  if (task.mm.copyIn(at, bytes, 0, shown) < 0) return `0x${at.toString(16)}`;
  return quote(Buffer.from(bytes).toString("latin1"), true) + (whole > shown ? "..." : "");
}

/** Address of a structure of `bytes` bytes that the kernel reads. `show` renders it for strace. */
export function inStruct(bytes: number, show?: ArgType<number>["format"]): ArgType<number> {
  return {
    kind: "inStruct",
    decode: (task, i) => task.arg(i),
    prefetch: { kind: "fixed", size: bytes },
    format: show ?? addr.format!,
  };
}
/** Address of a structure that the kernel writes. */
export function outStruct(show?: ArgType<number>["format"]): ArgType<number> {
  return {
    kind: "outStruct",
    out: true,
    decode: (task, i) => task.arg(i),
    format: (value, task, call, result) =>
      show && result >= 0 && value !== 0 ? show(value, task, call, result) : addr.format!(value, task, call, result),
  };
}
