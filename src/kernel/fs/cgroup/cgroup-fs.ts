/**
 * The cgroup file system, as version 2 has it: the container's limits and usage, for programs that size themselves by
 * them (Java, Go, Node, .NET) and for people who look.
 *
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst. The spec's older "cgroup" mounts show the same, as /proc/PID/cgroup
 * says version 2. Limits are the runtime's to set: a write is EACCES. Gaps: no groups can be made; no io controller.
 */
import { EACCES } from "../../abi/errno.ts";
import { CGROUP2_SUPER_MAGIC } from "../../abi/stat.ts";
import type { Container } from "../../container.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { rangeList } from "../proc/status.ts";
import { PseudoDirectory } from "../pseudo/directory.ts";
import { PseudoFs } from "../pseudo/node.ts";
import { GeneratedFile } from "../pseudo/text.ts";

const PAGE = 4096;
/** Of bytes, in whole pages. */
const bytes = (n: number): string => (n === Number.POSITIVE_INFINITY ? "max" : String(Math.floor(n / PAGE) * PAGE));
const count = (n: number): string => (n === Number.POSITIVE_INFINITY ? "max" : String(n));

export class CgroupFs extends PseudoFs {
  override root!: PseudoDirectory;

  constructor(private readonly container: Container) {
    super(container.kernel, "cgroup2", CGROUP2_SUPER_MAGIC);
    this.grow();
  }

  protected override grow(): void {
    this.root = new PseudoDirectory(this, 0o755);
    const { container } = this;
    const { cgroup } = container;
    const { limits } = cgroup;
    this.file("cgroup.controllers", () => "cpuset cpu memory pids\n");
    this.setting("cgroup.subtree_control", () => "");
    this.file("cgroup.type", () => "domain\n");
    this.file(
      "cgroup.events",
      () => `populated ${container.processes.size > 0 ? 1 : 0}\nfrozen ${container.frozen ? 1 : 0}\n`,
    );
    this.file("cgroup.stat", () => "nr_descendants 0\nnr_dying_descendants 0\n");
    this.setting("cgroup.max.depth", () => "max\n");
    this.setting("cgroup.max.descendants", () => "max\n");
    this.setting("cgroup.freeze", () => `${container.frozen ? 1 : 0}\n`);
    this.setting("cgroup.procs", ({ pids }) => list([...container.processes].map((process) => pids.pidOf(process))));
    this.setting("cgroup.threads", ({ pids }) =>
      list([...container.processes].flatMap(({ tasks }) => tasks.map((task) => pids.tidOf(task)))),
    );

    this.setting("memory.max", () => `${bytes(limits.memory)}\n`);
    this.setting("memory.high", () => "max\n");
    this.setting("memory.low", () => `${bytes(limits.memoryLow)}\n`);
    this.setting("memory.min", () => "0\n");
    this.file("memory.current", () => `${bytes(cgroup.memoryUsed())}\n`);
    this.file("memory.peak", () => `${bytes(Math.max(cgroup.memoryUsed(), cgroup.memoryPeak))}\n`);
    this.setting("memory.swap.max", () => `${bytes(limits.swap)}\n`);
    this.file("memory.swap.current", () => "0\n");
    this.file("memory.stat", () => `anon ${bytes(cgroup.memoryUsed())}\nfile 0\nkernel 0\nshmem 0\n`);

    this.setting("cpu.max", () => `${count(limits.cpuQuotaUs)} ${limits.cpuPeriodUs}\n`);
    this.setting("cpu.weight", () => `${limits.cpuWeight}\n`);
    this.file("cpu.stat", () => {
      const usec = Math.round(cgroup.cpuTimeNs() / 1000);
      // As with every time of a guest: what it ran itself is user time (time/cpu-time.ts).
      return `usage_usec ${usec}\nuser_usec ${usec}\nsystem_usec 0\n`;
    });
    this.setting("cpuset.cpus", () => `${limits.cpus === null ? "" : rangeList(cgroup.cpus())}\n`);
    this.file("cpuset.cpus.effective", () => `${rangeList(cgroup.cpus())}\n`);
    this.setting("cpuset.mems", () => "\n");
    this.file("cpuset.mems.effective", () => "0\n");

    this.setting("pids.max", () => `${count(limits.tasks)}\n`);
    this.file("pids.current", () => `${container.tasks}\n`);
    this.file("pids.events", () => `max ${cgroup.tasksRefused}\n`);
  }

  private file(name: string, read: (task: Task) => string): void {
    this.root.add(name, new GeneratedFile(this, read));
  }
  private setting(name: string, read: (task: Task) => string): void {
    this.root.add(name, new GeneratedFile(this, read, () => -EACCES));
  }
}

const list = (ids: number[]): string =>
  ids
    .sort((a, b) => a - b)
    .map((id) => `${id}\n`)
    .join("");

persistent("cgroup-fs", CgroupFs);
