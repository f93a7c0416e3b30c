/**
 * /proc/PID/{stat,statm,status}: what ps, top and pidof read.
 *
 * Source: proc_pid_stat(5), proc_pid_status(5); field order and padding as Linux 6.x prints them (fs/proc/array.c).
 * Gaps: fault counts and involuntary switches are 0, since the host does that work uncounted.
 */
import { clockMonotonicNs } from "../../../native/host.ts";
import { REG } from "../../../platform/platform.ts";
import { SIG_DFL, SIG_IGN } from "../../signal/actions.ts";
import { SigSet } from "../../signal/task-signals.ts";
import type { Process } from "../../task/process.ts";
import { RLIMIT_RSS, RLIMIT_SIGPENDING } from "../../task/rlimits.ts";
import type { ControllingTty } from "../../task/session.ts";
import { RUN_BLOCKED, RUN_GUEST, RUN_READY, RUN_STOPPED, RUN_ZOMBIE, type Task } from "../../task/task.ts";
import { readClock } from "../../time/clock.ts";
import { processCpuNs, threadCpuNs } from "../../time/cpu-time.ts";
import { liveMm, mayInspect, type Target } from "./target.ts";
import { hex, hex64, kB, ticks } from "./units.ts";
import { codeRange, memoryUse } from "./usage.ts";

const CLOCK_BOOTTIME = 7;
/** Nanoseconds from the host's boot, on the clock that uptime and start times use, at CLOCK_MONOTONIC `at`. */
export function sinceBoot(at: number): number {
  const boot = readClock(CLOCK_BOOTTIME);
  return boot.sec * 1e9 + boot.nsec - clockMonotonicNs() + at;
}

const STATES: Record<number, string> = {
  [RUN_GUEST]: "R (running)",
  [RUN_READY]: "R (running)",
  [RUN_BLOCKED]: "S (sleeping)",
  [RUN_STOPPED]: "T (stopped)",
  [RUN_ZOMBIE]: "Z (zombie)",
};
export function stateOf(task: Task): string {
  if (task.suspended !== null && task.process.stopped) return STATES[RUN_STOPPED]!;
  return STATES[task.runState] ?? "X (dead)";
}

/** The terminal's device number and foreground group, as proc shows them. */
function terminal(process: Process): { device: number; foreground: number } {
  const tty = process.group.session.tty as (ControllingTty & { rdev?: number }) | null;
  return tty === null
    ? { device: 0, foreground: -1 }
    : { device: tty.rdev ?? 0, foreground: tty.foreground === null ? -1 : process.pids.idOf(tty.foreground) };
}

/** Processor time of one thread, or of the whole process, in ns. */
export function cpuTime(task: Task, whole: boolean): { user: number; system: number } {
  const { process } = task;
  if (!whole) return { user: threadCpuNs(task), system: 0 };
  return { user: processCpuNs(process) - process.systemTime, system: process.systemTime };
}

/** Sets of ignored and of caught signals. */
function dispositions(process: Process): { ignored: SigSet; caught: SigSet } {
  const ignored = new SigSet();
  const caught = new SigSet();
  for (let signo = 1; signo <= 64; signo++) {
    const { handler } = process.actions.actions[signo]!;
    if (handler === SIG_IGN) ignored.add(signo);
    else if (handler !== SIG_DFL) caught.add(signo);
  }
  return { ignored, caught };
}

export function executableInode(process: Process): unknown {
  return process.executable?.dentry.inode ?? null;
}

const livingThreads = (process: Process): number =>
  process.tasks.reduce((n, task) => n + (task.runState < RUN_ZOMBIE ? 1 : 0), 0) || (process.zombie ? 1 : 0);

