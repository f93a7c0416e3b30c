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

type FfiSpec = { args: readonly FFIType[]; returns: FFIType };
type FfiArg = number | NodeJS.TypedArray | null;
export type NativeFunction = (...args: FfiArg[]) => number;

let path: string | undefined;

/** Writes the library where the dynamic loader finds it, and returns that path. */
function libraryPath(): string {
  if (path !== undefined) return path;
  // memfd_create comes from libc, which every dynamic executable has already loaded.
  const libc = dlopen("libc.so.6", { memfd_create: { args: [pointer, i32], returns: i32 } });
  const fd = libc.symbols.memfd_create(Buffer.from("runts-native\0"), 1);
  if (fd < 0) throw new Error("cannot create a memory file for the native library");
  const bytes = Buffer.from(hostLibrary, "base64");
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  path = `/proc/self/fd/${fd}`;
  return path;
}

/** Binds exported functions by name. */
export function bind<T extends Record<string, FfiSpec>>(spec: T): { [K in keyof T]: NativeFunction } {
  const at = libraryPath();
  return dlopen(at, spec as unknown as Record<string, { args: FFIType[]; returns: FFIType }>).symbols as unknown as {
    [K in keyof T]: NativeFunction;
  };
}

/** The library is loaded: its memory file is no longer needed. */
export function closeLibraryFile(): void {
  if (path === undefined) return;
  closeSync(Number(path.slice(path.lastIndexOf("/") + 1)));
  path = undefined;
}

/** Address of a typed array's bytes; valid while the array lives and is not moved (never for its backing store). */
export function addressOf(bytes: NodeJS.TypedArray): number {
  return ptr(bytes) as number;
}

/** A view of host memory at an address that stays mapped as long as the view is used. */
export function memoryAt(address: number, length: number): ArrayBuffer {
  return toArrayBuffer(address as Parameters<typeof toArrayBuffer>[0], 0, length);
}
