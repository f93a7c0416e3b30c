/**
 * mkdir, mkdirat, mknod, mknodat.
 *
 * Manual pages: mkdir(2), mknod(2). Linux: fs/namei.c. Gaps: none known.
 */
import { AT_FDCWD } from "../abi/fcntl.ts";
import { cstring, fd, mode, uint } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Path } from "../vfs/dentry.ts";
import { makeDirectory, makeNode } from "../vfs/names.ts";

const done = (result: Path | number): number => (typeof result === "number" ? result : 0);

export const mkdir = syscall("mkdir", { path: cstring, mode }, (task, call) =>
  done(makeDirectory(task, AT_FDCWD, call.path, call.mode & 0xffff)),
);
export const mkdirat = syscall("mkdirat", { dirfd: fd, path: cstring, mode }, (task, call) =>
  done(makeDirectory(task, call.dirfd, call.path, call.mode & 0xffff)),
);
export const mknod = syscall("mknod", { path: cstring, mode, dev: uint }, (task, call) =>
  done(makeNode(task, AT_FDCWD, call.path, call.mode & 0xffff, call.dev)),
);
export const mknodat = syscall("mknodat", { dirfd: fd, path: cstring, mode, dev: uint }, (task, call) =>
  done(makeNode(task, call.dirfd, call.path, call.mode & 0xffff, call.dev)),
);
