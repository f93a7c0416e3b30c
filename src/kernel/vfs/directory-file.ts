/** An open directory: what is the same in every file system. Source: read(2), write(2), getdents(2), fsync(2). */
import { EISDIR } from "../abi/errno.ts";
import { DT_DIR } from "../abi/stat.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { type EmitEntry, File } from "./file.ts";

export abstract class DirectoryFile extends File {
  override readonly seekable = true;
  abstract override readdir(task: Task, emit: EmitEntry): number;
  override read(): number {
    return -EISDIR;
  }
  override write(): number {
    return -EISDIR;
  }
  override size(): number {
    return 0;
  }
  override fsync(): number {
    return 0;
  }
  /** Emits "." and ".." at positions 0 and 1, as far as they have not been read; false when there is no more room. */
  protected emitDots(emit: EmitEntry, own: number, above: number): boolean {
    if (this.pos === 0) {
      if (!emit(".", own, DT_DIR, 1)) return false;
      this.pos = 1;
    }
    if (this.pos === 1) {
      if (!emit("..", above, DT_DIR, 2)) return false;
      this.pos = 2;
    }
    return true;
  }
}

persistent("directory-file", DirectoryFile);
