/**
 * unshare, setns, kcmp, personality, restart_syscall.
 *
 * Manual pages: unshare(2), setns(2), kcmp(2), personality(2), restart_syscall(2). Gaps: no namespaces but those of
 * mounts, and none can be entered; kcmp tells equal from different, without an order (the manual's value 3).
 */
import { EBADF, EINTR, EINVAL, ENOMEM, EPERM, ESRCH } from "../abi/errno.ts";
import { fd, flags, oneOf, pid, uint } from "../args.ts";
import { syscall } from "../syscall.ts";
import { mayAccess } from "../task/access.ts";
import {
  CLONE_FILES,
  CLONE_FS,
  CLONE_NEWNS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VM,
  checkNamespaces,
  NAMESPACE_FLAGS,
} from "../task/clone.ts";

const UNSHARABLE = CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | NAMESPACE_FLAGS;

export const unshare = syscall(
  "unshare",
  { flags: flags({ CLONE_FILES, CLONE_FS, CLONE_SYSVSEM, CLONE_THREAD, CLONE_SIGHAND, CLONE_VM, CLONE_NEWNS }) },
  (task, call) => {
    if (task.argHi(0) !== 0 || call.flags & ~UNSHARABLE) return -EINVAL;
    // Threads cannot be taken apart: only a process that is alone may ask for it.
    if (call.flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) && task.process.tasks.length > 1) return -EINVAL;
    if (call.flags & (CLONE_SIGHAND | CLONE_VM) && task.process.actions.users > 1) return -EINVAL;
    if (call.flags & CLONE_VM && task.mm.users > 1) return -EINVAL;
    const refused = checkNamespaces(task, call.flags);
    if (refused < 0) return refused;
    if (call.flags & (CLONE_FS | CLONE_NEWNS) && task.fs.users > 1) {
      task.fs.users--;
      task.fs = task.fs.copy();
    }
    if (call.flags & CLONE_NEWNS) {
      const result = task.kernel.mounts.unshare(task.fs);
      if (result < 0) return result;
    }
    if (call.flags & CLONE_FILES && task.files.users > 1) {
      if (!task.files.mayCopy) return -ENOMEM;
      task.files.users--;
      task.files = task.files.copy();
    }
    return 0;
  },
);

export const setns = syscall("setns", { fd, nstype: uint }, (task, call) =>
  task.files.get(call.fd) === undefined ? -EBADF : -EINVAL,
);

const KCMP = { KCMP_FILE: 0, KCMP_VM: 1, KCMP_FILES: 2, KCMP_FS: 3, KCMP_SIGHAND: 4, KCMP_IO: 5, KCMP_SYSVSEM: 6 };
const DIFFERENT = 3;

export const kcmp = syscall(
  "kcmp",
  { pid1: pid, pid2: pid, type: oneOf(KCMP), idx1: uint, idx2: uint },
  (task, { pid1, pid2, type, idx1, idx2 }) => {
    const a = task.pids.tasks.get(pid1);
    const b = task.pids.tasks.get(pid2);
    if (a === undefined || b === undefined) return -ESRCH;
    if (!mayAccess(task, a) || !mayAccess(task, b)) return -EPERM;
    const same = (x: unknown, y: unknown): number => (x === y ? 0 : DIFFERENT);
    switch (type) {
      case KCMP.KCMP_FILE: {
        const x = a.files.get(idx1);
        const y = b.files.get(idx2);
        return x === undefined || y === undefined ? -EBADF : same(x, y);
      }
      case KCMP.KCMP_VM:
        return same(a.mm, b.mm);
      case KCMP.KCMP_FILES:
        return same(a.files, b.files);
      case KCMP.KCMP_FS:
        return same(a.fs, b.fs);
      case KCMP.KCMP_SIGHAND:
        return same(a.process.actions, b.process.actions);
      // Tasks without an io context or semaphore undo list compare as equal: nobody here has one.
      case KCMP.KCMP_IO:
      case KCMP.KCMP_SYSVSEM:
        return 0;
      default:
        return -EINVAL;
    }
  },
);

/** The value is kept and inherited; none of its behaviours exist here but what /proc shows. */
export const personality = syscall("personality", { persona: uint }, (task, { persona }) => {
  const old = task.personality;
  if (persona !== 0xffffffff) task.personality = persona;
  return old;
});

/** Calls are restarted inside the kernel: there is never one to go on with. */
export const restart_syscall = syscall("restart_syscall", {}, () => -EINTR);
