/**
 * epoll_create, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, epoll_pwait2.
 *
 * Manual pages: epoll(7), epoll_ctl(2), epoll_wait(2). Linux: fs/eventpoll.c. Gaps: EPOLLWAKEUP is ignored; the limits on
 * wake-up paths of nested sets are simpler than Linux'.
 */
import { EBADF, EFAULT, EINTR, EINVAL, EPERM, ERESTARTSYS } from "../abi/errno.ts";
import { O_CLOEXEC } from "../abi/fcntl.ts";
import { addr, fd, flags, inStruct, int, oneOf, size } from "../args.ts";
import { EpollFile, EVENT_SIZE } from "../ipc/epoll.ts";
import { readSigSet, useMask } from "../signal/mask.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { deadlineOf, FOREVER, keepDeadline, readTimeout } from "../time/timeout.ts";
import { installFile } from "../vfs/close-file.ts";
import { POLLIN } from "../vfs/file.ts";
import { userRange } from "../vfs/io.ts";
import { callFile } from "../vfs/read-write.ts";

const EPOLL_CLOEXEC = O_CLOEXEC;
const OP = { EPOLL_CTL_ADD: 1, EPOLL_CTL_DEL: 2, EPOLL_CTL_MOD: 3 };
/** Most events in one epoll_wait: INT_MAX / sizeof(struct epoll_event). */
const EVENTS_MAX = 178956970;
/** Events that one epoll_wait reports, at most; more come with the next. */
const BATCH = 65536;

const bytes = new Uint8Array(BATCH * EVENT_SIZE);
const view = new DataView(bytes.buffer);

export const epoll_create = syscall("epoll_create", { size: int }, (task, call) =>
  call.size <= 0 ? -EINVAL : installFile(task, new EpollFile(task.kernel), false),
);

export const epoll_create1 = syscall("epoll_create1", { flags: flags({ EPOLL_CLOEXEC }) }, (task, call) =>
  call.flags & ~EPOLL_CLOEXEC ? -EINVAL : installFile(task, new EpollFile(task.kernel), call.flags !== 0),
);

export const epoll_ctl = syscall(
  "epoll_ctl",
  { epfd: fd, op: oneOf(OP), fd, event: inStruct(EVENT_SIZE) },
  (task, call) => {
    let events = 0;
    let dataLo = 0;
    let dataHi = 0;
    if (call.op !== OP.EPOLL_CTL_DEL) {
      const event = task.mm.readStruct(call.event, EVENT_SIZE);
      if (event === null) return -EFAULT;
      events = event.getInt32(0, true);
      dataLo = event.getUint32(4, true);
      dataHi = event.getUint32(8, true);
    }
    const epoll = task.files.getOpen(call.epfd);
    const target = task.files.getOpen(call.fd);
    if (epoll === undefined || target === undefined) return -EBADF;
    if (!target.pollable) return -EPERM;
    if (target === epoll || !(epoll instanceof EpollFile)) return -EINVAL;
    switch (call.op) {
      case OP.EPOLL_CTL_ADD:
        return epoll.add(task, target, call.fd, events, dataLo, dataHi);
      case OP.EPOLL_CTL_MOD:
        return epoll.modify(task, target, call.fd, events, dataLo, dataHi);
      case OP.EPOLL_CTL_DEL:
        return epoll.remove(target, call.fd);
      default:
        return -EINVAL;
    }
  },
);

export const epoll_wait = syscall(
  "epoll_wait",
  { epfd: fd, events: addr, maxevents: int, timeout: int },
  (task, call) => wait(task, call.epfd, call.events, call.maxevents, call.timeout < 0 ? FOREVER : call.timeout * 1e6),
);

export const epoll_pwait = syscall(
  "epoll_pwait",
  { epfd: fd, events: addr, maxevents: int, timeout: int, sigmask: inStruct(8), sigsetsize: size },
  (task, call) => {
    const result = swapMask(task, call.sigmask, call.sigsetsize);
    if (result < 0) return result;
    return wait(task, call.epfd, call.events, call.maxevents, call.timeout < 0 ? FOREVER : call.timeout * 1e6);
  },
);

export const epoll_pwait2 = syscall(
  "epoll_pwait2",
  { epfd: fd, events: addr, maxevents: int, timeout: inStruct(16), sigmask: inStruct(8), sigsetsize: size },
  (task, call) => {
    const timeoutNs = readTimeout(task, call.timeout);
    if (timeoutNs < 0) return timeoutNs;
    const result = swapMask(task, call.sigmask, call.sigsetsize);
    if (result < 0) return result;
    return wait(task, call.epfd, call.events, call.maxevents, timeoutNs);
  },
);

function swapMask(task: Task, at: number, length: number): number {
  if (at === 0 || task.restart !== null) return 0;
  const mask = readSigSet(task, at, length);
  if (typeof mask === "number") return mask;
  useMask(task, mask);
  return 0;
}

function wait(task: Task, epfd: number, at: number, max: number, timeoutNs: number): number {
  if (max <= 0 || max > EVENTS_MAX) return -EINVAL;
  if (!userRange(at, max * EVENT_SIZE)) return -EFAULT;
  const epoll = callFile(task, epfd);
  if (epoll === undefined) return -EBADF;
  if (!(epoll instanceof EpollFile)) return -EINVAL;
  if (epoll.hasListed) {
    const wanted = Math.min(max, BATCH);
    const room = Math.floor(task.mm.accessible(at, wanted * EVENT_SIZE, true) / EVENT_SIZE);
    if (room === 0) return epoll.poll(task) !== 0 ? -EFAULT : waitMore(task, epoll, timeoutNs);
    const n = epoll.harvest(task, view, room);
    if (n > 0) return task.mm.writeBytes(at, bytes, n * EVENT_SIZE) < 0 ? -EFAULT : n;
    // Many that were ready and are not any more: the rest of them after others had their turn.
    if (epoll.hasListed) {
      task.progress().file ??= epoll.retain();
      return task.giveWay();
    }
  }
  return waitMore(task, epoll, timeoutNs);
}

function waitMore(task: Task, epoll: EpollFile, timeoutNs: number): number {
  if (timeoutNs === 0) return 0;
  const deadline = deadlineOf(task, timeoutNs);
  if (deadline !== FOREVER && task.kernel.now() >= deadline) return 0;
  keepDeadline(task, deadline);
  task.progress().file ??= epoll.retain();
  task.waitOn(epoll.waiters, POLLIN, true);
  const result = task.sleep(deadline);
  // Never started again, not even after a signal without a handler (signal(7)).
  return result === -ERESTARTSYS ? -EINTR : result;
}