export function stat(task: Task, reader: Task, target: Target): string {
  const { process } = task;
  const whole = target.thread === null;
  const mm = liveMm(task);
  const open = mayInspect(reader, task);
  const use = mm === null ? null : memoryUse(task.kernel, mm, executableInode(process));
  const code = mm === null ? null : codeRange(mm, executableInode(process));
  const { device, foreground } = terminal(process);
  const { ignored, caught } = dispositions(process);
  const time = cpuTime(task, whole);
  const { policy, priority, nice } = task.sched;
  const realtime = policy === 1 || policy === 2;
  const regs = open && task.runState !== RUN_GUEST && task.runState < RUN_ZOMBIE ? (task.ctx?.regs ?? null) : null;
  const hidden = (value: number | undefined) => (open ? (value ?? 0) : 0);
  const limit = process.rlimits[RLIMIT_RSS]!.soft;
  const fields: (number | string)[] = [
    whole ? process.pid : task.tid,
    `(${task.comm})`,
    stateOf(task).charAt(0),
    process.parent?.pid ?? 0,
    process.group.id,
    process.group.session.id,
    device,
    foreground,
    0x400000,
    0,
    0,
    0,
    0,
    ticks(time.user),
    ticks(time.system),
    ticks(process.childrenUserTime),
    ticks(process.childrenSystemTime),
    realtime ? -1 - priority : 20 + nice,
    nice,
    livingThreads(process),
    0,
    ticks(sinceBoot(task.startTime)),
    use?.size ?? 0,
    Math.floor((use?.resident ?? 0) / 4096),
    limit === Number.POSITIVE_INFINITY ? "18446744073709551615" : limit,
    mm === null ? 0 : open ? code!.start : 1,
    mm === null ? 0 : open ? code!.end : 1,
    hidden(mm?.stackStart),
    regs === null ? 0 : regs[REG.rsp * 2]! + regs[REG.rsp * 2 + 1]! * 4294967296,
    regs === null ? 0 : regs[REG.rip * 2]! + regs[REG.rip * 2 + 1]! * 4294967296,
    signed31(task.signals.pending.set.lo),
    signed31(task.signals.blocked.lo),
    signed31(ignored.lo),
    signed31(caught.lo),
    open && task.runState === RUN_BLOCKED ? 1 : 0,
    0,
    0,
    whole ? process.exitSignal : -1,
    0,
    realtime ? priority : 0,
    policy,
    0,
    0,
    0,
    hidden(dataStart(task)),
    hidden(dataEnd(task)),
    hidden(mm?.brkStart),
    hidden(mm?.argStart),
    hidden(mm?.argEnd),
    hidden(mm?.envStart),
    hidden(mm?.envEnd),
    open ? process.exitStatus : 0,
  ];
  return `${fields.join(" ")}\n`;
}

/** Linux prints these old fields without their top bit. */
const signed31 = (bits: number): number => bits & 0x7fffffff;

/** The program's writable part: the last mapping of the program's file that may be written. */
function dataArea(task: Task) {
  const mm = liveMm(task);
  const inode = executableInode(task.process);
  if (mm === null || inode === null) return undefined;
  return [...mm.vmas].findLast((vma) => (vma.prot & 2) !== 0 && vma.file !== null && vma.file.inode === inode);
}
const dataStart = (task: Task): number | undefined => dataArea(task)?.start;
const dataEnd = (task: Task): number | undefined => dataArea(task)?.end;

export function statm(task: Task): string {
  const mm = liveMm(task);
  if (mm === null) return "0 0 0 0 0 0 0\n";
  const use = memoryUse(task.kernel, mm, executableInode(task.process));
  const pages = [use.size, use.resident, use.shared, use.text, 0, use.data + use.stack, 0];
  return `${pages.map((bytes) => Math.floor(bytes / 4096)).join(" ")}\n`;
}

