/**
 * Starting programs: from a path and argument strings to a new memory image and a register file.
 *
 * Source: execve(2), elf(5), fs/binfmt_elf.c and fs/binfmt_script.c for the order of checks. All checks that can fail
 * come before the old image is dropped; a failure after that kills the process, as on Linux.
 * Gap: no binfmt_misc.
 */

import { getrandom } from "../../native/host.ts";
import { type Context, REG } from "../../platform/platform.ts";
import { decodeName, encodeName } from "../abi/bytes.ts";
import { EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, ENOMEM, ETXTBSY } from "../abi/errno.ts";
import { AT_FDCWD, MAY_EXEC } from "../abi/fcntl.ts";
import { S_IFMT, S_IFREG } from "../abi/stat.ts";
import { Mm, pageUp } from "../mm/mm.ts";
import { PROT_EXEC, PROT_READ, PROT_WRITE } from "../mm/vma.ts";
import { NO_RETURN } from "../syscall.ts";
import { finishExec, prepareExec } from "../task/exec.ts";
import { execCredentials } from "../task/exec-credentials.ts";
import { exitGroup } from "../task/exit.ts";
import { RLIMIT_STACK } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { keepCpuTime } from "../time/cpu-time.ts";
import { MNT_NOEXEC } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import { KernelIo } from "../vfs/io.ts";
import { openAt, permission } from "../vfs/namei.ts";
import { O_EXEC } from "../vfs/open.ts";
import { type Elf, isElf, loadSpan, PT_GNU_STACK, PT_INTERP, PT_LOAD, parseElf, type Segment } from "./elf.ts";
import { buildStack, type Told } from "./stack.ts";

/** Interpreters of interpreters of scripts. */
const MAX_SCRIPT_DEPTH = 5;
/** Where PIE programs go, before randomization (ELF_ET_DYN_BASE). */
const PIE_BASE = 0x555555554000;
const DEFAULT_STACK = 8 << 20;
/** Stack bytes that are mapped at most; a larger RLIMIT_STACK only moves mmap's start. */
const MAX_STACK = 64 << 20;

/** What is to be started. */
export interface Program {
  /** Open executable; exec takes over the reference. */
  file: File;
  /** Name for AT_EXECFN and comm. */
  name: string;
  argv: Uint8Array[];
  envp: Uint8Array[];
  /** `name` means a descriptor that execve closes: of no use to an interpreter. */
  inaccessible?: boolean;
}

interface Image {
  file: File;
  elf: Elf;
}

/** Opens a file for execution: a regular file with execute permission on an exec mount. */
export function openExecutable(task: Task, dirfd: number, path: string, flags = 0): File | number {
  const file = openAt(task, dirfd, path, flags | O_EXEC, 0);
  if (typeof file === "number") return file;
  const refused = checkExecutable(task, file);
  if (refused < 0) {
    file.release();
    return refused;
  }
  return file;
}

/** May this open file be executed? 0 or -EACCES. */
export function checkExecutable(task: Task, file: File): number {
  if (file.inode === null || file.path === null) return -EACCES;
  const stat = file.inode.getattr();
  if (typeof stat === "number") return stat;
  if ((stat.mode & S_IFMT) !== S_IFREG) return -EACCES;
  if (file.path.mount.flags & MNT_NOEXEC) return -EACCES;
  if (file.inode.writers > 0) return -ETXTBSY;
  return permission(task, file.inode, MAY_EXEC);
}

function readFile(task: Task, file: File, dst: Uint8Array, offset: number): number {
  let done = 0;
  while (done < dst.length) {
    const n = file.read(task, new KernelIo(dst, done), offset + done);
    if (n < 0) return n;
    if (n === 0) break;
    done += n;
  }
  return done;
}

/**
 * Replaces the task's program. NO_RETURN on success, BLOCKED while other threads end, -errno when the old program goes
 * on. Takes over the reference to program.file.
 */
