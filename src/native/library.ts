/**
 * Opens the native library that is embedded in the executable. The only module that imports bun:ffi.
 *
 * The library's bytes go to a memfd and are loaded from /proc/self/fd/N: no temporary file, nothing beside the
 * executable. `symbols` is made once, at first use.
 */
import { dlopen, FFIType, ptr, toArrayBuffer } from "bun:ffi";
import { closeSync, writeSync } from "node:fs";
import { hostLibrary } from "../generated/native-blobs.ts";

export const i32 = FFIType.i32;
export const f64 = FFIType.f64;
/** A host address as a number, or a typed array whose bytes the call reads or writes. */
export const pointer = FFIType.ptr;

/** `ours`: its integers are descriptors and constants of the kernel's own, no number of anybody else's; called most often. */
type FfiSpec = {
  args: readonly FFIType[];
  returns: FFIType;
  ours?: true;
  /** Numbers of the argument with the bytes, and of that which says how many. */
  sized?: readonly [bytes: number, length: number];
};
type FfiArg = number | NodeJS.TypedArray | null | undefined;
export type NativeFunction = (...args: FfiArg[]) => number;

let path: string | undefined;

function openLibc() {
  try {
    return dlopen("libc.so.6", { memfd_create: { args: [pointer, i32], returns: i32 } });
  } catch (error) {
    // The engine does without its compiler when there is no room for its code.
    if (!(error instanceof Error) || !error.message.includes("JIT")) throw error;
    throw new Error("the limit on address space is too low (ulimit -v)", { cause: error });
  }
}

/** Writes the library where the dynamic loader finds it, and returns that path. */
function libraryPath(): string {
  if (path !== undefined) return path;
  // memfd_create comes from libc, which every dynamic executable has already loaded.
  const libc = openLibc();
  const fd = libc.symbols.memfd_create(Buffer.from("runts-native\0"), 1);
  if (fd < 0) throw new Error("cannot create a memory file for the native library");
  const bytes = Buffer.from(hostLibrary, "base64");
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  } catch (error) {
    const tooBig = error instanceof Error && "code" in error && error.code === "EFBIG";
    if (!tooBig) throw error;
    throw new Error(`the limit on file sizes is too low: ${bytes.length} bytes are needed at least (ulimit -f)`);
  }
  path = `/proc/self/fd/${fd}`;
  return path;
}

/**
 * The sandbox process binds all that it may ever call before its jail closes. A command calls few functions, once or twice,
 * and binding one is work for the engine's compiler, 30 us: it binds a function when it calls it.
 */
const atOnce = process.argv[2] === "boot";

function load(spec: Record<string, FfiSpec>): Record<string, NativeFunction> {
  const { symbols } = dlopen(libraryPath(), spec as Record<string, { args: FFIType[]; returns: FFIType }>);
  return symbols as unknown as Record<string, NativeFunction>;
}

/** Loads the function at its first call. */
function late(name: string, spec: FfiSpec): NativeFunction {
  let call: NativeFunction | undefined;
  return (...args) => {
    call ??= load({ [name]: spec })[name]!;
    return call(...args);
  };
}

/**
 * Binds exported functions by name. An argument that does not fit its integer type is an error of the caller's, thrown:
 * the FFI itself would cut it to 32 bits, and 2^32 + a process id would become that process.
 */
export function bind<T extends Record<string, FfiSpec>>(spec: T): { [K in keyof T]: NativeFunction } {
  const loaded = atOnce ? load(spec) : null;
  const bound: Record<string, NativeFunction> = {};
  for (const [name, each] of Object.entries(spec)) {
    const call = loaded === null ? late(name, each) : loaded[name]!;
    const checked = each.ours ? call : guarded(name, each.args, call);
    bound[name] = each.sized === undefined ? checked : sized(name, each.sized, checked);
  }
  return bound as { [K in keyof T]: NativeFunction };
}

