/** process_vm_readv, process_vm_writev: memory of another process. Manual page: process_vm_readv(2). */
import { EFAULT, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { addr, pid, size } from "../args.ts";
import { getU64, type Mm } from "../mm/mm.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
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

/** Leaves out the first `count` bytes: an earlier run of the call has moved them. */
function skip(spans: Span[], count: number): void {
  let left = count;
  for (const span of spans) {
    const step = Math.min(left, span.length);
    span.at += step;
    span.length -= step;
    left -= step;
    if (left === 0) break;
  }
}

const buffer = new Uint8Array(CHUNK);

/** Copies between two vectors until one ends or an address is bad; the bytes moved, -EFAULT for none, or BLOCKED. */
function move(task: Task, from: Mm, source: Span[], to: Mm, target: Span[]): number {
  const slice = new Slice(task.kernel);
  let moved = task.restart?.moved ?? 0;
  skip(source, moved);
  skip(target, moved);
  let s = 0;
  let t = 0;
  while (s < source.length && t < target.length && moved < MAX_BYTES) {
    if (slice.over) {
      task.progress().moved = moved;
      const result = task.giveWay();
      return result === BLOCKED ? result : moved;
    }
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
  const target = task.pids.tasks.get(call.pid);
  if (target === undefined || target.runState >= RUN_ZOMBIE) return -ESRCH;
  if (!mayAccess(task, target)) return -EPERM;
  return write ? move(task, task.mm, local, target.mm, remote) : move(task, target.mm, remote, task.mm, local);
}

export const process_vm_readv = syscall("process_vm_readv", ARGS, (task, call) => transfer(task, call, false));
export const process_vm_writev = syscall("process_vm_writev", ARGS, (task, call) => transfer(task, call, true));