export function exec(task: Task, program: Program): number {
  let { file, argv } = program;
  let image: Image | null = null;
  const head = new Uint8Array(256);
  let script = program.name;
  for (let depth = 0; image === null; depth++) {
    const got = readFile(task, file, head, 0);
    if (got < 0) return drop(file, got);
    if (head[0] === 0x23 && head[1] === 0x21) {
      if (depth >= MAX_SCRIPT_DEPTH) return drop(file, -ELOOP);
      if (program.inaccessible && depth === 0) return drop(file, -ENOENT);
      const line = scriptLine(head.subarray(0, got));
      if (line === null) return drop(file, -ENOEXEC);
      argv = [line.interpreter, ...(line.argument ? [line.argument] : []), encodeName(script), ...argv.slice(1)];
      script = decodeName(line.interpreter);
      const interpreter = openExecutable(task, AT_FDCWD, script);
      file.release();
      if (typeof interpreter === "number") return interpreter;
      file = interpreter;
      continue;
    }
    if (!isElf(head)) return drop(file, -ENOEXEC);
    const source = file;
    const elf = parseElf(head.subarray(0, got), (dst, offset) => readFile(task, source, dst, offset));
    if (typeof elf === "number") return drop(file, elf);
    image = { file, elf };
  }

  // The dynamic linker.
  let linker: Image | null = null;
  const interp = image.elf.segments.find((s) => s.type === PT_INTERP);
  if (interp) {
    if (interp.filesz < 2 || interp.filesz > 4096) return drop(file, -ENOEXEC);
    const name = new Uint8Array(interp.filesz);
    if (readFile(task, file, name, interp.offset) < name.length || name[name.length - 1] !== 0)
      return drop(file, -ENOEXEC);
    const opened = openExecutable(task, AT_FDCWD, decodeName(name, 0, name.indexOf(0)));
    if (typeof opened === "number") return drop(file, opened);
    const linkerHead = new Uint8Array(64);
    const read = readFile(task, opened, linkerHead, 0);
    const elf =
      read < 64 || !isElf(linkerHead) ? -ELIBBAD : parseElf(linkerHead, (dst, at) => readFile(task, opened, dst, at));
    if (typeof elf === "number") {
      opened.release();
      return drop(file, -ELIBBAD);
    }
    linker = { file: opened, elf };
  }

  let ready = task.files.users > 1 && !task.files.mayCopy ? -ENOMEM : image.file.prepareMapping(task);
  if (ready === 0 && linker !== null) ready = linker.file.prepareMapping(task);
  // No guest code has run yet in the address space of a task that is only being made.
  const fresh = task.embryo ? task.ctx! : ready === 0 ? task.container.createAddressSpace() : ready;
  if (typeof fresh === "number") ready = fresh;
  if (ready === 0) ready = prepareExec(task);
  if (ready !== 0 || typeof fresh === "number") {
    if (typeof fresh !== "number" && fresh !== task.ctx) fresh.addressSpace.destroy();
    linker?.file.release();
    return drop(file, ready);
  }

  // From here on there is no way back.
  const rights = execCredentials(task, file, linker?.file ?? null);
  task.cred = rights.cred;
  const process = task.process;
  process.executable = file.path;
  if (fresh !== task.ctx) moveTo(task, fresh);
  task.mm.setProgram(file.inode);
  // Whoever is served while the image is mapped sees the process as it now is: what it may not be looked into for included.
  const slash = program.name.lastIndexOf("/");
  finishExec(task, program.name.slice(slash + 1), rights);
  const failed = load(task, fresh, image, linker, {
    argv,
    envp: program.envp,
    name: program.name,
    secure: rights.secure ? 1 : 0,
  });
  linker?.file.release();
  file.release();
  if (failed < 0) {
    task.kernel.log.warn(
      `pid ${process.pid}: execve of ${program.name} failed past the point of no return (${failed})`,
    );
    exitGroup(task, 11);
    return NO_RETURN;
  }
  for (const observer of task.kernel.execObservers) observer(task, argv);
  return NO_RETURN;
}

function drop(file: File, result: number): number {
  file.release();
  return result;
}

/** The `#!` line: interpreter and at most one argument. */
function scriptLine(head: Uint8Array): { interpreter: Uint8Array; argument: Uint8Array | null } | null {
  // The buffer's last byte is never looked at, as in Linux.
  const limit = Math.min(head.length, 255);
  let end = head.subarray(0, limit).indexOf(10);
  if (end < 0) end = limit;
  const isSpace = (b: number | undefined) => b === 32 || b === 9;
  let at = 2;
  while (at < end && isSpace(head[at])) at++;
  const start = at;
  while (at < end && !isSpace(head[at]) && head[at] !== 0) at++;
  if (at === start) return null;
  // A name cut off by the buffer's end cannot be trusted.
  if (end === 255 && at === end) return null;
  const interpreter = head.slice(start, at);
  while (at < end && isSpace(head[at])) at++;
  let stop = end;
  while (stop > at && isSpace(head[stop - 1])) stop--;
  return { interpreter, argument: stop > at ? head.slice(at, stop) : null };
}

/**
 * The task goes over to an empty address space, in a host process that no guest code has run in: the old program may have
 * taken its stub over, and must not reach into what the new one may do.
 */
function moveTo(task: Task, fresh: Context): void {
  const old = task.mm;
  const ctx = task.ctx!;
  keepCpuTime(task);
  // The last one takes the whole process down, with every thread that we do not know of.
  if (old.users > 1) ctx.destroy();
  ctx.owner = null;
  old.release();
  fresh.owner = task;
  task.ctx = fresh;
  task.mm = new Mm(fresh.addressSpace);
  fresh.addressSpace.executor = fresh;
}

const ADDR_NO_RANDOMIZE = 0x40000;
/** A random number of pages below `count`, as bytes. */
function randomPages(word: number | undefined, count: number): number {
  return (word! % count) * 4096;
}

