/**
 * /proc/runts/checkpoint: a guest says where it wants to be saved, by a write that returns when that has been done; and
 * learns by a read whether it goes on in the sandbox that was saved, or elsewhere.
 */
import { EOPNOTSUPP } from "../abi/errno.ts";
import type { Task } from "../task/task.ts";
import { ALL_EVENTS, WaitQueue } from "../wait-queue.ts";
import { persistent } from "./registry.ts";

export class SavePoint {
  /** "running" before the first save, then "resumed", "restored", "branched N". */
  state = "running";
  /** Told when a guest of a container asks to be saved; null: nobody would save it. */
  listener: ((container: string) => void) | null = null;
  /** How many saves there were, failed ones among them. */
  private saves = 0;
  /** Of the last one, when it failed. */
  private errno = 0;
  /** Those who have asked. */
  private readonly asked = new WaitQueue();

  /** A guest's write: 0, or -EOPNOTSUPP when nobody listens; another error when it could not be saved. */
  ask(task: Task): number {
    const begun = task.restart?.data;
    if (begun?.kind === "save") {
      if (begun.saves !== this.saves) return -this.errno;
    } else {
      if (this.listener === null) return -EOPNOTSUPP;
      task.progress().data = { kind: "save", saves: this.saves };
      this.listener(task.container.id);
    }
    return task.block(this.asked);
  }

  /** It has been saved, or could not be; or it has been restored. */
  over(state: string, errno = 0): void {
    if (errno === 0) this.state = state;
    this.errno = errno;
    this.saves++;
    this.asked.wake(ALL_EVENTS);
  }
}
persistent("save-point", SavePoint, { transient: { listener: () => null } });
