/**
 * times, getrusage: processor time used.
 *
 * Manual pages: times(2), getrusage(2). See time/cpu-time.ts for where the numbers come from. Gap: of struct rusage
 * ru_maxrss, ru_nvcsw and the times are filled in.
 */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { oneOf, outStruct } from "../args.ts";
import { memoryUse } from "../fs/proc/usage.ts";
import { setU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import { processCpuNs, threadCpuNs } from "../time/cpu-time.ts";

/** One clock tick (sysconf(_SC_CLK_TCK) = 100). */
const TICK_NS = 1e7;
const RUSAGE = { RUSAGE_SELF: 0, RUSAGE_CHILDREN: -1, RUSAGE_THREAD: 1 };
const RUSAGE_SIZE = 144;

const bytes = new Uint8Array(RUSAGE_SIZE);
const view = new DataView(bytes.buffer);

export const times = syscall("times", { buf: outStruct() }, (task, call) => {
  const { process } = task;
  if (call.buf !== 0) {
    const all = [processCpuNs(process), process.systemTime, process.childrenUserTime, process.childrenSystemTime];
    all[0]! -= process.systemTime;
    all.forEach((ns, i) => {
      setU64(view, 8 * i, Math.floor(ns / TICK_NS));
    });
    if (task.mm.writeBytes(call.buf, bytes, 32) < 0) return -EFAULT;
  }
  return Math.floor(task.kernel.now() / TICK_NS);
});

export const getrusage = syscall("getrusage", { who: oneOf(RUSAGE), usage: outStruct() }, (task, call) => {
  const { process } = task;
  let user: number;
  let system = 0;
  let resident = 0;
  let switches = 0;
  switch (call.who) {
    case RUSAGE.RUSAGE_SELF:
      system = process.systemTime;
      user = processCpuNs(process) - system;
      for (const thread of process.tasks) switches += thread.blocks;
      break;
    case RUSAGE.RUSAGE_THREAD:
      user = threadCpuNs(task);
      switches = task.blocks;
      break;
    case RUSAGE.RUSAGE_CHILDREN:
      user = process.childrenUserTime;
      system = process.childrenSystemTime;
      break;
    default:
      return -EINVAL;
  }
  if (call.who !== RUSAGE.RUSAGE_CHILDREN) resident = memoryUse(task.kernel, task.mm, null).resident;
  bytes.fill(0);
  [user, system].forEach((ns, i) => {
    setU64(view, 16 * i, Math.floor(ns / 1e9));
    setU64(view, 16 * i + 8, Math.floor((ns % 1e9) / 1000));
  });
  setU64(view, 32, Math.floor(resident / 1024));
  setU64(view, 128, switches);
  return task.mm.writeBytes(call.usage, bytes);
});
