/** What a task shares with CLONE_FS: root, working directory, umask. */
import type { Path } from "./dentry.ts";

export class FsContext {
  users = 1;
  constructor(
    public root: Path,
    public cwd: Path,
    public umask: number,
  ) {}
  copy(): FsContext {
    return new FsContext(this.root, this.cwd, this.umask);
  }
}
