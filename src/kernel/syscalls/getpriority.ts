/** getpriority, setpriority. Manual page: getpriority(2). Nice values are kept, but the host schedules all alike. */
import { EACCES, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { int, oneOf } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_NICE, capable } from "../task/credentials.ts";
import { RLIMIT_NICE } from "../task/rlimits.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";

const PRIO_PROCESS = 0;
const PRIO_PGRP = 1;
const PRIO_USER = 2;
const which = oneOf({ PRIO_PROCESS, PRIO_PGRP, PRIO_USER });

/** The threads that which/who name, or -EINVAL. PRIO_PROCESS names one thread. */
function targets(task: Task, what: number, who: number): Task[] | number {
  const { pids } = task;
  switch (what) {
    case PRIO_PROCESS: {
      const target = who === 0 ? task : pids.tasks.get(who);
      return target === undefined ? [] : [target];
    }
    case PRIO_PGRP: {
      const group = who === 0 ? task.process.group : pids.groups.get(who);
      return group === undefined ? [] : [...group.members].flatMap((process) => process.tasks);
    }
    case PRIO_USER: {
      const uid = who === 0 ? task.cred.uid : who >>> 0;
      return [...pids.tasks.values()].filter((other) => other.cred.uid === uid && other.runState < RUN_ZOMBIE);
    }
    default:
      return -EINVAL;
  }
}

export const getpriority = syscall("getpriority", { which, who: int }, (task, call) => {
  const found = targets(task, call.which, call.who);
  if (typeof found === "number") return found;
  if (found.length === 0) return -ESRCH;
  // 1 to 40, so that a result is never mistaken for an error.
  return 20 - Math.min(...found.map((target) => target.sched.nice));
});

export const setpriority = syscall("setpriority", { which, who: int, prio: int }, (task, call) => {
  const found = targets(task, call.which, call.who);
  if (typeof found === "number") return found;
  const nice = Math.max(-20, Math.min(19, call.prio));
  let result = -ESRCH;
  for (const target of found) {
    const done = setNice(task, target, nice);
    if (done < 0) result = done;
    else if (result === -ESRCH) result = 0;
  }
  return result;
});

function setNice(task: Task, target: Task, nice: number): number {
  const able = capable(task.cred, CAP_SYS_NICE);
  const { euid } = task.cred;
  if (target.cred.uid !== euid && target.cred.euid !== euid && !able) return -EPERM;
  if (nice < target.sched.nice && !able && 20 - nice > target.process.rlimits[RLIMIT_NICE]!.soft) return -EACCES;
  target.sched.nice = nice;
  return 0;
}
