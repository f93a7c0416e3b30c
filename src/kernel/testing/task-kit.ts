/**
 * A kernel with one process on the fake platform, for unit tests of system calls: memory to put arguments in, and a
 * `run` that serves what was woken.
 */
import { HostPoller } from "../../native/poller.ts";
import type { Container } from "../container.ts";
import { Kernel } from "../kernel.ts";
import { KernelLog } from "../log.ts";
import { Mm } from "../mm/mm.ts";
import { PROT_READ, PROT_WRITE } from "../mm/vma.ts";
import { SignalActions } from "../signal/actions.ts";
import { code } from "../state/registry.ts";
import { BLOCKED, type SyscallDeclaration } from "../syscall.ts";
import { ALL_CAPS, makeCredentials } from "../task/credentials.ts";
import { Process } from "../task/process.ts";
import { ProcessGroup, Session } from "../task/session.ts";
import { RUN_GUEST, RUN_READY, Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { FdTable } from "../vfs/fd-table.ts";
import { FsContext } from "../vfs/fs-context.ts";
import { call, FakeContext, FakePlatform, FakeSpace } from "./fake-platform.ts";

/** Guest memory of the kit: readable and writable from here on. */
export const MEMORY = 0x100000;
export const MEMORY_SIZE = 0x200000;
/** An address that is not mapped. */
export const BAD = 0x10;

/** Root and working directory of tasks that look for no files. */
export const NOWHERE = code("testing/nowhere", { dentry: { inode: { hold() {}, letGo() {} } } } as unknown as Path);

export class TaskKit {
  readonly kernel: Kernel;
  readonly container: Container;
  readonly task: Task;
  private nextTid = 1;

  constructor() {
    this.kernel = new Kernel(new FakePlatform(), new HostPoller(), new KernelLog(() => {}, false), []);
    this.container = this.kernel.addContainer("kit");
    const ctx = new FakeContext(new FakeSpace());
    const mm = new Mm(ctx.addressSpace);
    mm.mapFixed(MEMORY, MEMORY_SIZE, PROT_READ | PROT_WRITE, false, null, null, 0);
    this.task = this.makeTask(mm, ctx, null);
    this.kernel.current = this.task;
  }

  private makeTask(mm: Mm, ctx: FakeContext, process: Process | null, container = this.container): Task {
    const tid = container === this.container ? this.nextTid++ : container.pids.allocate();
    let owner = process;
    if (owner === null) {
      owner = new Process(container, tid, new SignalActions());
      owner.group = new ProcessGroup(tid, new Session(container.pids, tid, owner));
      owner.group.members.add(owner);
    }
    const files = process === null ? new FdTable() : process.leader.files;
    const fs = new FsContext(NOWHERE, NOWHERE, 0o022);
    const task = new Task(this.kernel, tid, owner, mm, files, fs, makeCredentials(0, 0, [], ALL_CAPS));
    if (process === null) owner.leader = task;
    owner.tasks.push(task);
    ctx.owner = task;
    task.ctx = ctx;
    container.addTask(task);
    container.pids.processes.set(owner.pid, owner);
    container.processes.add(owner);
    return task;
  }

  /** Another thread of the process. */
  thread(): Task {
    return this.makeTask(this.task.mm, new FakeContext(this.task.mm.space as FakeSpace), this.task.process);
  }
  /** Another process with the same memory and a copy of the descriptors. */
  fork(): Task {
    const task = this.makeTask(this.task.mm, new FakeContext(this.task.mm.space as FakeSpace), null);
    task.files = this.task.files.copy();
    return task;
  }

  /** A process of another container, with the kit's memory. */
  stranger(container: Container): Task {
    return this.makeTask(this.task.mm, new FakeContext(this.task.mm.space as FakeSpace), null, container);
  }

  /** Runs a call of the first task as if it were new. */
  call(declaration: SyscallDeclaration, ...args: number[]): number {
    return this.callAs(this.task, declaration, ...args);
  }
  callAs(task: Task, declaration: SyscallDeclaration, ...args: number[]): number {
    task.endCall();
    const result = call(task, declaration, ...args);
    if (result !== BLOCKED) task.endCall();
    return result;
  }
  /** Runs a blocked task's call again if it was woken; undefined when it was not. */
  again(task: Task, declaration: SyscallDeclaration): number | undefined {
    if (task.runState !== RUN_READY) return undefined;
    task.runState = RUN_GUEST;
    const at = this.kernel.runQueue.indexOf(task);
    if (at >= 0) this.kernel.runQueue.splice(at, 1);
    const result = declaration.invoke(task);
    if (result !== BLOCKED) task.endCall();
    return result;
  }

  put(at: number, text: string | Uint8Array): number {
    const bytes = typeof text === "string" ? Buffer.from(text) : text;
    this.task.mm.writeBytes(at, bytes);
    return bytes.length;
  }
  get(at: number, length: number): string {
    return Buffer.from(this.bytes(at, length)).toString("latin1");
  }
  bytes(at: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.task.mm.readBytes(at, bytes);
    return bytes;
  }
  view(at: number, length: number): DataView {
    return new DataView(this.bytes(at, length).buffer);
  }
  put32(at: number, ...values: number[]): void {
    values.forEach((value, i) => {
      this.task.mm.writeU32(at + 4 * i, value >>> 0);
    });
  }
  put64(at: number, ...values: number[]): void {
    values.forEach((value, i) => {
      this.task.mm.writeU64(at + 8 * i, value);
    });
  }
  get32(at: number): number {
    return this.view(at, 4).getInt32(0, true);
  }
}
