/** What eventfd, timerfd, signalfd and epoll files have in common: an anonymous inode without a position. */

import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { File } from "../vfs/file.ts";

/** Linux has one inode for all of them. */
const ANON_INO = 13;

export abstract class AnonFile extends File {
  /** As in "anon_inode:[eventfd]". */
  abstract readonly kind: string;

  constructor(flags: number) {
    super(flags, null, null);
  }
  override get serial(): number {
    return ANON_INO;
  }
  override seek(_task: Task, _offset: number, _whence: number): number {
    return 0;
  }
  override description(): string {
    return `anon_inode:${this.kind}`;
  }
}

persistent("anonymous-file", AnonFile);
