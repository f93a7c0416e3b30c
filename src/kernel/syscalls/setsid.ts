/** setsid, getsid, setpgid, getpgid, getpgrp. Manual pages: setsid(2), getsid(2), setpgid(2). */
import { EACCES, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { pid } from "../args.ts";
import { syscall } from "../syscall.ts";
import { joinGroup, newGroup, newSession } from "../task/jobs.ts";
import type { Process } from "../task/process.ts";
import type { Task } from "../task/task.ts";

/** The process of a pid argument, in which 0 means the caller. */
function processOf(task: Task, id: number): Process | undefined {
  return id === 0 ? task.process : task.pids.tasks.get(id)?.process;
}

export const setsid = syscall("setsid", {}, (task) => {
  const { process, pids } = task;
  if (process.group.session.leader === process || pids.groups.has(process.pid)) return -EPERM;
  return newSession(process).id;
});

export const getsid = syscall("getsid", { pid }, (task, call) => processOf(task, call.pid)?.group.session.id ?? -ESRCH);

export const getpgid = syscall("getpgid", { pid }, (task, call) => processOf(task, call.pid)?.group.id ?? -ESRCH);

export const getpgrp = syscall("getpgrp", {}, (task) => task.process.group.id);

export const setpgid = syscall("setpgid", { pid, pgid: pid }, (task, call) => {
  const { pids } = task;
  const target = call.pid === 0 ? task.process : pids.processes.get(call.pid);
  const id = call.pgid === 0 ? (call.pid === 0 ? task.process.pid : call.pid) : call.pgid;
  if (id < 0) return -EINVAL;
  if (target === undefined) return pids.tasks.has(call.pid) ? -EINVAL : -ESRCH;
  const { session } = task.process.group;
  if (target.parent === task.process) {
    if (target.group.session !== session) return -EPERM;
    if (target.execed) return -EACCES;
  } else if (target !== task.process) return -ESRCH;
  if (target.group.session.leader === target) return -EPERM;
  let group = pids.groups.get(id);
  if (id !== target.pid) {
    if (group === undefined || group.session !== session) return -EPERM;
  } else group ??= newGroup(id, session);
  joinGroup(target, group);
  return 0;
});
