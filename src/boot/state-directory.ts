/**
 * A container's state directory. The command makes the control socket there; the sandbox process, which has a mount of its
 * own of the directory, so that nothing above is in reach, writes how the container ended.
 */
import { closeSync, openSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { AT_SYMLINK_NOFOLLOW, O_CREAT, O_TRUNC, O_WRONLY } from "../kernel/abi/fcntl.ts";
import { ST, ST_LENGTH, statHost } from "../native/files.ts";
import { closeFd, fchownat, listen, openat2, renameat2, unixBind, unixSocket, writeFd } from "../native/host.ts";

const SOCK_STREAM = 1;

/** What the sandbox process makes there belongs to whom the directory belongs to. */
function giveToOwner(directory: number, name: Uint8Array): void {
  const out = new Float64Array(ST_LENGTH);
  if (statHost(directory, encodeCString(""), out) < 0) return;
  fchownat(directory, name, out[ST.uid]!, out[ST.gid]!, AT_SYMLINK_NOFOLLOW);
}

/** A control socket there, listening. */
export function listenIn(path: string): number {
  // sun_path is short: go through a descriptor of the directory.
  const directory = openSync(path, "r");
  const socket = unixSocket(SOCK_STREAM);
  const name = encodeCString(`/proc/self/fd/${directory}/control.sock`);
  // For its owner alone, whatever the umask of who called: it says what runs in the container.
  const umask = process.umask(0o177);
  const bound = unixBind(socket, name, name.length);
  process.umask(umask);
  closeSync(directory);
  const result = bound < 0 ? bound : listen(socket, 64);
  if (result === 0) return socket;
  closeFd(socket);
  throw new RuntimeError("sandbox", `cannot listen in the state directory ${path}: ${errnoName(-result)}`);
}

/** Writes a file there, whole or not at all. */
export function writeState(directory: number, name: string, text: string): void {
  const temporary = encodeCString(`.${name}`);
  const fd = openat2(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0o640, 0);
  if (fd < 0) return;
  const bytes = Buffer.from(text);
  const written = writeFd(fd, bytes, bytes.length);
  closeFd(fd);
  giveToOwner(directory, temporary);
  if (written === bytes.length) renameat2(directory, temporary, directory, encodeCString(name), 0);
}
