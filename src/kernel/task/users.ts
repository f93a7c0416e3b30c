/**
 * What is counted per real user id: tasks (RLIMIT_NPROC) and queued signals (RLIMIT_SIGPENDING).
 *
 * Invariant: a task is counted under the real uid of its credentials, from clone to exit; see `setCredentials`.
 */
import type { Kernel } from "../kernel.ts";
import type { Credentials } from "./credentials.ts";
import type { Task } from "./task.ts";

export interface UserCounts {
  tasks: number;
  signals: number;
}

export function userCounts(kernel: Kernel, uid: number): UserCounts {
  let counts = kernel.users.get(uid);
  if (counts === undefined) {
    counts = { tasks: 0, signals: 0 };
    kernel.users.set(uid, counts);
  }
  return counts;
}

/** Gives a task other credentials and moves its count with it. */
export function setCredentials(task: Task, cred: Credentials): void {
  if (cred.uid !== task.cred.uid) {
    userCounts(task.kernel, task.cred.uid).tasks--;
    userCounts(task.kernel, cred.uid).tasks++;
  }
  task.cred = cred;
}
