/**
 * sysfs: what programs look for there: processors, memory nodes, huge page settings, network devices, and
 * empty classes of others.
 *
 * Source: sysfs(5), Linux Documentation/ABI/testing/sysfs-devices-system-cpu. Caches are left out: nothing true is known
 * of them. cgroup file systems are mounted on fs/cgroup.
 */
import { SYSFS_MAGIC } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import { bitMask, rangeList } from "../proc/status.ts";
import { meminfo } from "../proc/system.ts";
import { PseudoDirectory } from "../pseudo/directory.ts";
import { PseudoLink } from "../pseudo/link.ts";
import { PseudoFs } from "../pseudo/node.ts";
import { type Content, GeneratedFile } from "../pseudo/text.ts";
import { NetDevicesDirectory } from "./net-class.ts";

const DIRECTORIES = [
  "block",
  "bus",
  "class/block",
  "class/mem",
  "class/misc",
  "class/tty",
  "dev/block",
  "dev/char",
  "devices/virtual",
  "firmware",
  "fs/cgroup",
  "kernel/debug",
  "kernel/security",
  "kernel/tracing",
  "module",
  "power",
];

/** The machine's memory as that of its one node: the lines of /proc/meminfo that nodes have, and what is used. */
function nodeMemory(kernel: Kernel): string {
  const all = new Map(
    meminfo(kernel)
      .split("\n")
      .map((line) => /^([^:]+):\s+(\d+)/.exec(line))
      .filter((match) => match !== null)
      .map((match) => [match[1]!, Number(match[2])]),
  );
  const row = (name: string, kib: number) => `Node 0 ${`${name}:`.padEnd(15)} ${String(kib).padStart(8)} kB\n`;
  const value = (name: string) => all.get(name) ?? 0;
  return (
    row("MemTotal", value("MemTotal")) +
    row("MemFree", value("MemFree")) +
    row("MemUsed", value("MemTotal") - value("MemFree")) +
    NODE_LINES.map((name) => row(name, value(name))).join("") +
    row("FilePages", value("Cached") + value("Buffers"))
  );
}
const NODE_LINES = [
  "Active",
  "Inactive",
  "Unevictable",
  "Mlocked",
  "Dirty",
  "Writeback",
  "Mapped",
  "AnonPages",
  "Shmem",
];

export class SysFs extends PseudoFs {
  override root!: PseudoDirectory;
  /** As of when it was mounted: a kernel that is restored elsewhere goes on with as many. */
  private readonly cpuCount: number;

  constructor(kernel: Kernel) {
    super(kernel, "sysfs", SYSFS_MAGIC);
    this.cpuCount = kernel.hostInfo.cpuCount;
    this.grow();
  }

  protected override grow(): void {
    this.root = new PseudoDirectory(this);
    for (const path of DIRECTORIES) this.root.directory(path);
    this.root.directory("class").add("net", new NetDevicesDirectory(this, true));
    this.root.directory("devices/virtual").add("net", new NetDevicesDirectory(this, false));
    this.addProcessors();
    this.addNode();
    this.addHugePages();
  }

  private file(path: string, read: () => Content): void {
    const slash = path.lastIndexOf("/");
    this.root.directory(path.slice(0, slash)).add(path.slice(slash + 1), new GeneratedFile(this, read));
  }
  private line(path: string, value: () => string | number): void {
    this.file(path, () => `${value()}\n`);
  }

  private get cpus(): number[] {
    return Array.from({ length: this.cpuCount }, (_, cpu) => cpu);
  }
  private mask(cpus: readonly number[]): string {
    return bitMask(cpus, this.cpuCount);
  }

  private addProcessors(): void {
    const all = "devices/system/cpu";
    for (const name of ["online", "possible", "present"]) this.line(`${all}/${name}`, () => rangeList(this.cpus));
    this.line(`${all}/offline`, () => "");
    this.line(`${all}/isolated`, () => "");
    this.line(`${all}/kernel_max`, () => 8191);
    this.line(`${all}/smt/active`, () => 0);
    this.line(`${all}/smt/control`, () => "notsupported");
    for (const cpu of this.cpus) {
      const topology = `${all}/cpu${cpu}/topology`;
      const own = [cpu];
      for (const [name, cpus] of [
        ["core_cpus", own],
        ["thread_siblings", own],
        ["core_siblings", this.cpus],
        ["package_cpus", this.cpus],
        ["die_cpus", this.cpus],
      ] as const) {
        this.line(`${topology}/${name}`, () => this.mask(cpus));
        this.line(`${topology}/${name}_list`, () => rangeList(cpus));
      }
      this.line(`${topology}/core_id`, () => cpu);
      this.line(`${topology}/die_id`, () => 0);
      this.line(`${topology}/physical_package_id`, () => 0);
      if (cpu > 0) this.line(`${all}/cpu${cpu}/online`, () => 1);
    }
  }

  private addNode(): void {
    const nodes = "devices/system/node";
    for (const name of ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"])
      this.line(`${nodes}/${name}`, () => 0);
    this.line(`${nodes}/node0/cpulist`, () => rangeList(this.cpus));
    this.line(`${nodes}/node0/cpumap`, () => this.mask(this.cpus));
    this.line(`${nodes}/node0/distance`, () => 10);
    this.file(`${nodes}/node0/meminfo`, () => nodeMemory(this.kernel));
    const node = this.root.directory(`${nodes}/node0`);
    for (const cpu of this.cpus) node.add(`cpu${cpu}`, new PseudoLink(this, `../../cpu/cpu${cpu}`));
  }

  private addHugePages(): void {
    const huge = "kernel/mm/transparent_hugepage";
    this.line(`${huge}/enabled`, () => "always [madvise] never");
    this.line(`${huge}/defrag`, () => "always defer defer+madvise [madvise] never");
    this.line(`${huge}/shmem_enabled`, () => "always within_size advise [never] deny force");
    this.line(`${huge}/hpage_pmd_size`, () => 2097152);
    this.line(`${huge}/use_zero_page`, () => 1);
    this.root.directory("kernel/mm/hugepages");
  }
}

persistent("sysfs", SysFs);
