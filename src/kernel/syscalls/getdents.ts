/**
 * getdents, getdents64: names in a directory.
 *
 * Manual page: getdents(2). Linux: fs/readdir.c. Gaps: none known.
 */

import { encodeName } from "../abi/bytes.ts";
import { EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR } from "../abi/errno.ts";
import { S_IFDIR } from "../abi/stat.ts";
import { fd, outBuffer, uint } from "../args.ts";
import { setU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { IN_ACCESS, notifyFile, watching } from "../vfs/watches.ts";

/** Bytes given out by one call, at most; a larger buffer is filled by several. */
const BUFFER = 64 * 1024;
const bytes = new Uint8Array(BUFFER);
const view = new DataView(bytes.buffer);

function list(task: Task, number: number, addr: number, count: number, old: boolean): number {
  const file = task.files.getOpen(number);
  if (file === undefined) return -EBADF;
  if (file.inode === null || file.inode.type !== S_IFDIR) return -ENOTDIR;
  if (file.path?.dentry.deleted) return -ENOENT;
  const room = Math.min(count, BUFFER);
  let used = 0;
  let refused = false;
  const start = file.pos;
  const result = file.readdir(task, (name, ino, type, next) => {
    // Fast for what names nearly always are: short and ASCII.
    const at = used + (old ? 18 : 19);
    let length = name.length;
    if (at + length + 2 > room) {
      refused = true;
      return false;
    }
    for (let i = 0; i < length; i++) {
      const c = name.charCodeAt(i);
      if (c >= 0x80) {
        const encoded = encodeName(name);
        length = encoded.length;
        if (at + length + 2 > room) {
          refused = true;
          return false;
        }
        bytes.set(encoded, at);
        break;
      }
      bytes[at + i] = c;
    }
    const size = Math.ceil(((old ? 18 : 19) + length + 1 + (old ? 1 : 0)) / 8) * 8;
    if (used + size > room) {
      refused = true;
      return false;
    }
    bytes.fill(0, at + length, used + size);
    setU64(view, used, ino);
    setU64(view, used + 8, next);
    view.setUint16(used + 16, size, true);
    bytes[old ? used + size - 1 : used + 18] = type;
    used += size;
    return true;
  });
  if (result < 0) return result;
  if (used === 0) return refused ? -EINVAL : 0;
  if (task.mm.writeBytes(addr, bytes, used) < 0) {
    file.pos = start;
    return -EFAULT;
  }
  if (watching.count > 0) notifyFile(file, IN_ACCESS);
  return used;
}

export const getdents = syscall("getdents", { fd, dirent: outBuffer(), count: uint }, (task, call) =>
  list(task, call.fd, call.dirent, call.count, true),
);

export const getdents64 = syscall("getdents64", { fd, dirent: outBuffer(), count: uint }, (task, call) =>
  list(task, call.fd, call.dirent, call.count, false),
);
