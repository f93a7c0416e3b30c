/**
 * What /proc tells of the machine: read from the host once, before the sandbox locks itself in.
 *
 * Invariant: plain data; descriptors are -1 when the host does not give them, and the numbers are estimated then.
 */

import { closeFd, openat2, pread, readFd } from "../../../native/host.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { AT_FDCWD } from "../../abi/fcntl.ts";

export interface HostInfo {
  /** Text of the host's /proc/cpuinfo. */
  cpuinfo: string;
  cpuCount: number;
  /** KiB. */
  memTotal: number;
  /** The host's /proc/meminfo, open for reading: what can still be had changes with what the host does. */
  meminfoFd: number;
  /**
   * A proc file system of the sandbox's own pid namespace (option subset=pid), where the stub processes are: gives
   * memory use and processor time of guests.
   */
  procFd: number;
}

export const NO_HOST_INFO: HostInfo = {
  cpuinfo: "processor\t: 0\n\n",
  cpuCount: 1,
  memTotal: 1 << 20,
  meminfoFd: -1,
  procFd: -1,
};

function open(path: string): number {
  return openat2(AT_FDCWD, encodeCString(path), 0, 0, 0);
}

/** Reads a file of the host's /proc to its end, at most `limit` bytes. */
function readAll(path: string, limit: number): string {
  const fd = open(path);
  if (fd < 0) return "";
  const buffer = new Uint8Array(limit);
  let have = 0;
  while (have < limit) {
    const n = readFd(fd, buffer.subarray(have), limit - have);
    if (n <= 0) break;
    have += n;
  }
  closeFd(fd);
  return Buffer.from(buffer.buffer, 0, have).toString("latin1");
}

const scratch = new Uint8Array(16384);
/** Text of an open file of the host's /proc from its start, at most 16 KiB; "" when there is none. */
export function readHostFile(fd: number): string {
  if (fd < 0) return "";
  const n = pread(fd, scratch, scratch.length, 0);
  return n <= 0 ? "" : Buffer.from(scratch.buffer, 0, n).toString("latin1");
}

/** Call before the jail, while the host's /proc is in sight. */
export function collectHostInfo(procFd = -1): HostInfo {
  const cpuinfo = readAll("/proc/cpuinfo", 4 << 20);
  const count = cpuinfo.match(/^processor\s*:/gm)?.length ?? 0;
  const meminfoFd = open("/proc/meminfo");
  const total = readHostFile(meminfoFd).match(/^MemTotal:\s+(\d+)/m);
  return {
    cpuinfo: cpuinfo || NO_HOST_INFO.cpuinfo,
    cpuCount: Math.max(1, count),
    memTotal: total ? Number(total[1]) : NO_HOST_INFO.memTotal,
    meminfoFd: Math.max(-1, meminfoFd),
    procFd,
  };
}
