/** Host files for directory file systems, bound to src/native/files.c. `name` is a NUL-terminated component. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  h_stat: { args: [i32, pointer, pointer], returns: i32 },
  h_open_directory: { args: [i32, pointer, i32], returns: i32 },
  h_open_regular: { args: [i32, pointer, i32, f64], returns: i32 },
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
export const openDirectory: (dirfd: number, name: Bytes, flags: number) => number = symbols.h_open_directory;
/** A regular file with that inode number; -ESTALE, -ENXIO. */
export const openRegular: (dirfd: number, name: Bytes, flags: number, ino: number) => number = symbols.h_open_regular;
export const createRegular: (dirfd: number, name: Bytes, mode: number) => number = symbols.h_create_regular;
export const chmodHost: (dirfd: number, name: Bytes, mode: number) => number = symbols.h_chmod;
/** Writes the whole host file system of a descriptor to disk. */
export const syncHost: (fd: number) => number = symbols.h_syncfs;
