/**
 * socket, socketpair.
 *
 * Manual pages: socket(2), socketpair(2). Linux: net/socket.c. Families: net/network.ts.
 */
import { EFAULT, EINVAL, EMFILE } from "../abi/errno.ts";
import { int } from "../args.ts";
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK } from "../net/abi.ts";
import { descriptorPair, domainArg, socketTypeArg } from "../net/args.ts";
import { descriptorLimit } from "../net/calls.ts";
import { syscall } from "../syscall.ts";

export const socket = syscall("socket", { domain: domainArg, type: socketTypeArg, protocol: int }, (task, call) => {
  const flags = call.type & ~SOCK_TYPE_MASK;
  if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) return -EINVAL;
  const made = task.kernel.net.create(
    task,
    call.domain,
    call.type & SOCK_TYPE_MASK,
    call.protocol,
    flags & SOCK_NONBLOCK,
  );
  if (typeof made === "number") return made;
  const fd = task.files.install(made, (flags & SOCK_CLOEXEC) !== 0, descriptorLimit(task));
  if (fd < 0) made.release();
  return fd;
});

export const socketpair = syscall(
  "socketpair",
  { domain: domainArg, type: socketTypeArg, protocol: int, sv: descriptorPair },
  (task, call) => {
    const flags = call.type & ~SOCK_TYPE_MASK;
    if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) return -EINVAL;
    const limit = descriptorLimit(task);
    if (task.files.countFree(limit, 2) < 2) return -EMFILE;
    if (task.mm.accessible(call.sv, 8, true) < 8) return -EFAULT;
    const pair = task.kernel.net.createPair(
      task,
      call.domain,
      call.type & SOCK_TYPE_MASK,
      call.protocol,
      flags & SOCK_NONBLOCK,
    );
    if (typeof pair === "number") return pair;
    const closeOnExec = (flags & SOCK_CLOEXEC) !== 0;
    const first = task.files.install(pair[0], closeOnExec, limit);
    const second = task.files.install(pair[1], closeOnExec, limit);
    task.mm.writeBytes(call.sv, new Uint8Array(Int32Array.of(first, second).buffer));
    return 0;
  },
);
