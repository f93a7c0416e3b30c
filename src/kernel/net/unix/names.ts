/**
 * Names of unix sockets: parsing sockaddr_un, the table of abstract names, autobind.
 *
 * Source: unix(7), Linux net/unix/af_unix.c. An abstract name is all bytes after the leading NUL; sockets of different
 * types may have the same one. A file-system name is a NUL-terminated path, found through its inode.
 */

import { decodeName } from "../../abi/bytes.ts";
import { EINVAL } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import { AF_UNIX } from "../abi.ts";
import type { UnixSocket } from "./unix-socket.ts";

/** sizeof(struct sockaddr_un). */
const SOCKADDR_UN = 110;

/** Address without a name, as an unnamed socket shows itself. */
export const UNNAMED = Uint8Array.of(AF_UNIX, 0);

/** Is it a proper unix address with a name? 0 or -EINVAL. */
export function checkAddress(addr: Uint8Array): number {
  if (addr.length <= 2 || addr.length > SOCKADDR_UN) return -EINVAL;
  return (addr[0]! | (addr[1]! << 8)) === AF_UNIX ? 0 : -EINVAL;
}

export function isAbstract(addr: Uint8Array): boolean {
  return addr[2] === 0;
}

/** Length of a path address up to its NUL; the path may fill the structure without one. */
function pathEnd(addr: Uint8Array): number {
  const nul = addr.indexOf(0, 2);
  return nul < 0 ? addr.length : nul;
}

export function addressPath(addr: Uint8Array): string {
  return decodeName(addr, 2, pathEnd(addr));
}

/** A path address as getsockname shows it: with exactly one NUL. */
export function pathAddress(addr: Uint8Array): Uint8Array {
  const end = pathEnd(addr);
  const bytes = new Uint8Array(end + 1);
  bytes.set(addr.subarray(0, end));
  return bytes;
}

export class UnixNames {
  private readonly abstract = new Map<string, UnixSocket>();
  private lastAutobind = 0;

  private key(addr: Uint8Array, type: number): string {
    return type + Buffer.from(addr.buffer, addr.byteOffset + 2, addr.length - 2).toString("latin1");
  }

  find(addr: Uint8Array, type: number): UnixSocket | undefined {
    return this.abstract.get(this.key(addr, type));
  }

  /** False when the name is taken. */
  add(addr: Uint8Array, socket: UnixSocket): boolean {
    const key = this.key(addr, socket.sockType);
    if (this.abstract.has(key)) return false;
    this.abstract.set(key, socket);
    return true;
  }

  remove(addr: Uint8Array, socket: UnixSocket): void {
    const key = this.key(addr, socket.sockType);
    if (this.abstract.get(key) === socket) this.abstract.delete(key);
  }

  /** A free abstract name of five hexadecimal digits, taken for `socket`; null when all are taken. */
  autobind(socket: UnixSocket): Uint8Array | null {
    for (let tries = 0; tries < 0x100000; tries++) {
      this.lastAutobind = (this.lastAutobind + 1) & 0xfffff;
      const digits = this.lastAutobind.toString(16).padStart(5, "0");
      const addr = Uint8Array.from([AF_UNIX, 0, 0, ...Buffer.from(digits)]);
      if (this.add(addr, socket)) return addr;
    }
    return null;
  }

  /** Every abstract name in use, for /proc/net/unix. */
  *sockets(): Iterable<UnixSocket> {
    yield* this.abstract.values();
  }
}

persistent("unix-names", UnixNames);
