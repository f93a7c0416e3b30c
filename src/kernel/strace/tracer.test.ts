import { describe, expect, test } from "bun:test";
import { ENOENT, ERESTARTSYS } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import type { SyscallDeclaration } from "../syscall.ts";
import { open_by_handle_at } from "../syscalls/name_to_handle_at.ts";
import { openat } from "../syscalls/open.ts";
import { read, readv } from "../syscalls/read.ts";
import { wait4 } from "../syscalls/wait.ts";
import type { Task } from "../task/task.ts";
import { call } from "../testing/fake-platform.ts";
import { MEMORY, TaskKit } from "../testing/task-kit.ts";
import { Tracer } from "./tracer.ts";

const DECLARATIONS = [openat, open_by_handle_at, read, readv, wait4];

/** A tracer with the text that it printed. */
function traced(names: string[] = []) {
  const kit = new TaskKit();
  const known = new Map(DECLARATIONS.map((declaration) => [declaration.nr, declaration]));
  Object.assign(kit.kernel, { declaration: (nr: number) => known.get(nr) } satisfies Partial<Kernel>);
  const printed: string[] = [];
  const tracer = new Tracer(kit.kernel, (text) => printed.push(text), names);
  const begin = (task: Task, declaration: SyscallDeclaration, ...args: number[]) => {
    // Only the registers matter: the handler runs on an empty kernel and may fail.
    call(task, { ...declaration, invoke: () => 0 }, ...args);
    tracer.onCall(task, declaration.nr);
  };
  return { ...kit, kit, tracer, begin, text: () => printed.join("") };
}

describe("--strace", () => {
  test("prints arguments, flags and errors by name", () => {
    const { kit, tracer, begin, text } = traced();
    kit.put(MEMORY, "/no\n\0");
    begin(kit.task, openat, -100, MEMORY, 0o2000000, 0);
    tracer.onResult(kit.task, openat.nr, -ENOENT);
    expect(text()).toBe(
      '[pid     1] openat(AT_FDCWD, "/no\\n", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)\n',
    );
  });

  test("prints flags that have no names, of a call whose name begins as open's", () => {
    const { kit, tracer, begin, text } = traced();
    begin(kit.task, open_by_handle_at, -100, 0, 8);
    tracer.onResult(kit.task, open_by_handle_at.nr, -ENOENT);
    expect(text()).toContain("open_by_handle_at(AT_FDCWD, NULL, 8)");
  });

  test("prints what the call filled in, as much as it filled", () => {
    const { kit, tracer, begin, text } = traced();
    kit.put(MEMORY, "abcdef");
    begin(kit.task, read, 3, MEMORY, 100);
    tracer.onResult(kit.task, read.nr, 4);
    expect(text()).toBe('[pid     1] read(3, "abcd", 100)                    = 4\n');
  });

  test("shows a call that blocked as one line, if nothing came between", () => {
    const { kit, tracer, begin, text } = traced();
    begin(kit.task, read, 3, MEMORY, 1);
    tracer.onBlocked(kit.task);
    expect(text()).toBe("[pid     1] read(3, ");
    tracer.onResult(kit.task, read.nr, -ERESTARTSYS);
    expect(text()).toBe(
      `[pid     1] read(3, 0x${MEMORY.toString(16)}, 1)                    = ? ERESTARTSYS (To be restarted if SA_RESTART is set)\n`,
    );
  });

  test("shows it as unfinished and resumed, if something did", () => {
    const { kit, tracer, begin, text } = traced();
    begin(kit.task, wait4, -1, MEMORY, 0, 0);
    tracer.onBlocked(kit.task);
    tracer.onSignal(kit.task, { signo: 17, errno: 0, code: 1, pid: 7, uid: 0, status: 3 });
    kit.put32(MEMORY, 0x300);
    tracer.onResult(kit.task, wait4.nr, 7);
    expect(text().split("\n")).toEqual([
      "[pid     1] wait4(-1,  <unfinished ...>",
      "[pid     1] --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=3, si_utime=0, si_stime=0} ---",
      "[pid     1] <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 7",
      "",
    ]);
  });

  test("prints only the calls that were asked for", () => {
    const { kit, tracer, begin, text } = traced(["openat"]);
    begin(kit.task, read, 3, MEMORY, 1);
    tracer.onBlocked(kit.task);
    tracer.onResult(kit.task, read.nr, 0);
    tracer.onExit(kit.task, 0x200);
    expect(text()).toBe("[pid     1] +++ exited with 2 +++\n");
  });
});
