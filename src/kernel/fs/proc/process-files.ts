/**
 * The table of /proc/PID and /proc/PID/task/TID: every file and link, with its mode as on Linux.
 *
 * Source: proc(5) and its pages per file; modes from fs/proc/base.c. What Linux shows only with certain options of its
 * build (latency, map_files, pagemap, clear_refs) is left out where there is nothing true to show.
 */

import { REG } from "../../../platform/platform.ts";
import { EACCES, EINVAL, EIO, EPERM, ESRCH } from "../../abi/errno.ts";
import { CAP_SYS_RESOURCE, capable } from "../../task/credentials.ts";
import { RUN_BLOCKED, RUN_GUEST, RUN_ZOMBIE, type Task } from "../../task/task.ts";
import { parseNumber } from "../pseudo/text.ts";
import { cwd, exe, root } from "./descriptors.ts";
import {
  auxv,
  cmdline,
  environ,
  MemFile,
  manyAreas,
  mapsLine,
  numaMapsLine,
  smaps,
  smapsArea,
  smapsRollup,
} from "./memory.ts";
import { mountinfo, mounts, mountstats } from "./mounts.ts";
import { entries, type FileEntry, type LinkEntry } from "./process-entry.ts";
import { cpuTime, stat, statm, status } from "./status.ts";
import { liveMm, mayInspect, type Target } from "./target.ts";
import { hex } from "./units.ts";

const UNSET_ID = "4294967295";

const limitRows: readonly [name: string, unit: string][] = [
  ["Max cpu time", "seconds"],
  ["Max file size", "bytes"],
  ["Max data size", "bytes"],
  ["Max stack size", "bytes"],
  ["Max core file size", "bytes"],
  ["Max resident set", "bytes"],
  ["Max processes", "processes"],
  ["Max open files", "files"],
  ["Max locked memory", "bytes"],
  ["Max address space", "bytes"],
  ["Max file locks", "locks"],
  ["Max pending signals", "signals"],
  ["Max msgqueue size", "bytes"],
  ["Max nice priority", ""],
  ["Max realtime priority", ""],
  ["Max realtime timeout", "us"],
];

function limits(task: Task): string {
  const show = (value: number) => (value === Number.POSITIVE_INFINITY ? "unlimited" : String(value)).padEnd(20);
  let out = `${"Limit".padEnd(25)} ${"Soft Limit".padEnd(20)} ${"Hard Limit".padEnd(20)} ${"Units".padEnd(10)}\n`;
  limitRows.forEach(([name, unit], i) => {
    const { soft, hard } = task.process.rlimits[i]!;
    out += `${name.padEnd(25)} ${show(soft)} ${show(hard)} ${unit === "" ? "" : unit.padEnd(10)}\n`;
  });
  return out;
}

/** Linux' badness without what the administrator adds: memory use in thousandths of all memory, from 0 to 2000. */
function oomScore(task: Task): string {
  const mm = liveMm(task);
  if (mm === null) return "0\n";
  const used = Number(statm(task).split(" ")[1]) * 4;
  const points = Math.floor((used * 1000) / task.kernel.hostInfo.memTotal) + task.process.oomScoreAdj;
  return `${Math.max(0, Math.floor(((1000 + points) * 2) / 3))}\n`;
}

function writeOomScoreAdj(task: Task, text: string, writer: Task): number {
  const value = parseNumber(text);
  if (value === null || value < -1000 || value > 1000) return -EINVAL;
  const { process } = task;
  if (value < process.oomScoreAdj && !capable(writer.cred, CAP_SYS_RESOURCE)) return -EACCES;
  process.oomScoreAdj = value;
  return 0;
}

/** The older scale, -17 to 15. */
function oomAdj(task: Task): string {
  const value = task.process.oomScoreAdj;
  return `${value === 1000 ? 15 : Math.trunc((value * 17) / 1000)}\n`;
}
function writeOomAdj(task: Task, text: string, writer: Task): number {
  const value = parseNumber(text);
  if (value === null || value < -17 || value > 15) return -EINVAL;
  const scaled = value === 15 ? 1000 : Math.trunc((value * 1000) / 17);
  return writeOomScoreAdj(task, String(scaled), writer);
}

