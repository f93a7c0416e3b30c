/**
 * `runts events ID`: statistics as runc prints them, one JSON object a line: once with --stats, else each interval until
 * the container ends; an "oom" event when the host's kernel has killed for memory.
 *
 * Memory and processor are the host's account of the sandbox and its stubs where there is a cgroup; what only the guest
 * kernel knows (processes, interfaces, and the rest without a cgroup) comes from it.
 */
import { readFileSync } from "node:fs";
import { command } from "../command.ts";
import { type CgroupStats, cgroupStats, SANDBOX_THREADS } from "../container/cgroup.ts";
import type { Container } from "../container/container.ts";
import type { Containers } from "../container/lifecycle.ts";
import { requireState } from "../container/state.ts";
import { parseDuration } from "../duration.ts";
import { RuntimeError } from "../errors.ts";
import { flag, usage } from "../flags.ts";
import type { GuestStats } from "../sandbox.ts";

export default command({
  name: "events",
  summary: "show a container's statistics, once or again and again",
  args: "<container-id>",
  flags: {
    stats: flag.boolean({ help: "once" }),
    interval: flag.string({ value: "DURATION", default: "5s", help: "time between two lines: 5s, 500ms, 1m" }),
  },
  async run(context, { stats, interval }, [id]) {
    const intervalMs = parseDuration(interval);
    if (intervalMs === null || intervalMs <= 0)
      throw usage("runts events", `flag --interval: "${interval}" is no duration above zero, such as 5s`);
    const containers = await context.containers();
    const first = containers.get(id!);
    requireState("events", first.id, first.status);
    const print = async (container: Container) => {
      const host = cgroupStats(container.metadata.cgroups);
      const guest = await containers.stats(container);
      const interfaces = interfacesOf(container) ?? guest.interfaces;
      context.out(`${JSON.stringify(statsEvent(container.id, host, { ...guest, interfaces }))}\n`);
      return host;
    };
    if (stats) {
      await print(first);
      return;
    }
    let killed = 0;
    for (let at = await current(containers, first.id); at !== null; at = await current(containers, first.id)) {
      let host: CgroupStats;
      try {
        host = await print(at);
      } catch (error) {
        // It may have ended between the look and the question.
        if (await endsWithin(containers, first.id, ENDING_MS)) return;
        throw error;
      }
      const { oomKills = 0 } = host;
      if (oomKills > killed) context.out(`${JSON.stringify({ type: "oom", id: at.id })}\n`);
      killed = oomKills;
      await Bun.sleep(intervalMs);
    }
  },
});

/** Of the network namespace that is the container's own; null: it has none, or its devices are only its kernel's. */
function interfacesOf({ metadata, sandboxPid }: Container): GuestStats["interfaces"] | null {
  if (metadata.network !== "sandbox" || sandboxPid === 0) return null;
  try {
    return parseDevices(readFileSync(`/proc/${sandboxPid}/net/dev`, "latin1"));
  } catch {
    return null;
  }
}

/** /proc/PID/net/dev. */
export function parseDevices(text: string): GuestStats["interfaces"] {
  return [...text.matchAll(/^ *([^:\s]+): *(.*)$/gm)].map(([, name, rest]) => {
    const n = rest!.trim().split(/\s+/).map(Number);
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0] = n;
    const [txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = n.slice(8);
    return { name: name!, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped };
  });
}

/** A sandbox that does not answer any more may still be about to go. */
const ENDING_MS = 2000;
async function endsWithin(containers: Containers, id: string, ms: number): Promise<boolean> {
  for (const end = Date.now() + ms; Date.now() < end; await Bun.sleep(20))
    if ((await current(containers, id)) === null) return true;
  return false;
}

/** The container while it has not ended. */
async function current(containers: Containers, id: string): Promise<Container | null> {
  try {
    const container = containers.get(id);
    return container.status === "stopped" ? null : container;
  } catch (error) {
    if (error instanceof RuntimeError && error.code === "not-found") return null;
    throw error;
  }
}

/** runc's object, in its shape (types/events.go of runc). */
export function statsEvent(id: string, host: CgroupStats, guest: GuestStats): object {
  const cpuUser = host.cpuUserNs ?? guest.cpuUserNs;
  const cpuKernel = host.cpuKernelNs ?? guest.cpuKernelNs;
  const raw = host.memoryRaw ?? {};
  return {
    type: "stats",
    id,
    data: {
      cpu: {
        usage: {
          total: host.cpuTotalNs ?? cpuUser + cpuKernel,
          ...(host.cpuPerCpuNs === undefined ? {} : { percpu: host.cpuPerCpuNs }),
          kernel: cpuKernel,
          user: cpuUser,
        },
        throttling: {
          ...(host.periods ? { periods: host.periods } : {}),
          ...(host.throttledPeriods ? { throttledPeriods: host.throttledPeriods } : {}),
          ...(host.throttledNs ? { throttledTime: host.throttledNs } : {}),
        },
      },
      cpuset: {},
      memory: {
        cache: raw["cache"] ?? raw["file"] ?? guest.memoryCacheBytes,
        usage: {
          limit: host.memoryLimit ?? 0,
          usage: host.memoryBytes ?? guest.memoryBytes,
          max: host.memoryMaxBytes ?? guest.memoryMaxBytes,
          failcnt: host.memoryFailures ?? 0,
        },
        swap: { limit: 0, failcnt: 0 },
        kernel: { limit: 0, failcnt: 0 },
        kernelTCP: { limit: 0, failcnt: 0 },
        raw,
      },
      pids: {
        current: guest.processes,
        ...(host.pidsLimit === undefined ? {} : { limit: host.pidsLimit - SANDBOX_THREADS }),
      },
      blkio: {},
      hugetlb: {},
      intel_rdt: {},
      network_interfaces: guest.interfaces.map((each) => ({
        Name: each.name,
        RxBytes: each.rxBytes,
        RxPackets: each.rxPackets,
        RxErrors: each.rxErrors,
        RxDropped: each.rxDropped,
        TxBytes: each.txBytes,
        TxPackets: each.txPackets,
        TxErrors: each.txErrors,
        TxDropped: each.txDropped,
      })),
    },
  };
}
