/**
 * The files at the top of /proc that tell of the machine and the kernel: cpuinfo, meminfo, stat, uptime, loadavg…
 *
 * Source: proc_stat(5), proc_meminfo(5), proc_uptime(5), proc_loadavg(5) and the pages of the others.
 * Gaps: processor time is what the guests of this sandbox used, memory is the machine's; there are no interrupts,
 * disks, modules or swap to tell of, so those files are empty tables.
 */

import { KERNEL_RELEASE, KERNEL_VERSION } from "../../abi/version.ts";
import type { Kernel } from "../../kernel.ts";
import { RUN_GUEST, RUN_READY, RUN_ZOMBIE } from "../../task/task.ts";
import { readClock } from "../../time/clock.ts";
import { totalCpuTime } from "../../time/load-average.ts";
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile } from "../pseudo/text.ts";
import { readHostFile } from "./host-info.ts";
import type { ProcFs } from "./proc-fs.ts";
import { sinceBoot } from "./status.ts";
import { ticks } from "./units.ts";

function stat(kernel: Kernel): string {
  const { cpuCount } = kernel.hostInfo;
  const { user, system } = totalCpuTime(kernel);
  const up = sinceBoot(kernel.now());
  const idle = Math.max(0, up * cpuCount - user - system);
  const row = (name: string, share: number) =>
    `${name} ${ticks(user / share)} 0 ${ticks(system / share)} ${ticks(idle / share)} 0 0 0 0 0 0\n`;
  let out = row("cpu ", 1);
  for (let cpu = 0; cpu < cpuCount; cpu++) out += row(`cpu${cpu}`, cpuCount);
  let running = 0;
  for (const task of kernel.tasks) if (task.runState === RUN_GUEST || task.runState === RUN_READY) running++;
  const now = readClock(0);
  return (
    `${out}intr 0\nctxt 0\nbtime ${Math.floor(now.sec + now.nsec / 1e9 - up / 1e9)}\n` +
    `processes ${kernel.tasksMade}\nprocs_running ${Math.max(1, running)}\nprocs_blocked 0\n` +
    "softirq 0 0 0 0 0 0 0 0 0 0 0\n"
  );
}

function uptime(kernel: Kernel): string {
  const up = sinceBoot(kernel.now());
  const { user, system } = totalCpuTime(kernel);
  const idle = Math.max(0, up * kernel.hostInfo.cpuCount - user - system);
  return `${(Math.floor(up / 1e7) / 100).toFixed(2)} ${(Math.floor(idle / 1e7) / 100).toFixed(2)}\n`;
}

function loadavg(fs: ProcFs): string {
  const { kernel } = fs;
  let running = 0;
  let all = 0;
  for (const task of kernel.tasks) {
    if (task.runState >= RUN_ZOMBIE) continue;
    all++;
    if (task.runState === RUN_GUEST || task.runState === RUN_READY) running++;
  }
  const averages = kernel.load.update(kernel).map((value) => value.toFixed(2));
  return `${averages.join(" ")} ${Math.max(1, running)}/${all} ${fs.pids.newest}\n`;
}

/** Lines of meminfo where the host's own cannot be read. */
export function meminfo(kernel: Kernel): string {
  const host = readHostFile(kernel.hostInfo.meminfoFd);
  if (host !== "") return host;
  const total = kernel.hostInfo.memTotal;
  const line = (name: string, kib: number) => `${`${name}:`.padEnd(16)}${String(Math.floor(kib)).padStart(8)} kB\n`;
  return (
    line("MemTotal", total) +
    line("MemFree", total) +
    line("MemAvailable", total) +
    [
      "Buffers",
      "Cached",
      "SwapCached",
      "Active",
      "Inactive",
      "SwapTotal",
      "SwapFree",
      "Dirty",
      "Writeback",
      "AnonPages",
      "Mapped",
      "Shmem",
      "Slab",
    ]
      .map((name) => line(name, 0))
      .join("")
  );
}

const FILESYSTEMS = ["sysfs", "tmpfs", "proc", "devtmpfs", "devpts", "overlay", "pipefs", "sockfs", "mqueue"];

