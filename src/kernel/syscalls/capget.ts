/** capget, capset. Manual page: capget(2), capabilities(7). */
import { EFAULT, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { addr } from "../args.ts";
import { syscall } from "../syscall.ts";
import { isSubset } from "../task/access.ts";
import { ALL_CAPS, CAP_SETPCAP, type CapSet, capable, intersect, union } from "../task/credentials.ts";
import { changeCredentials } from "../task/set-ids.ts";
import type { Task } from "../task/task.ts";

const VERSION_1 = 0x19980330;
const VERSION_2 = 0x20071026;
const VERSION_3 = 0x20080522;

/** Words per set, by the header's version; for an unknown version writes the preferred one and gives -EINVAL. */
function readHeader(task: Task, hdrp: number): { words: number; pid: number } | number {
  const view = task.mm.readStruct(hdrp, 4);
  if (view === null) return -EFAULT;
  const version = view.getUint32(0, true);
  const words = version === VERSION_1 ? 1 : version === VERSION_2 || version === VERSION_3 ? 2 : 0;
  if (words === 0) return task.mm.writeU32(hdrp, VERSION_3) < 0 ? -EFAULT : -EINVAL;
  const rest = task.mm.readStruct(hdrp + 4, 4);
  return rest === null ? -EFAULT : { words, pid: rest.getInt32(0, true) };
}

export const capget = syscall("capget", { hdrp: addr, datap: addr }, (task, { hdrp, datap }) => {
  const header = readHeader(task, hdrp);
  if (typeof header === "number") return header === -EINVAL && datap === 0 ? 0 : header;
  if (datap === 0) return 0;
  if (header.pid < 0) return -EINVAL;
  const target = header.pid === 0 ? task : task.pids.tasks.get(header.pid);
  if (target === undefined) return -ESRCH;
  const { effective, permitted, inheritable } = target.cred;
  const data = new Uint32Array(3 * header.words);
  for (let i = 0; i < header.words; i++) {
    data[3 * i] = i === 0 ? effective.lo : effective.hi;
    data[3 * i + 1] = i === 0 ? permitted.lo : permitted.hi;
    data[3 * i + 2] = i === 0 ? inheritable.lo : inheritable.hi;
  }
  return task.mm.writeBytes(datap, new Uint8Array(data.buffer)) < 0 ? -EFAULT : 0;
});

export const capset = syscall("capset", { hdrp: addr, datap: addr }, (task, { hdrp, datap }) => {
  const header = readHeader(task, hdrp);
  if (typeof header === "number") return header;
  if (header.pid !== 0 && header.pid !== task.tid) return -EPERM;
  const data = new Uint32Array(6);
  if (task.mm.readBytes(datap, new Uint8Array(data.buffer), header.words * 12) < 0) return -EFAULT;
  const set = (at: number): CapSet => intersect({ lo: data[at]!, hi: data[at + 3]! }, ALL_CAPS);
  const effective = set(0);
  const permitted = set(1);
  const inheritable = set(2);
  const old = task.cred;
  if (!capable(old, CAP_SETPCAP) && !isSubset(inheritable, union(old.inheritable, old.permitted))) return -EPERM;
  if (!isSubset(inheritable, union(old.inheritable, old.bounding))) return -EPERM;
  if (!isSubset(permitted, old.permitted)) return -EPERM;
  if (!isSubset(effective, permitted)) return -EPERM;
  const ambient = intersect(old.ambient, intersect(permitted, inheritable));
  return changeCredentials(task, { ...old, effective, permitted, inheritable, ambient });
});
