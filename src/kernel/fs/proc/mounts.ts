/**
 * /proc/PID/{mountinfo,mounts,mountstats}: the mounts that a process can reach from its root.
 *
 * Source: proc_pid_mountinfo(5), fstab(5) for the escapes.
 */
import { majorOf, minorOf } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import { RUN_ZOMBIE } from "../../task/task.ts";
import {
  type Dentry,
  MNT_NOATIME,
  MNT_NODEV,
  MNT_NOEXEC,
  MNT_NOSUID,
  MNT_RDONLY,
  type Mount,
} from "../../vfs/dentry.ts";
import { escapeName } from "./units.ts";

const SPECIAL = " \t\n\\#";

function mountOptions(flags: number): string {
  let out = flags & MNT_RDONLY ? "ro" : "rw";
  if (flags & MNT_NOSUID) out += ",nosuid";
  if (flags & MNT_NODEV) out += ",nodev";
  if (flags & MNT_NOEXEC) out += ",noexec";
  out += flags & MNT_NOATIME ? ",noatime" : ",relatime";
  return out;
}

/** Options of the file system itself: a file system may tell more of them (size=…, mode=…). */
function superOptions(mount: Mount): string {
  const { options } = mount.fs as { options?: unknown };
  const own = typeof options === "string" ? options : "";
  return own === "" ? "rw" : `rw,${own}`;
}

/** Path of a dentry inside its file system. */
function pathInside(dentry: Dentry): string {
  let path = "";
  for (let at = dentry; at.parent !== null && at.parent !== at; at = at.parent) path = `/${at.name}${path}`;
  return path === "" ? "/" : path;
}

const visible = (task: Task): { mount: Mount; path: string }[] =>
  task.runState >= RUN_ZOMBIE ? [] : task.kernel.mounts.seenFrom(task.fs.root);

export function mountinfo(task: Task): string {
  let out = "";
  for (const { mount, path } of visible(task)) {
    const { dev, type, source } = mount.fs;
    out +=
      `${mount.id} ${mount.parent?.id ?? 0} ${majorOf(dev)}:${minorOf(dev)} ${escapeName(pathInside(mount.root), SPECIAL)} ` +
      `${escapeName(path, SPECIAL)} ${mountOptions(mount.flags)} - ${type} ${escapeName(source, SPECIAL)} ${superOptions(mount)}\n`;
  }
  return out;
}

export function mounts(task: Task): string {
  let out = "";
  for (const { mount, path } of visible(task)) {
    const inner = superOptions(mount).replace(/^rw,?/, "");
    const options = mountOptions(mount.flags) + (inner === "" ? "" : `,${inner}`);
    out += `${escapeName(mount.fs.source, SPECIAL)} ${escapeName(path, SPECIAL)} ${mount.fs.type} ${options} 0 0\n`;
  }
  return out;
}

export function mountstats(task: Task): string {
  let out = "";
  for (const { mount, path } of visible(task))
    out += `device ${escapeName(mount.fs.source, SPECIAL)} mounted on ${escapeName(path, SPECIAL)} with fstype ${mount.fs.type}\n`;
  return out;
}
