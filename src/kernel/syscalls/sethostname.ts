/** sethostname, setdomainname. Manual pages: sethostname(2), setdomainname(2). */
import { decodeName } from "../abi/bytes.ts";
import { EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { inBuffer, int } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";

const NAME_MAX = 64;

function readName(task: Task, at: number, length: number): string | number {
  if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
  if (length < 0 || length > NAME_MAX) return -EINVAL;
  const bytes = new Uint8Array(length);
  if (length > 0 && task.mm.readBytes(at, bytes) < 0) return -EFAULT;
  const end = bytes.indexOf(0);
  return decodeName(bytes, 0, end < 0 ? length : end);
}

export const sethostname = syscall("sethostname", { name: inBuffer("len"), len: int }, (task, call) => {
  const name = readName(task, call.name, call.len);
  if (typeof name === "number") return name;
  task.container.uts.hostname = name;
  return 0;
});

export const setdomainname = syscall("setdomainname", { name: inBuffer("len"), len: int }, (task, call) => {
  const name = readName(task, call.name, call.len);
  if (typeof name === "number") return name;
  task.container.uts.domainname = name;
  return 0;
});