/** "0-1,4": a list of numbers in Linux' range format. */
export function rangeList(numbers: readonly number[]): string {
  const ranges: string[] = [];
  const sorted = [...numbers].sort((a, b) => a - b);
  for (let i = 0; i < sorted.length; ) {
    let j = i;
    while (j + 1 < sorted.length && sorted[j + 1] === sorted[j]! + 1) j++;
    ranges.push(i === j ? `${sorted[i]}` : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return ranges.join(",");
}
/** A set of processors as groups of 32 bits, the highest first. */
export function bitMask(numbers: readonly number[], count: number): string {
  const words = new Uint32Array(Math.max(1, Math.ceil(count / 32)));
  for (const n of numbers) if (n >> 5 < words.length) words[n >> 5]! |= 1 << (n & 31);
  return [...words]
    .reverse()
    .map((word, i) => hex(word, i === 0 ? (((count - 1) % 32) >> 2) + 1 : 8))
    .join(",");
}

export function status(task: Task, _reader: Task, target: Target): string {
  const { process, cred, kernel } = task;
  const whole = target.thread === null;
  const mm = liveMm(task);
  const { ignored, caught } = dispositions(process);
  const groups = cred.groups.map((gid) => `${gid} `).join("");
  const id = whole ? process.pid : task.tid;
  const lines = [
    `Name:\t${task.comm.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
    `Umask:\t${task.fs.umask.toString(8).padStart(4, "0")}`,
    `State:\t${stateOf(task)}`,
    `Tgid:\t${process.pid}`,
    "Ngid:\t0",
    `Pid:\t${id}`,
    `PPid:\t${process.parent?.pid ?? 0}`,
    "TracerPid:\t0",
    `Uid:\t${cred.uid}\t${cred.euid}\t${cred.suid}\t${cred.fsuid}`,
    `Gid:\t${cred.gid}\t${cred.egid}\t${cred.sgid}\t${cred.fsgid}`,
    `FDSize:\t${process.zombie ? 0 : 2 ** Math.max(6, Math.ceil(Math.log2(Math.max(1, task.files.end))))}`,
    `Groups:\t${groups || " "}`,
    `NStgid:\t${process.pid}`,
    `NSpid:\t${id}`,
    `NSpgid:\t${process.group.id}`,
    `NSsid:\t${process.group.session.id}`,
    "Kthread:\t0",
  ];
  if (process.zombie) lines.splice(1, 1);
  if (mm !== null) {
    const use = memoryUse(kernel, mm, executableInode(process));
    const anonymous = use.resident - use.shared;
    lines.push(
      `VmPeak:\t${kB(use.size)}`,
      `VmSize:\t${kB(use.size)}`,
      `VmLck:\t${kB(use.locked)}`,
      `VmPin:\t${kB(0)}`,
      `VmHWM:\t${kB(use.resident)}`,
      `VmRSS:\t${kB(use.resident)}`,
      `RssAnon:\t${kB(anonymous)}`,
      `RssFile:\t${kB(use.shared)}`,
      `RssShmem:\t${kB(0)}`,
      `VmData:\t${kB(use.data)}`,
      `VmStk:\t${kB(use.stack)}`,
      `VmExe:\t${kB(use.text)}`,
      `VmLib:\t${kB(use.libraries)}`,
      `VmPTE:\t${kB(Math.max(1, Math.ceil(use.resident / (512 * 4096))) * 4096)}`,
      `VmSwap:\t${kB(0)}`,
      `HugetlbPages:\t${kB(0)}`,
      "CoreDumping:\t0",
      "THP_enabled:\t1",
      "untag_mask:\t0xffffffffffffffff",
    );
  }
  const limit = process.rlimits[RLIMIT_SIGPENDING]!.soft;
  const cpus = task.container.cgroup.cpusOf(task);
  lines.push(
    `Threads:\t${livingThreads(process)}`,
    `SigQ:\t${task.container.users.get(cred.uid)?.signals ?? 0}/${limit === Number.POSITIVE_INFINITY ? "18446744073709551615" : limit}`,
    `SigPnd:\t${hex64(task.signals.pending.set)}`,
    `ShdPnd:\t${hex64(process.pending.set)}`,
    `SigBlk:\t${hex64(task.signals.blocked)}`,
    `SigIgn:\t${hex64(ignored)}`,
    `SigCgt:\t${hex64(caught)}`,
    `CapInh:\t${hex64(cred.inheritable)}`,
    `CapPrm:\t${hex64(cred.permitted)}`,
    `CapEff:\t${hex64(cred.effective)}`,
    `CapBnd:\t${hex64(cred.bounding)}`,
    `CapAmb:\t${hex64(cred.ambient)}`,
    `NoNewPrivs:\t${cred.noNewPrivs ? 1 : 0}`,
    `Seccomp:\t${task.seccomp?.mode ?? 0}`,
    `Seccomp_filters:\t${task.seccomp?.filter?.depth ?? 0}`,
    "Speculation_Store_Bypass:\tthread vulnerable",
    "SpeculationIndirectBranch:\tconditional enabled",
    `Cpus_allowed:\t${bitMask(cpus, kernel.hostInfo.cpuCount)}`,
    `Cpus_allowed_list:\t${rangeList(cpus)}`,
    "Mems_allowed:\t1",
    "Mems_allowed_list:\t0",
    `voluntary_ctxt_switches:\t${task.blocks}`,
    "nonvoluntary_ctxt_switches:\t0",
  );
  return `${lines.join("\n")}\n`;
}