/** Maps the image, builds the stack, sets the registers. 0 or -errno. */
function load(task: Task, ctx: Context, image: Image, linker: Image | null, told: Told): number {
  const mm = task.mm;
  // Its own: others may be served, and may execute programs, while the image is mapped.
  const random = new Uint32Array(8);
  getrandom(random, 32);
  // The layout's words only: AT_RANDOM stays random.
  if (task.personality & ADDR_NO_RANDOMIZE) random.fill(0, 0, 4);
  // Layout: stack at the top, then room for its growth, then mmap going down; the program low, its heap after it.
  const limit = task.process.rlimits[RLIMIT_STACK]!.soft;
  const stackSize = pageUp(
    Math.min(limit === Number.POSITIVE_INFINITY ? DEFAULT_STACK : Math.max(limit, 131072), MAX_STACK),
  );
  const stackTop = mm.space.maxAddress - 4096 - randomPages(random[0], 1 << 20);
  mm.mmapTop = stackTop - Math.max(stackSize, 128 << 20) - randomPages(random[1], 1 << 20);

  const bias = image.elf.relocatable ? placeProgram(mm, image.elf, random) : 0;
  if (bias < 0 && bias > -4096) return bias;
  const mapped = mapImage(mm, image, bias);
  if (mapped < 0) return mapped;
  let linkerBias = 0;
  let entry = bias + image.elf.entry;
  if (linker !== null) {
    const span = loadSpan(linker.elf);
    const at = mm.findPlace(0, span.end - span.start);
    if (at < 0) return at;
    linkerBias = at - span.start;
    const result = mapImage(mm, linker, linkerBias);
    if (result < 0) return result;
    entry = linkerBias + linker.elf.entry;
  }
  const end = Math.max(...image.elf.segments.filter((s) => s.type === PT_LOAD).map((s) => s.vaddr + s.memsz));
  mm.brkStart = pageUp(bias + end) + randomPages(random[2], 1 << 13);
  mm.brk = mm.brkStart;

  const stackFlags = image.elf.segments.find((s) => s.type === PT_GNU_STACK)?.flags ?? 7;
  const prot = PROT_READ | PROT_WRITE | (stackFlags & 1 ? PROT_EXEC : 0);
  const stackMapped = mm.mapFixed(stackTop - stackSize, stackSize, prot, false, null, null, 0, "[stack]");
  if (stackMapped < 0) return stackMapped;
  const sp = buildStack(task, told, {
    top: stackTop,
    size: stackSize,
    elf: image.elf,
    bias,
    linkerBias,
    random,
  });
  if (sp < 0) return sp;

  mm.showVdso();
  ctx.resetFpState();
  ctx.setFsBase(0);
  ctx.setGsBase(0);
  ctx.regs.fill(0);
  const set = (reg: number, value: number): void => {
    ctx.regs[reg * 2] = value >>> 0;
    ctx.regs[reg * 2 + 1] = Math.floor(value / 4294967296) >>> 0;
  };
  set(REG.rip, entry);
  set(REG.rsp, sp);
  set(REG.eflags, 0x200);
  set(REG.cs, 0x33);
  set(REG.ss, 0x2b);
  return 0;
}

/** Load bias of a position-independent program. */
function placeProgram(mm: Mm, elf: Elf, random: Uint32Array): number {
  const span = loadSpan(elf);
  const length = span.end - span.start;
  let at = PIE_BASE + randomPages(random[3], 1 << 20);
  at -= at % span.align;
  if (!mm.vmas.free(at, at + length)) at = mm.findPlace(0, length);
  return at < 0 ? at : at - span.start;
}

function protOf(segment: Segment): number {
  return (
    (segment.flags & 4 ? PROT_READ : 0) | (segment.flags & 2 ? PROT_WRITE : 0) | (segment.flags & 1 ? PROT_EXEC : 0)
  );
}

/** Maps the loadable segments of an image at its bias. */
function mapImage(mm: Mm, image: Image, bias: number): number {
  const memory = image.file.mapMemory(false, false);
  if (typeof memory === "number") return memory;
  for (const segment of image.elf.segments) {
    if (segment.type !== PT_LOAD || segment.memsz === 0) continue;
    const skew = segment.vaddr % 4096;
    const start = bias + segment.vaddr - skew;
    const fileEnd = bias + segment.vaddr + segment.filesz;
    const memEnd = pageUp(bias + segment.vaddr + segment.memsz);
    if (!mm.validRange(start, memEnd - start) || start < mm.space.minAddress) return -ENOMEM;
    const prot = protOf(segment);
    let mappedEnd = start;
    if (segment.filesz > 0) {
      mappedEnd = pageUp(fileEnd);
      const result = mm.mapFixed(
        start,
        mappedEnd - start,
        prot,
        false,
        image.file.retain(),
        memory,
        segment.offset - skew,
      );
      if (result < 0) return result;
      // The rest of the last page is zero, not what follows in the file.
      if (segment.memsz > segment.filesz && prot & PROT_WRITE && mappedEnd > fileEnd)
        mm.writeBytes(fileEnd, ZEROS, mappedEnd - fileEnd);
    }
    if (memEnd > mappedEnd) {
      const result = mm.mapFixed(mappedEnd, memEnd - mappedEnd, prot, false, null, null, 0);
      if (result < 0) return result;
    }
  }
  return 0;
}
const ZEROS = new Uint8Array(4096);
