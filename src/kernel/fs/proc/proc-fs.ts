/**
 * proc: processes and the kernel's own figures as files.
 *
 * Source: proc(5). Here is the top of the tree: /proc/PID for whoever lives, `self` and `thread-self`, and the fixed files
 * that system.ts and sysctl.ts add.
 */
import { ENOENT } from "../../abi/errno.ts";
import { PROC_SUPER_MAGIC, S_IFDIR } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import type { Task } from "../../task/task.ts";
import type { Inode } from "../../vfs/inode.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import { PseudoLink } from "../pseudo/link.ts";
import { PseudoFs } from "../pseudo/node.ts";
import { addNetFiles } from "./net.ts";
import { ProcessDirectory } from "./process-directory.ts";
import { addSysctls } from "./sysctl.ts";
import { addSystemFiles } from "./system.ts";
import { Target } from "./target.ts";

export class ProcFs extends PseudoFs {
  override readonly root: ProcRoot;
  override readonly namesAppear = false;
  /** /proc/PID/net: there is one network. */
  readonly net: PseudoDirectory;

  constructor(kernel: Kernel) {
    super(kernel, "proc", PROC_SUPER_MAGIC);
    this.root = new ProcRoot(this);
    this.net = new PseudoDirectory(this);
    this.root.add("self", new PseudoLink(this, (task) => String(task.process.pid)));
    this.root.add("thread-self", new PseudoLink(this, (task) => `${task.process.pid}/task/${task.tid}`));
    this.root.add("mounts", new PseudoLink(this, "self/mounts"));
    this.root.add("net", new PseudoLink(this, "self/net"));
    addNetFiles(this, this.net);
    addSystemFiles(this, this.root);
    addSysctls(this, this.root.add("sys", new PseudoDirectory(this)));
  }
}

class ProcRoot extends PseudoDirectory {
  protected override lookupComputed(name: string): Inode | number | null {
    if (!/^[1-9]\d*$/.test(name)) return null;
    const { kernel } = this.fs;
    // The id of any thread leads to its process, though only processes are listed.
    const process = kernel.processes.get(Number(name)) ?? kernel.tasks.get(Number(name))?.process;
    return process === undefined ? -ENOENT : new ProcessDirectory(new Target(this.fs, process, null));
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    const pids = [...this.fs.kernel.processes.keys()].filter((pid) => pid >= from).sort((a, b) => a - b);
    for (const pid of pids) yield { key: pid, name: String(pid), ino: (pid + 1) * 2 ** 24, type: S_IFDIR };
  }
  override links(): number {
    return super.links() + this.fs.kernel.processes.size;
  }
}
