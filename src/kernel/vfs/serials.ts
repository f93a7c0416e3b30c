/**
 * Numbers that are given out once: inode numbers of files without an inode (pipes, sockets, anonymous inodes), and cookies of
 * inotify's moves. They are the kernel's (`Kernel.serials`); kernels of one process share them.
 */
import { remade } from "../state/registry.ts";

class Serials {
  lastIno = 1000;
  lastCookie = 0;
}

export const serials = new Serials();

remade("serials", Serials, {
  key: ({ lastIno, lastCookie }) => ({ lastIno, lastCookie }),
  make: ({ lastIno, lastCookie }: { lastIno: number; lastCookie: number }) => {
    serials.lastIno = Math.max(serials.lastIno, lastIno);
    serials.lastCookie = Math.max(serials.lastCookie, lastCookie);
    return serials;
  },
});