function syscall(task: Task): string {
  if (task.runState === RUN_GUEST || task.ctx === null) return "running\n";
  if (task.runState >= RUN_ZOMBIE) return "";
  const reg = (index: number) => `0x${hex(task.ctx!.regs[index * 2]! + task.ctx!.regs[index * 2 + 1]! * 4294967296)}`;
  const place = `${reg(REG.rsp)} ${reg(REG.rip)}`;
  if (task.runState !== RUN_BLOCKED || task.syscallNr < 0) return `-1 ${place}\n`;
  const args = [REG.rdi, REG.rsi, REG.rdx, REG.r10, REG.r8, REG.r9].map(reg).join(" ");
  return `${task.syscallNr} ${args} ${place}\n`;
}

/** ID maps: the one user namespace maps everything to itself. */
const idMap = (): string => `${"0".padStart(10)} ${"0".padStart(10)} ${UNSET_ID.padStart(10)}\n`;

function schedstat(task: Task, _reader: Task, target: Target): string {
  return `${Math.floor(cpuTime(task, target.thread === null).user)} 0 0\n`;
}

function sched(task: Task, _reader: Task, target: Target): string {
  const line = (name: string, value: string | number) => `${name.padEnd(45)}:${String(value).padStart(21)}\n`;
  const runtime = (cpuTime(task, target.thread === null).user / 1e6).toFixed(6);
  const { policy, nice, priority } = task.sched;
  return (
    `${task.comm} (${task.tid}, #threads: ${task.process.tasks.length})\n${"-".repeat(67)}\n` +
    line("se.exec_start", (task.kernel.now() / 1e6).toFixed(6)) +
    line("se.sum_exec_runtime", runtime) +
    line("nr_switches", task.blocks) +
    line("nr_voluntary_switches", task.blocks) +
    line("nr_involuntary_switches", 0) +
    line("policy", policy) +
    line("prio", policy === 1 || policy === 2 ? 99 - priority : 120 + nice)
  );
}

function writeComm(task: Task, text: string, writer: Task): number {
  // Only a thread of the same process may, whoever owns it.
  if (task.process !== writer.process) return -EINVAL;
  task.comm = cutComm(text);
  return 0;
}
/** At most 15 bytes, up to the first NUL. */
function cutComm(text: string): string {
  const nul = text.indexOf("\0");
  return Buffer.from((nul < 0 ? text : text.slice(0, nul)).replace(/\n$/, ""), "latin1")
    .subarray(0, 15)
    .toString("utf8");
}

function writeTimerSlack(task: Task, text: string): number {
  const value = parseNumber(text);
  if (value === null || value < 0) return -EINVAL;
  task.timerSlackNs = value === 0 ? 50000 : value;
  return 0;
}

/** A map of ids may be written once, and that has been done. */
const writeOnce = (): number => -EPERM;

