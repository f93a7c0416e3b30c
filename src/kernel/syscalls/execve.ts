/**
 * execve, execveat: replace the program of this process.
 *
 * Manual page: execve(2), execveat(2). The work is loader/exec.ts'.
 */

import { EBADF, EINVAL, ELOOP, ENOENT } from "../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_NOFOLLOW, O_PATH } from "../abi/fcntl.ts";
import { S_IFLNK, S_IFMT } from "../abi/stat.ts";
import { addr, cstring, fd, flags } from "../args.ts";
import { checkExecutable, exec, openExecutable } from "../loader/exec.ts";
import { GuestStrings } from "../loader/strings.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { RLIMIT_STACK } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";

function run(task: Task, file: File, name: string, argv: number, envp: number, viaDescriptor = false): number {
  // A quarter of the stack limit, at least 128 KiB, at most 6 MiB (Linux: three quarters of _STK_LIM).
  const stack = task.process.rlimits[RLIMIT_STACK]!.soft;
  const budget = Math.max(131072, Math.min(stack / 4, 6 << 20));
  const before = task.restart?.data;
  const strings = before?.kind === "arguments" ? before.strings : new GuestStrings(task.mm, budget);
  const read = strings.read(argv, envp, new Slice(task.kernel));
  if (read !== 0) {
    const result = read < 0 ? read : task.giveWay();
    if (result === BLOCKED) {
      const restart = task.progress();
      restart.data = { kind: "arguments", strings };
      if (restart.file === undefined) {
        restart.file = file;
        return result;
      }
    }
    file.release();
    return result;
  }
  const args = strings.argv.strings;
  const env = strings.envp.strings;
  // An empty argv becomes one empty string, since Linux 5.18.
  file.retain();
  const descriptor = /^\/dev\/fd\/(\d+)/.exec(name);
  const inaccessible = viaDescriptor && descriptor !== null && task.files.isCloexec(Number(descriptor[1]));
  const result = exec(task, {
    file,
    name,
    argv: args.length > 0 ? args : [new Uint8Array(0)],
    envp: env,
    inaccessible,
  });
  // Waiting for the other threads to end: the path may mean something else, or nothing, when the call is run again.
  if (result === BLOCKED) task.progress().data = { kind: "arguments", strings };
  if (result === BLOCKED && task.progress().file === undefined) task.progress().file = file;
  else file.release();
  return result;
}

/** What AT_EXECFN and scripts' interpreters are told. */
function executableName(dirfd: number, path: string): string {
  if (path === "") return `/dev/fd/${dirfd}`;
  return dirfd === AT_FDCWD || path.startsWith("/") ? path : `/dev/fd/${dirfd}/${path}`;
}

/** The program that an earlier run of the same call found. */
function found(task: Task): File | null {
  return task.restart?.file?.retain() ?? null;
}

export const execve = syscall("execve", { path: cstring, argv: addr, envp: addr }, (task, { path, argv, envp }) => {
  const file = found(task) ?? openExecutable(task, AT_FDCWD, path);
  return typeof file === "number" ? file : run(task, file, path, argv, envp);
});

export const execveat = syscall(
  "execveat",
  { dirfd: fd, path: cstring, argv: addr, envp: addr, flags: flags({ AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW }) },
  (task, { dirfd, path, argv, envp, flags }) => {
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return -EINVAL;
    const name = executableName(dirfd, path);
    const viaFd = name !== path;
    const earlier = found(task);
    if (earlier !== null) return run(task, earlier, name, argv, envp, viaFd);
    if (path === "") {
      if (!(flags & AT_EMPTY_PATH)) return -ENOENT;
      const opened = task.files.get(dirfd);
      if (!opened) return -EBADF;
      if (opened.flags & O_PATH) {
        const again = openExecutable(task, AT_FDCWD, `/proc/self/fd/${dirfd}`);
        return typeof again === "number" ? again : run(task, again, name, argv, envp, viaFd);
      }
      const refused = checkExecutable(task, opened);
      if (refused < 0) return refused;
      return run(task, opened.retain(), name, argv, envp, viaFd);
    }
    const file = openExecutable(task, dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
    if (typeof file === "number") return file;
    const stat = file.inode!.getattr();
    if (typeof stat !== "number" && (stat.mode & S_IFMT) === S_IFLNK) {
      file.release();
      return -ELOOP;
    }
    return run(task, file, name, argv, envp, viaFd);
  },
);
