/**
 * Descriptors that a process is given from outside, as open files of the guest: host terminals, pipes, files, sockets.
 *
 * Terminals are opened anew without blocking, through /proc/self/fd: setting O_NONBLOCK on what was passed would change it
 * for everybody who shares it. Pipes and sockets need no flag for it (fs/hostfd/stream-file.ts).
 */
import { AT_FDCWD, O_NOCTTY, O_NONBLOCK, O_RDWR } from "../kernel/abi/fcntl.ts";
import { openHostFd } from "../kernel/fs/hostfd/node.ts";
import type { Task } from "../kernel/task/task.ts";
import { HostTty } from "../kernel/tty/host-tty.ts";
import { setControlling } from "../kernel/tty/job-control.ts";
import type { File } from "../kernel/vfs/file.ts";
import { LOOKUP_FOLLOW, resolve } from "../kernel/vfs/namei.ts";
import { reopen } from "../native/files.ts";
import { closeFd, isatty } from "../native/host.ts";
import { Refusal } from "./control.ts";

/** Opens terminals anew, without blocking. The old descriptors are closed where that worked. */
export function reopenStdio(fds: readonly number[]): number[] {
  return fds.map((fd) => {
    if (isatty(fd) !== 1) return fd;
    const again = reopen(fd, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (again < 0) return fd;
    closeFd(fd);
    return again;
  });
}

/** Guest files over host descriptors, which they own from now on. `terminal`: descriptor 0 is the controlling terminal. */
export function openStdio(task: Task, fds: readonly number[], terminal: boolean): File[] {
  const { container } = task;
  let tty: HostTty | null = null;
  const openTty = (fd: number, number: number): File => {
    if (tty === null) {
      const attached = HostTty.attach(container, fd, task.process === container.first ? number : -1);
      if (typeof attached === "number") throw new Refusal("no more terminals", -attached);
      tty = attached;
      // Of the container's own process: an exec's terminal goes with the exec.
      if (task.process === container.first) container.console ??= tty;
    } else closeFd(fd);
    const path = resolve(task, AT_FDCWD, `/dev/pts/${tty.index}`, LOOKUP_FOLLOW);
    const place = typeof path === "number" ? resolve(task, AT_FDCWD, "/", LOOKUP_FOLLOW) : path;
    if (typeof place === "number") throw new Refusal("no place for the terminal", -place);
    const file = tty.open(place, O_RDWR | O_NOCTTY, task);
    if (typeof file === "number") throw new Refusal("cannot open the terminal", -file);
    return file;
  };
  const isFirst = task.process === container.first;
  const files = fds.map((fd, number) => {
    if (isatty(fd) === 1) return openTty(fd, number);
    return openHostFd(task.kernel, fd, undefined, isFirst ? { container, fd: number } : null);
  });
  if (terminal && tty !== null) setControlling(tty, task, true, true);
  return files;
}