export const processFiles = entries<FileEntry | LinkEntry>("proc", {
  cmdline: { mode: 0o444, read: cmdline },
  comm: { mode: 0o644, read: (task) => `${task.comm}\n`, write: writeComm },
  environ: { mode: 0o400, guarded: true, read: environ },
  auxv: { mode: 0o400, guarded: true, read: auxv },
  exe,
  cwd,
  root,
  maps: { mode: 0o444, guarded: true, read: () => "", area: mapsLine },
  smaps: { mode: 0o444, guarded: true, read: smaps, area: smapsArea, areasIf: manyAreas },
  smaps_rollup: { mode: 0o444, guarded: true, only: "process", read: smapsRollup },
  numa_maps: { mode: 0o444, guarded: true, read: () => "", area: numaMapsLine },
  mem: {
    mode: 0o600,
    guarded: true,
    read: () => -EIO,
    open(path, flags, task) {
      const mm = liveMm(task);
      return mm === null ? -ESRCH : new MemFile(flags, path, path.dentry.inode, mm);
    },
  },
  stat: { mode: 0o444, read: stat },
  statm: { mode: 0o444, read: statm },
  status: { mode: 0o444, read: status },
  limits: { mode: 0o444, read: limits },
  mountinfo: { mode: 0o444, read: mountinfo },
  mounts: { mode: 0o444, read: mounts },
  mountstats: { mode: 0o400, only: "process", read: mountstats },
  cgroup: { mode: 0o444, read: () => "0::/\n" },
  cpuset: { mode: 0o444, read: () => "/\n" },
  oom_score: { mode: 0o444, read: oomScore },
  oom_score_adj: { mode: 0o644, read: (task) => `${task.process.oomScoreAdj}\n`, write: writeOomScoreAdj },
  oom_adj: { mode: 0o644, read: oomAdj, write: writeOomAdj },
  loginuid: { mode: 0o644, read: () => UNSET_ID, write: () => -EPERM },
  sessionid: { mode: 0o444, read: () => UNSET_ID },
  wchan: { mode: 0o444, read: () => "0" },
  io: {
    mode: 0o400,
    guarded: true,
    read: ({ process: { io } }) =>
      `rchar: ${io.readBytes}\nwchar: ${io.writtenBytes}\nsyscr: ${io.reads}\nsyscw: ${io.writes}\n` +
      "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
  },
  personality: { mode: 0o400, guarded: true, read: (task) => `${hex(task.personality >>> 0, 8)}\n` },
  syscall: { mode: 0o400, guarded: true, read: syscall },
  stack: { mode: 0o400, guarded: true, read: () => "" },
  schedstat: { mode: 0o444, read: schedstat },
  sched: { mode: 0o644, read: sched, write: () => 0 },
  autogroup: {
    mode: 0o644,
    only: "process",
    read: (task) => `/autogroup-${task.process.group.session.id} nice 0\n`,
    write: (_task, text) => (parseNumber(text) === null ? -EINVAL : 0),
  },
  timerslack_ns: {
    mode: 0o666,
    only: "process",
    read: (task, reader) =>
      task.process === reader.process || mayInspect(reader, task) ? `${task.timerSlackNs}\n` : -EPERM,
    write: (task, text, writer) =>
      task.process === writer.process || mayInspect(writer, task) ? writeTimerSlack(task, text) : -EPERM,
  },
  timers: { mode: 0o444, only: "process", read: () => "" },
  coredump_filter: {
    mode: 0o644,
    only: "process",
    read: () => "00000033\n",
    write: (_task, text) => (parseNumber(text) === null ? -EINVAL : 0),
  },
  setgroups: { mode: 0o644, read: () => "allow\n", write: writeOnce },
  uid_map: { mode: 0o644, read: idMap, write: writeOnce },
  gid_map: { mode: 0o644, read: idMap, write: writeOnce },
  projid_map: { mode: 0o644, read: idMap, write: writeOnce },
  timens_offsets: {
    mode: 0o644,
    only: "process",
    read: () => "monotonic           0         0\nboottime            0         0\n",
    write: () => -EACCES,
  },
  arch_status: { mode: 0o444, read: () => "" },
  children: {
    mode: 0o444,
    only: "thread",
    read: (task) =>
      [...task.process.children]
        .filter((child) => (child.parentTask ?? task) === task)
        .map((child) => `${child.pid} `)
        .join(""),
  },
});

/** /proc/PID/attr: no security module is in force. */
export const attributeFiles = entries<FileEntry>(
  "proc/attr",
  Object.fromEntries(
    ["current", "prev", "exec", "fscreate", "keycreate", "sockcreate"].map((name) => [
      name,
      {
        mode: name === "prev" ? 0o444 : 0o666,
        read: () => -EINVAL,
        write: () => -EINVAL,
      } satisfies FileEntry,
    ]),
  ),
);
