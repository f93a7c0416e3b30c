/**
 * Host files for directory file systems, bound to src/native/files.c. `name` is a NUL-terminated component. What is opened
 * here is opened for a guest: -ENFILE when guests have had their part of the descriptors.
 */
import { forGuest } from "./guest-descriptors.ts";
import { openat2, unlinkat } from "./host.ts";
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  h_stat: { args: [i32, pointer, pointer], returns: i32, ours: true },
  h_open_directory: { args: [i32, pointer, i32], returns: i32, ours: true },
  h_open_regular: { args: [i32, pointer, i32, f64], returns: i32, ours: true },
  h_create_regular: { args: [i32, pointer, i32], returns: i32 },
  h_syncfs: { args: [i32], returns: i32 },
  h_chmod: { args: [i32, pointer, i32], returns: i32 },
});

type Bytes = NodeJS.TypedArray | number | null;

/** Places in the array that `statHost` fills. */
export const ST = {
  mode: 0,
  nlink: 1,
  uid: 2,
  gid: 3,
  ino: 4,
  size: 5,
  blocks: 6,
  blksize: 7,
  rdev: 8,
  dev: 9,
  atime: 10,
  mtime: 12,
  ctime: 14,
  btime: 16,
  hasBtime: 18,
} as const;
export const ST_LENGTH = 19;

/** Attributes of a name (links are not followed) or, with an empty name, of the descriptor. */
export const statHost: (dirfd: number, name: Bytes, out: Bytes) => number = symbols.h_stat;
export const openDirectory = (dirfd: number, name: Bytes, flags: number): number =>
  forGuest(symbols.h_open_directory(dirfd, name, flags));
/** A regular file with that inode number; -ESTALE, -ENXIO. */
export const openRegular = (dirfd: number, name: Bytes, flags: number, ino: number): number =>
  forGuest(symbols.h_open_regular(dirfd, name, flags, ino));
export function createRegular(dirfd: number, name: Bytes, mode: number): number {
  const made = symbols.h_create_regular(dirfd, name, mode);
  const fd = forGuest(made);
  if (made >= 0 && fd < 0) unlinkat(dirfd, name, 0);
  return fd;
}
export const chmodHost: (dirfd: number, name: Bytes, mode: number) => number = symbols.h_chmod;
/** /proc/self/fd by a descriptor, for a process whose root has no /proc; -1: there is one. */
let ownDescriptors = -1;
export function useOwnDescriptors(directory: number): void {
  ownDescriptors = directory;
}
/**
 * What a descriptor leads to, opened once more, or -errno. It goes by the descriptor's own entry in /proc, so that it is
 * the same file whatever has become of its name. (Not counted as a guest's: the caller knows for whom it is.)
 */
export function reopen(fd: number, flags: number): number {
  if (ownDescriptors >= 0) return openat2(ownDescriptors, Buffer.from(`${fd}\0`), flags, 0, 0);
  return openat2(-100, Buffer.from(`/proc/self/fd/${fd}\0`), flags, 0, 0);
}
/** For reading only: a process that gets the descriptor cannot write. */
export const reopenReadOnly = (fd: number): number => reopen(fd, 0);

/** Writes the whole host file system of a descriptor to disk. */
export const syncHost: (fd: number) => number = symbols.h_syncfs;