/** The function behind a check of its integer arguments. It stands before every host call: no loops, no lists. */
function guarded(name: string, args: readonly FFIType[], call: NativeFunction): NativeFunction {
  const [s0, s1, s2, s3, s4, s5, s6, s7] = args.map((type) => type === i32);
  const refuse = (...values: FfiArg[]): never => {
    const at = values.findIndex((value, i) => args[i] === i32 && !fits(value));
    throw new RangeError(`${name}: argument ${at + 1} does not fit its type: ${String(values[at])}`);
  };
  const fits = (value: FfiArg): boolean => ((value as number) | 0) === value;
  if (args.length > 8)
    return (...values) =>
      values.every((value, i) => args[i] !== i32 || fits(value)) ? call(...values) : refuse(...values);
  if (args.length <= 2)
    return (a, b) => {
      if ((s0 && ((a as number) | 0) !== a) || (s1 && ((b as number) | 0) !== b)) return refuse(a, b);
      return call(a, b);
    };
  if (args.length <= 4)
    return (a, b, c, d) => {
      if ((s0 && ((a as number) | 0) !== a) || (s1 && ((b as number) | 0) !== b)) return refuse(a, b, c, d);
      if ((s2 && ((c as number) | 0) !== c) || (s3 && ((d as number) | 0) !== d)) return refuse(a, b, c, d);
      return call(a, b, c, d);
    };
  return (a, b, c, d, e, f, g, h) => {
    if ((s0 && ((a as number) | 0) !== a) || (s1 && ((b as number) | 0) !== b)) return refuse(a, b, c, d, e, f, g, h);
    if ((s2 && ((c as number) | 0) !== c) || (s3 && ((d as number) | 0) !== d)) return refuse(a, b, c, d, e, f, g, h);
    if ((s4 && ((e as number) | 0) !== e) || (s5 && ((f as number) | 0) !== f)) return refuse(a, b, c, d, e, f, g, h);
    if ((s6 && ((g as number) | 0) !== g) || (s7 && ((h as number) | 0) !== h)) return refuse(a, b, c, d, e, f, g, h);
    return call(a, b, c, d, e, f, g, h);
  };
}

/** Memory whose address is used as a number, by that: how many bytes it has. */
const addresses = new Map<number, number>();

/** Are there as many bytes, in memory of ours? */
function holds(bytes: FfiArg, length: FfiArg): boolean {
  if (typeof bytes === "object" && bytes !== null) return bytes.byteLength >= (length as number);
  if (typeof bytes === "number" && bytes !== 0) return (addresses.get(bytes) ?? -1) >= (length as number);
  return length === 0;
}

/**
 * The function behind a look at its memory. What the kernel's objects say may be what an image of a stranger's says: a number
 * that stands where bytes should be, or a length that is not theirs, must never become an access to other memory.
 */
function sized(name: string, [bytes, length]: readonly [number, number], call: NativeFunction): NativeFunction {
  const refuse = (): never => {
    throw new RangeError(`${name}: no memory of that size`);
  };
  if (bytes === 0 && length === 1) return (a, b) => (holds(a, b) ? call(a, b) : refuse());
  if (bytes === 1 && length === 2) return (a, b, c, d, e, f) => (holds(b, c) ? call(a, b, c, d, e, f) : refuse());
  if (bytes === 2 && length === 3) return (a, b, c, d, e, f) => (holds(c, d) ? call(a, b, c, d, e, f) : refuse());
  return (...args) => (holds(args[bytes], args[length]) ? call(...args) : refuse());
}

/** The library is loaded: its memory file is no longer needed. */
export function closeLibraryFile(): void {
  if (path === undefined) return;
  closeSync(Number(path.slice(path.lastIndexOf("/") + 1)));
  path = undefined;
}

/** Address of a typed array's bytes; valid while the array lives and is not moved (never for its backing store). */
export function addressOf(bytes: NodeJS.TypedArray): number {
  const address = ptr(bytes) as number;
  addresses.set(address, bytes.byteLength);
  return address;
}

/** A view of host memory at an address that stays mapped as long as the view is used. */
export function memoryAt(address: number, length: number): ArrayBuffer {
  return toArrayBuffer(address as Parameters<typeof toArrayBuffer>[0], 0, length);
}
