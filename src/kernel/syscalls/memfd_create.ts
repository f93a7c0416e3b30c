/**
 * memfd_create: a file in memory without a name.
 *
 * Manual page: memfd_create(2). The file is tmpfs', see fs/tmpfs/memory-file.ts. Gap: MFD_HUGETLB is refused.
 */

import { encodeName } from "../abi/bytes.ts";
import { EINVAL } from "../abi/errno.ts";
import { O_LARGEFILE, O_RDWR } from "../abi/fcntl.ts";
import { cstring, flags } from "../args.ts";
import { createMemoryFile } from "../fs/tmpfs/memory-file.ts";
import { syscall } from "../syscall.ts";
import { installFile } from "../vfs/close-file.ts";

const MFD = { MFD_CLOEXEC: 1, MFD_ALLOW_SEALING: 2, MFD_HUGETLB: 4, MFD_NOEXEC_SEAL: 8, MFD_EXEC: 16 };
const F_SEAL_SEAL = 1;
const F_SEAL_EXEC = 32;
/** NAME_MAX less "memfd:". */
const LONGEST_NAME = 249;

export const memfd_create = syscall("memfd_create", { name: cstring, flags: flags(MFD) }, (task, call) => {
  const known = MFD.MFD_CLOEXEC | MFD.MFD_ALLOW_SEALING | MFD.MFD_NOEXEC_SEAL | MFD.MFD_EXEC;
  if (call.flags & ~known) return -EINVAL;
  if (call.flags & MFD.MFD_NOEXEC_SEAL && call.flags & MFD.MFD_EXEC) return -EINVAL;
  if (encodeName(call.name).length > LONGEST_NAME) return -EINVAL;
  const noExec = (call.flags & MFD.MFD_NOEXEC_SEAL) !== 0;
  const seals = noExec ? F_SEAL_EXEC : call.flags & MFD.MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL;
  const owner = { mode: noExec ? 0o666 : 0o777, uid: task.cred.fsuid, gid: task.cred.fsgid };
  const file = createMemoryFile(task.kernel, `memfd:${call.name}`, O_RDWR | O_LARGEFILE, owner, seals);
  if (typeof file === "number") return file;
  file.allowExecution();
  return installFile(task, file, (call.flags & MFD.MFD_CLOEXEC) !== 0);
});
