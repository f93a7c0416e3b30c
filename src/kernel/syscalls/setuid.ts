/**
 * User and group ids: get/set uid, gid, re-, res- and fs- families, groups.
 *
 * Manual pages: credentials(7), setuid(2), setreuid(2), setresuid(2), setfsuid(2), getgroups(2). As in Linux they act
 * on the calling thread; C libraries spread a change over all threads. The capability rules are task/set-ids.ts'.
 */
import { EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { addr, int, outStruct, uid } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SETGID, CAP_SETUID, capable } from "../task/credentials.ts";
import { changeCredentials, changeFsUid, changeUids } from "../task/set-ids.ts";
import type { Task } from "../task/task.ts";

const KEEP = 0xffffffff;

export const getuid = syscall("getuid", {}, (task) => task.cred.uid);
export const geteuid = syscall("geteuid", {}, (task) => task.cred.euid);
export const getgid = syscall("getgid", {}, (task) => task.cred.gid);
export const getegid = syscall("getegid", {}, (task) => task.cred.egid);

function writeThree(task: Task, at: readonly number[], values: readonly number[]): number {
  for (let i = 0; i < 3; i++) if (task.mm.writeU32(at[i]!, values[i]!) < 0) return -EFAULT;
  return 0;
}
export const getresuid = syscall(
  "getresuid",
  { ruid: outStruct(), euid: outStruct(), suid: outStruct() },
  (task, call) => writeThree(task, [call.ruid, call.euid, call.suid], [task.cred.uid, task.cred.euid, task.cred.suid]),
);
export const getresgid = syscall(
  "getresgid",
  { rgid: outStruct(), egid: outStruct(), sgid: outStruct() },
  (task, call) => writeThree(task, [call.rgid, call.egid, call.sgid], [task.cred.gid, task.cred.egid, task.cred.sgid]),
);

export const setuid = syscall("setuid", { uid }, (task, call) => {
  const old = task.cred;
  if (call.uid === KEEP) return -EINVAL;
  if (capable(old, CAP_SETUID)) return changeUids(task, call.uid, call.uid, call.uid);
  if (call.uid !== old.uid && call.uid !== old.suid) return -EPERM;
  return changeUids(task, old.uid, call.uid, old.suid);
});

export const setgid = syscall("setgid", { gid: uid }, (task, call) => {
  const old = task.cred;
  const gid = call.gid;
  if (gid === KEEP) return -EINVAL;
  if (capable(old, CAP_SETGID)) return changeCredentials(task, { ...old, gid, egid: gid, sgid: gid, fsgid: gid });
  if (gid !== old.gid && gid !== old.sgid) return -EPERM;
  return changeCredentials(task, { ...old, egid: gid, fsgid: gid });
});

export const setreuid = syscall("setreuid", { ruid: uid, euid: uid }, (task, call) => {
  const old = task.cred;
  const able = capable(old, CAP_SETUID);
  const real = call.ruid === KEEP ? old.uid : call.ruid;
  const effective = call.euid === KEEP ? old.euid : call.euid;
  if (call.ruid !== KEEP && real !== old.uid && real !== old.euid && !able) return -EPERM;
  if (call.euid !== KEEP && effective !== old.uid && effective !== old.euid && effective !== old.suid && !able)
    return -EPERM;
  const moveSaved = call.ruid !== KEEP || (call.euid !== KEEP && effective !== old.uid);
  return changeUids(task, real, effective, moveSaved ? effective : old.suid);
});

export const setregid = syscall("setregid", { rgid: uid, egid: uid }, (task, call) => {
  const old = task.cred;
  const able = capable(old, CAP_SETGID);
  const gid = call.rgid === KEEP ? old.gid : call.rgid;
  const egid = call.egid === KEEP ? old.egid : call.egid;
  if (call.rgid !== KEEP && gid !== old.gid && gid !== old.egid && !able) return -EPERM;
  if (call.egid !== KEEP && egid !== old.gid && egid !== old.egid && egid !== old.sgid && !able) return -EPERM;
  const moveSaved = call.rgid !== KEEP || (call.egid !== KEEP && egid !== old.gid);
  return changeCredentials(task, { ...old, gid, egid, sgid: moveSaved ? egid : old.sgid, fsgid: egid });
});

export const setresuid = syscall("setresuid", { ruid: uid, euid: uid, suid: uid }, (task, { ruid, euid, suid }) => {
  const old = task.cred;
  const mine = [KEEP, old.uid, old.euid, old.suid];
  if (!capable(old, CAP_SETUID) && ![ruid, euid, suid].every((id) => mine.includes(id))) return -EPERM;
  return changeUids(
    task,
    ruid === KEEP ? old.uid : ruid,
    euid === KEEP ? old.euid : euid,
    suid === KEEP ? old.suid : suid,
  );
});

export const setresgid = syscall("setresgid", { rgid: uid, egid: uid, sgid: uid }, (task, { rgid, egid, sgid }) => {
  const old = task.cred;
  const mine = [KEEP, old.gid, old.egid, old.sgid];
  if (!capable(old, CAP_SETGID) && ![rgid, egid, sgid].every((id) => mine.includes(id))) return -EPERM;
  const effective = egid === KEEP ? old.egid : egid;
  return changeCredentials(task, {
    ...old,
    gid: rgid === KEEP ? old.gid : rgid,
    egid: effective,
    sgid: sgid === KEEP ? old.sgid : sgid,
    fsgid: effective,
  });
});

/** setfsuid and setfsgid give the old id, whether or not they changed it. */
export const setfsuid = syscall("setfsuid", { uid }, (task, call) => {
  const old = task.cred;
  const allowed = [old.uid, old.euid, old.suid, old.fsuid].includes(call.uid) || capable(old, CAP_SETUID);
  if (call.uid !== KEEP && allowed) changeFsUid(task, call.uid);
  return old.fsuid;
});
export const setfsgid = syscall("setfsgid", { gid: uid }, (task, call) => {
  const old = task.cred;
  const allowed = [old.gid, old.egid, old.sgid, old.fsgid].includes(call.gid) || capable(old, CAP_SETGID);
  if (call.gid !== KEEP && allowed) changeCredentials(task, { ...old, fsgid: call.gid });
  return old.fsgid;
});

const NGROUPS_MAX = 65536;

export const getgroups = syscall("getgroups", { size: int, list: outStruct() }, (task, { size, list }) => {
  const { groups } = task.cred;
  if (size < 0) return -EINVAL;
  if (size === 0) return groups.length;
  if (groups.length > size) return -EINVAL;
  const words = Uint32Array.from(groups);
  return task.mm.writeBytes(list, new Uint8Array(words.buffer)) < 0 ? -EFAULT : groups.length;
});

export const setgroups = syscall("setgroups", { size: int, list: addr }, (task, { size, list }) => {
  if (!capable(task.cred, CAP_SETGID)) return -EPERM;
  if (size < 0 || size > NGROUPS_MAX) return -EINVAL;
  const words = new Uint32Array(size);
  if (task.mm.readBytes(list, new Uint8Array(words.buffer), size * 4) < 0) return -EFAULT;
  if (words.includes(KEEP)) return -EINVAL;
  // Linux keeps them sorted, and shows them so.
  return changeCredentials(task, { ...task.cred, groups: [...words.sort()] });
});
