/** process_vm_readv, process_vm_writev: memory of another process. Manual page: process_vm_readv(2). */
import { EFAULT, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { addr, pid, size } from "../args.ts";
import { getU64, type Mm } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import { mayAccess } from "../task/access.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";

const IOV_MAX = 1024;
const MAX_BYTES = 0x7ffff000;
const CHUNK = 65536;

interface Span {
  at: number;
  length: number;
}

function readVector(task: Task, at: number, count: number): Span[] | number {
  if (count > IOV_MAX) return -EINVAL;
  const bytes = new Uint8Array(count * 16);
  if (count > 0 && task.mm.readBytes(at, bytes) < 0) return -EFAULT;
  const view = new DataView(bytes.buffer);
  const spans: Span[] = [];
  for (let i = 0; i < count; i++) {
    const length = getU64(view, i * 16 + 8);
    if (length > Number.MAX_SAFE_INTEGER) return -EINVAL;
    spans.push({ at: getU64(view, i * 16), length });
  }
  return spans;
}

/** Copies between two vectors until one ends or an address is bad; the bytes moved, or -EFAULT when there are none. */
function move(from: Mm, source: Span[], to: Mm, target: Span[]): number {
  const buffer = new Uint8Array(CHUNK);
  let moved = 0;
  let s = 0;
  let t = 0;
  while (s < source.length && t < target.length && moved < MAX_BYTES) {
    const out = target[t]!;
    const input = source[s]!;
    const n = Math.min(out.length, input.length, CHUNK);
    if (n > 0) {
      const got = from.copyIn(input.at, buffer, 0, n);
      const put = got > 0 ? to.copyOut(out.at, buffer, 0, got) : got;
      if (put > 0) moved += put;
      if (put !== n) return moved > 0 ? moved : -EFAULT;
      out.at += n;
      out.length -= n;
      input.at += n;
      input.length -= n;
    }
    if (input.length === 0) s++;
    if (out.length === 0) t++;
  }
  return moved;
}

interface Call {
  pid: number;
  lvec: number;
  liovcnt: number;
  rvec: number;
  riovcnt: number;
  flags: number;
}
const ARGS = { pid, lvec: addr, liovcnt: size, rvec: addr, riovcnt: size, flags: size };

function transfer(task: Task, call: Call, write: boolean): number {
  if (call.flags !== 0) return -EINVAL;
  const local = readVector(task, call.lvec, call.liovcnt);
  if (typeof local === "number") return local;
  if (local.every((span) => span.length === 0)) return 0;
  const remote = readVector(task, call.rvec, call.riovcnt);
  if (typeof remote === "number") return remote;
  const target = task.kernel.tasks.get(call.pid);
  if (target === undefined || target.runState >= RUN_ZOMBIE) return -ESRCH;
  if (!mayAccess(task, target)) return -EPERM;
  return write ? move(task.mm, local, target.mm, remote) : move(target.mm, remote, task.mm, local);
}

export const process_vm_readv = syscall("process_vm_readv", ARGS, (task, call) => transfer(task, call, false));
export const process_vm_writev = syscall("process_vm_writev", ARGS, (task, call) => transfer(task, call, true));
