/** A writer of tar archives: pax (POSIX.1-2001) over ustar, as tar(5) has it. */
import {
  majorOf,
  minorOf,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../kernel/abi/stat.ts";

const RECORD = 512;
const NAME_MAX = 100;
const OCTAL_MAX = 8 ** 11;
const ID_MAX = 8 ** 7;

/** By the types of stat. What has no place in an archive (sockets) has no letter. */
const LETTERS: ReadonlyMap<number, string> = new Map([
  [S_IFREG, "0"],
  [S_IFLNK, "2"],
  [S_IFCHR, "3"],
  [S_IFBLK, "4"],
  [S_IFDIR, "5"],
  [S_IFIFO, "6"],
]);

export interface TarEntry {
  path: Uint8Array;
  mode: number;
  uid: number;
  gid: number;
  mtimeSec: number;
  size: number;
  /** Of a symbolic link. */
  target: Uint8Array;
  device: number;
  contents(): Iterable<Uint8Array>;
}

/** `hardLink`: the path of an entry before, whose other name this one is. Nothing for what cannot be in an archive. */
export function* tarEntry(entry: TarEntry, hardLink: Uint8Array | null = null): Generator<Uint8Array> {
  const letter = hardLink === null ? LETTERS.get(entry.mode & S_IFMT) : "1";
  if (letter === undefined) return;
  const path = letter === "5" ? Buffer.concat([entry.path, Buffer.from("/")]) : Buffer.from(entry.path);
  const target = Buffer.from(hardLink ?? entry.target);
  const size = letter === "0" ? entry.size : 0;
  yield* extended(entry, path, target, size);
  yield header(path, letter, entry, target, size);
  if (letter !== "0") return;
  let written = 0;
  for (const bytes of entry.contents()) {
    written += bytes.length;
    yield bytes;
  }
  if (written !== size) throw new Error(`a file has ${written} bytes, not ${size}`);
  yield padding(size);
}

/** What ends an archive. */
export const tarEnd = (): Uint8Array => Buffer.alloc(2 * RECORD);

const padding = (size: number): Uint8Array => Buffer.alloc((RECORD - (size % RECORD)) % RECORD);

/** A header of its own for what does not fit into the usual one. */
function* extended(entry: TarEntry, path: Buffer, target: Buffer, size: number): Generator<Uint8Array> {
  const records: Buffer[] = [];
  const add = (key: string, value: Buffer | string) => records.push(paxRecord(key, Buffer.from(value as string)));
  if (path.length > NAME_MAX) add("path", path);
  if (target.length > NAME_MAX) add("linkpath", target);
  if (size >= OCTAL_MAX) add("size", `${size}`);
  if (entry.uid >= ID_MAX) add("uid", `${entry.uid}`);
  if (entry.gid >= ID_MAX) add("gid", `${entry.gid}`);
  if (records.length === 0) return;
  const body = Buffer.concat(records);
  const own = { ...entry, mode: 0o644, device: 0 };
  yield header(Buffer.from("PaxHeader"), "x", own, Buffer.alloc(0), body.length);
  yield body;
  yield padding(body.length);
}

/** "LENGTH KEY=VALUE\n", the length that of the whole. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

function header(path: Buffer, letter: string, entry: TarEntry, target: Buffer, size: number): Buffer {
  const bytes = Buffer.alloc(RECORD);
  const octal = (value: number, at: number, digits: number) => {
    const most = 8 ** digits - 1;
    const text = Math.min(Math.max(0, Math.trunc(value)), most).toString(8);
    bytes.write(text.padStart(digits, "0"), at, "latin1");
  };
  path.copy(bytes, 0, 0, NAME_MAX);
  octal(entry.mode & 0o7777, 100, 7);
  octal(entry.uid, 108, 7);
  octal(entry.gid, 116, 7);
  octal(size, 124, 11);
  octal(entry.mtimeSec, 136, 11);
  bytes.fill(" ", 148, 156);
  bytes.write(letter, 156, "latin1");
  target.copy(bytes, 157, 0, NAME_MAX);
  bytes.write("ustar\u000000", 257, "latin1");
  const isDevice = letter === "3" || letter === "4";
  octal(isDevice ? majorOf(entry.device) : 0, 329, 7);
  octal(isDevice ? minorOf(entry.device) : 0, 337, 7);
  const sum = bytes.reduce((all, byte) => all + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return bytes;
}
