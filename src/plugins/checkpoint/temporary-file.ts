/** Files without a name: in memory, or in a directory. */
import { constants, openSync } from "node:fs";
import { isErrno, RuntimeError } from "../../core/errors.ts";
import { fcntl, memfdCreate } from "../../native/host.ts";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** SEAL, SHRINK, GROW, WRITE. */
const ALL_SEALS = 0xf;
const O_TMPFILE = 0o20200000;

/** In memory, too, where the directory cannot hold such files. */
export function temporaryFile(name: string, directory: string | undefined): number {
  if (directory !== undefined) {
    try {
      return openSync(directory, constants.O_RDWR | O_TMPFILE, 0o600);
    } catch (error) {
      if (!isErrno(error, "EOPNOTSUPP", "EISDIR", "ENOENT", "EINVAL")) throw error;
    }
  }
  const fd = memfdCreate(Buffer.from(`${name}\0`), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new RuntimeError("host", `cannot make a file in memory (errno ${-fd})`);
  return fd;
}

/**
 * Nobody can change it any more, where that can be had: a file in a directory has no seals, and then who could write it,
 * the sandbox that it was written by, still can.
 */
export function seal(fd: number): void {
  fcntl(fd, F_ADD_SEALS, ALL_SEALS);
}
