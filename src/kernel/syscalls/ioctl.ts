/**
 * ioctl: the requests that every file answers alike; the rest is the file's.
 *
 * Manual pages: ioctl(2), ioctl_list(2). Linux: fs/ioctl.c.
 */
import { EBADF, EFAULT, EISDIR, ENOTTY } from "../abi/errno.ts";
import { FASYNC, O_NONBLOCK } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFREG } from "../abi/stat.ts";
import { addr, fd, oneOf } from "../args.ts";
import { setAsync } from "../ipc/async-io.ts";
import { syscall } from "../syscall.ts";
import { callFile } from "../vfs/read-write.ts";

const REQUEST = {
  TCGETS: 0x5401,
  TCSETS: 0x5402,
  TCSETSW: 0x5403,
  TCSETSF: 0x5404,
  TIOCSCTTY: 0x540e,
  TIOCGPGRP: 0x540f,
  TIOCSPGRP: 0x5410,
  TIOCGWINSZ: 0x5413,
  TIOCSWINSZ: 0x5414,
  FIONREAD: 0x541b,
  FIONBIO: 0x5421,
  TIOCNOTTY: 0x5422,
  FIONCLEX: 0x5450,
  FIOCLEX: 0x5451,
  FIOASYNC: 0x5452,
  FIOQSIZE: 0x5460,
};

export const ioctl = syscall("ioctl", { fd, request: oneOf(REQUEST), arg: addr }, (task, call) => {
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  const request = call.request >>> 0;
  switch (request) {
    case REQUEST.FIOCLEX:
      task.files.setCloexec(call.fd, true);
      return 0;
    case REQUEST.FIONCLEX:
      task.files.setCloexec(call.fd, false);
      return 0;
    case REQUEST.FIONBIO:
    case REQUEST.FIOASYNC: {
      const on = task.mm.readU32(call.arg);
      if (on < 0) return -EFAULT;
      const bit = request === REQUEST.FIONBIO ? O_NONBLOCK : FASYNC;
      const next = on !== 0 ? file.flags | bit : file.flags & ~bit;
      const result = file.flagsChanging(next);
      if (result < 0) return result;
      if (bit === FASYNC && next !== file.flags) setAsync(file, call.fd, on !== 0);
      file.flags = next;
      return 0;
    }
    case REQUEST.FIONREAD:
    case REQUEST.FIOQSIZE: {
      const type = file.inode === null ? 0 : file.inode.type;
      if (type === S_IFREG) {
        const size = file.size();
        if (size < 0) return size;
        if (request === REQUEST.FIOQSIZE) return task.mm.writeU64(call.arg, size);
        return task.mm.writeU32(call.arg, size - file.seek(task, 0, 1));
      }
      if (request === REQUEST.FIOQSIZE && type === S_IFDIR) return task.mm.writeU64(call.arg, Math.max(0, file.size()));
      break;
    }
  }
  const result = file.ioctl(task, request, call.arg);
  return result === -EISDIR ? -ENOTTY : result;
});