const DEVICES = `Character devices:
  1 mem
  5 /dev/tty
  5 /dev/console
  5 /dev/ptmx
 10 misc
128 ptm
136 pts

Block devices:
`;

const VMSTAT = [
  "nr_free_pages",
  "nr_anon_pages",
  "nr_mapped",
  "nr_file_pages",
  "nr_dirty",
  "nr_writeback",
  "pgpgin",
  "pgpgout",
  "pswpin",
  "pswpout",
  "pgfault",
  "pgmajfault",
  "oom_kill",
];

function vmstat(kernel: Kernel): string {
  const text = meminfo(kernel);
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  const pages: Record<string, number> = {
    nr_free_pages: kib("MemFree") / 4,
    nr_anon_pages: kib("AnonPages") / 4,
    nr_mapped: kib("Mapped") / 4,
    nr_file_pages: (kib("Cached") + kib("Buffers")) / 4,
    nr_dirty: kib("Dirty") / 4,
    nr_writeback: kib("Writeback") / 4,
  };
  return VMSTAT.map((name) => `${name} ${Math.floor(pages[name] ?? 0)}\n`).join("");
}

export function addSystemFiles(fs: ProcFs, root: PseudoDirectory): void {
  const { kernel } = fs;
  const file = (name: string, read: () => string, mode?: number) =>
    root.add(name, new GeneratedFile(fs, read, null, mode));
  file("cpuinfo", () => kernel.hostInfo.cpuinfo);
  file("meminfo", () => meminfo(kernel));
  file("stat", () => stat(kernel));
  file("uptime", () => uptime(kernel));
  file("loadavg", () => loadavg(fs));
  file("version", () => `Linux version ${KERNEL_RELEASE} (runts) (TypeScript) ${KERNEL_VERSION}\n`);
  file("filesystems", () =>
    [...new Set([...FILESYSTEMS, ...kernel.fileSystemTypes.keys()])].map((name) => `nodev\t${name}\n`).join(""),
  );
  file("devices", () => DEVICES);
  file("cmdline", () => "\n");
  file("partitions", () => "");
  file("swaps", () => "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  file("vmstat", () => vmstat(kernel));
  file("diskstats", () => "");
  file("modules", () => "");
  file("misc", () => "");
  file("locks", () => "");
  file("cgroups", () => "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
  file("consoles", () => "");
  file("execdomains", () => "0-0\tLinux           \t[kernel]\n");
  file(
    "interrupts",
    () => `${" ".repeat(11)}${Array.from({ length: kernel.hostInfo.cpuCount }, (_, i) => `CPU${i}       `).join("")}\n`,
  );
  file(
    "softirqs",
    () => `${" ".repeat(20)}${Array.from({ length: kernel.hostInfo.cpuCount }, (_, i) => `CPU${i}       `).join("")}\n`,
  );
  file("key-users", () => "");
  file("keys", () => "");
  file("crypto", () => "");
  file("buddyinfo", () => "");
  file("kmsg", () => "", 0o400);
  const ipc = root.directory("sysvipc");
  const ipcTable = (name: string, heading: string) => ipc.add(name, new GeneratedFile(fs, () => `${heading}\n`));
  ipcTable(
    "msg",
    "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime",
  );
  ipcTable("sem", "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime");
  ipcTable(
    "shm",
    "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap",
  );
  const tty = root.directory("tty");
  tty.add(
    "drivers",
    new GeneratedFile(
      fs,
      () =>
        "/dev/tty             /dev/tty        5       0 system:/dev/tty\n" +
        "/dev/console         /dev/console    5       1 system:console\n" +
        "/dev/ptmx            /dev/ptmx       5       2 system\n" +
        "pty_slave            /dev/pts      136 0-1048575 pty:slave\n" +
        "pty_master           /dev/ptm      128 0-1048575 pty:master\n",
    ),
  );
  tty.add("ldiscs", new GeneratedFile(fs, () => "n_tty       0\n"));
  const pressure = root.directory("pressure");
  const idle = (kind: string) => `${kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n`;
  for (const name of ["cpu", "io", "memory"])
    pressure.add(name, new GeneratedFile(fs, () => idle("some") + idle("full")));
}
