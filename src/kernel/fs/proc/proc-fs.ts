/**
 * proc: processes and the kernel's own figures as files.
 *
 * Source: proc(5). Here is the top of the tree: /proc/PID for whoever lives, `self` and `thread-self`, and the fixed files
 * that system.ts and sysctl.ts add.
 */
import { ENOENT } from "../../abi/errno.ts";
import { PROC_SUPER_MAGIC, S_IFDIR } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { PidSpace } from "../../task/pid-space.ts";
import type { Process } from "../../task/process.ts";
import type { Task } from "../../task/task.ts";
import type { Inode } from "../../vfs/inode.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import { PseudoLink } from "../pseudo/link.ts";
import { byPlace, PseudoFs } from "../pseudo/node.ts";
import { addNetFiles } from "./net.ts";
import { ProcessDirectory } from "./process-directory.ts";
import { addRuntsFiles } from "./runts.ts";
import { addSysctls } from "./sysctl.ts";
import { addSystemFiles } from "./system.ts";
import { Target } from "./target.ts";

export class ProcFs extends PseudoFs {
  override root!: ProcRoot;
  override readonly namesAppear = false;
  /** /proc/PID/net: there is one network. */
  net!: PseudoDirectory;
  private readonly shown = new Set<Process>();

  constructor(
    kernel: Kernel,
    /** Whose processes are shown, by the numbers that they have there: that of whoever mounted it. */
    readonly pids: PidSpace,
  ) {
    super(kernel, "proc", PROC_SUPER_MAGIC);
    this.grow();
  }

  protected override grow(): void {
    const { pids } = this;
    this.root = new ProcRoot(this);
    this.net = new PseudoDirectory(this);
    this.root.add(
      "self",
      new PseudoLink(this, (task) => (pids.pidOf(task.process) ? String(task.process.pid) : -ENOENT)),
    );
    this.root.add(
      "thread-self",
      new PseudoLink(this, (task) => (pids.pidOf(task.process) ? `${task.process.pid}/task/${task.tid}` : -ENOENT)),
    );
    this.root.add("mounts", new PseudoLink(this, "self/mounts"));
    this.root.add("net", new PseudoLink(this, "self/net"));
    addNetFiles(this, this.net);
    addSystemFiles(this, this.root);
    addRuntsFiles(this, this.root.directory("runts"));
    addSysctls(this, this.root.add("sys", new PseudoDirectory(this)));
  }

  override get trees(): readonly PseudoDirectory[] {
    return [this.root, this.net];
  }

  /** `process` has a directory here, whose nodes hold all that it was, for as long as it is not reaped. */
  show(process: Process): void {
    this.shown.add(process);
    process.shownBy.add(this);
  }
  processGone(process: Process): void {
    this.shown.delete(process);
    const known = this.rootDentry.children?.get(String(process.pid));
    if (known === undefined) return;
    known.deleted = true;
    this.rootDentry.detach(known);
  }
  override release(): void {
    for (const process of this.shown) process.shownBy.delete(this);
    this.shown.clear();
  }
}

class ProcRoot extends PseudoDirectory {
  constructor(override readonly fs: ProcFs) {
    super(fs);
  }
  protected override lookupComputed(name: string): Inode | number | null {
    if (!/^[1-9]\d*$/.test(name)) return null;
    const { pids } = this.fs;
    // The id of any thread leads to its process, though only processes are listed.
    const process = pids.processes.get(Number(name)) ?? pids.tasks.get(Number(name))?.process;
    if (process === undefined) return -ENOENT;
    this.fs.show(process);
    return new ProcessDirectory(new Target(this.fs, process, null));
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    const pids = [...this.fs.pids.processes.keys()].filter((pid) => pid >= from).sort((a, b) => a - b);
    for (const pid of pids) yield { key: pid, name: String(pid), ino: (pid + 1) * 2 ** 24, type: S_IFDIR };
  }
  override links(): number {
    return super.links() + this.fs.pids.processes.size;
  }
}

persistent("proc-fs", ProcFs, { transient: { net: (fs) => fs.growAgain().net } });
remade("proc-root", ProcRoot, byPlace());
