/**
 * What is counted per container and real user id: tasks (RLIMIT_NPROC) and queued signals (RLIMIT_SIGPENDING).
 *
 * Invariant: a task is counted under the real uid of its credentials, from clone to exit; see `setCredentials`.
 */
import type { Container } from "../container.ts";
import type { Credentials } from "./credentials.ts";
import type { Task } from "./task.ts";

export interface UserCounts {
  tasks: number;
  signals: number;
}

export function userCounts(container: Container, uid: number): UserCounts {
  let counts = container.users.get(uid);
  if (counts === undefined) {
    counts = { tasks: 0, signals: 0 };
    container.users.set(uid, counts);
  }
  return counts;
}

/** Forgets a user of whom there is nothing left: a guest may go through all ids. */
export function dropUser(container: Container, uid: number): void {
  const counts = container.users.get(uid);
  if (counts !== undefined && counts.tasks <= 0 && counts.signals <= 0) container.users.delete(uid);
}

/** Gives a task other credentials and moves its count with it. */
export function setCredentials(task: Task, cred: Credentials): void {
  if (cred.uid !== task.cred.uid) {
    userCounts(task.container, task.cred.uid).tasks--;
    userCounts(task.container, cred.uid).tasks++;
    dropUser(task.container, task.cred.uid);
  }
  task.cred = cred;
}
