/** Host memory files (memfds) of guests in a saved kernel: their bytes are in the image's pages, holes stay holes. */
import { dataExtents } from "../../native/extents.ts";
import { guestMemfd } from "../../native/guest-descriptors.ts";
import { closeFd, ftruncate, lseek, pread, pwrite } from "../../native/host.ts";
import { errnoName } from "../abi/errno.ts";
import type { Stored } from "./host.ts";
import type { Form } from "./registry.ts";
import type { Restore } from "./restore.ts";
import type { Save } from "./save.ts";

const SEEK_END = 2;
const MFD_CLOEXEC = 1;
const STEP = 1 << 20;

/** A field that holds the descriptor of a memfd. `name`: the new one's, NUL-terminated. */
export function memoryFile<T>(name: Uint8Array): Form<T> {
  return {
    save: (fd: number, _object: T, { sink }: Save): Stored => sink.storeFile(fd, checked(lseek(fd, 0, SEEK_END))),
    restore: (stored: Stored, _object: T, { host }: Restore): number => loadMemoryFile(name, stored, host.pages),
  };
}

/** A new memfd with bytes of the image. */
export function loadMemoryFile(name: Uint8Array, { at, length }: Stored, pages: number, flags = MFD_CLOEXEC): number {
  const fd = checked(guestMemfd(name, flags));
  try {
    checked(ftruncate(fd, length));
    copy(pages, at, fd, length);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** Copies data from `at` on, but no holes. */
function copy(from: number, at: number, to: number, length: number): void {
  const end = at + length;
  const buffer = new Uint8Array(Math.min(STEP, length));
  for (const [data, hole] of dataExtents(from, at, end)) copyBytes(from, data, to, data - at, hole - data, buffer);
}

/** Copies all bytes of a range of the image's pages, `buffer` by `buffer`, into a memory file. */
export function copyBytes(
  pages: number,
  at: number,
  to: number,
  offset: number,
  length: number,
  buffer: Uint8Array,
): void {
  for (let done = 0; done < length; ) {
    const n = checked(pread(pages, buffer, Math.min(buffer.length, length - done), at + done));
    if (n === 0) throw new Error("pages: shorter than the objects say");
    if (checked(pwrite(to, buffer, n, offset + done)) < n) throw new Error("pages: no room for a memory file");
    done += n;
  }
}

export function checked(result: number): number {
  if (result < 0) throw new Error(`memory file: ${errnoName(-result)}`);
  return result;
}
