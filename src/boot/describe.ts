/** What an image says of the sandbox for people: its processes, memory, open files and sockets. */
import type { SandboxManifest, SavedProcess } from "../core/sandbox.ts";
import { decodeName } from "../kernel/abi/bytes.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { Socket } from "../kernel/net/socket.ts";
import type { Process } from "../kernel/task/process.ts";
import type { File } from "../kernel/vfs/file.ts";

type Summary = SandboxManifest["summary"];
type Counts = Record<string, number>;
const ARGUMENTS_MAX = 4096;

export function describeSandbox(kernel: Kernel): Summary {
  const processes: SavedProcess[] = [];
  const memoryBytes = { private: 0, shared: 0, files: 0 };
  const openFiles: Counts = {};
  const sockets: Counts = {};
  const seen = new Set<object>();
  for (const container of kernel.containers.values())
    for (const process of container.living()) {
      processes.push({
        pid: process.pid,
        ppid: process.parent?.pid ?? 0,
        threads: process.tasks.length,
        comm: process.leader.comm,
        args: argumentsOf(process),
      });
      addMemory(process, memoryBytes, seen);
      addFiles(process, openFiles, sockets, seen);
    }
  return { processes, memoryBytes, openFiles, sockets };
}

function argumentsOf({ leader: { mm } }: Process): string[] {
  const length = Math.max(0, Math.min(ARGUMENTS_MAX, mm.argEnd - mm.argStart));
  const bytes = new Uint8Array(length);
  const got = Math.max(0, mm.copyIn(mm.argStart, bytes, 0, length));
  const args = decodeName(bytes, 0, got).split("\0");
  if (args.at(-1) === "") args.pop();
  return args;
}

function addMemory({ leader: { mm } }: Process, memory: Summary["memoryBytes"], seen: Set<object>): void {
  if (seen.has(mm)) return;
  seen.add(mm);
  for (const { shared, file, length } of mm.vmas)
    memory[shared ? "shared" : file === null ? "private" : "files"] += length;
}

/** By kind, since of paths there may be very many. */
function addFiles({ tasks }: Process, files: Counts, sockets: Counts, seen: Set<object>): void {
  for (const task of tasks) {
    if (seen.has(task.files)) continue;
    seen.add(task.files);
    for (const [, file] of task.files.entries()) {
      if (seen.has(file)) continue;
      seen.add(file);
      const counts = file instanceof Socket ? sockets : files;
      const kind = kindOf(file);
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
  }
}

function kindOf(file: File): string {
  if (file instanceof Socket) return `${FAMILIES[file.family] ?? file.family} ${TYPES[file.sockType] ?? file.sockType}`;
  if (file.path !== null) return file.path.mount.fs.type;
  return file.description().replace(/:?\[\d+\]$/, "");
}
const FAMILIES: Record<number, string> = { 1: "unix", 2: "inet", 10: "inet6", 16: "netlink" };
const TYPES: Record<number, string> = { 1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket" };
