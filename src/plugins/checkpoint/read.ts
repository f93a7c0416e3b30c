/**
 * Opens image directories. Whoever may write one decides what runs, so it must be the caller's (or root's), and nobody
 * else's to read or write. Every part is opened once, without following links, and what was checked is what is used.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, readSync, type Stats } from "node:fs";
import { basename, join } from "node:path";
import { isErrno, RuntimeError } from "../../core/errors.ts";
import type { ImageFiles, OpenedImage, SavedContainer } from "../../core/image.ts";
import type { SandboxManifest } from "../../core/sandbox.ts";
import { digestOf, extentsProblem, type Progress, unpack } from "./blocks.ts";
import {
  type ImageManifest,
  imageError,
  MANIFEST,
  MANIFEST_MAX,
  MARKER,
  MEMORY,
  memoryName,
  OBJECTS,
  PACKED_PAGES,
  PAGES,
  type Part,
  parseManifest,
  type SparsePart,
  type Unpacked,
} from "./format.ts";
import { temporaryFile } from "./temporary-file.ts";
import { sha256Part } from "./write.ts";

export interface ReadOptions {
  /** Where packed pages are unpacked: an unlinked file there; absent: memory. */
  workPath?: string | undefined;
  progress?: Progress;
  /** Checksums and sizes are not looked at (inspect, reseal). */
  unchecked?: boolean;
}

/** A sparse part, open. */
export interface StoredPart {
  name: string;
  /** As it is stored. */
  fd: number;
  part: SparsePart;
  /** Bytes of the parts before it. */
  before: number;
  /** A copy that this image has made of what was packed; -1: none. */
  unpacked: number;
}

export class Image implements OpenedImage {
  private constructor(
    readonly directory: string,
    /** manifest.json, as it is. */
    readonly text: string,
    readonly contents: ImageManifest,
    readonly objects: number,
    readonly pagesPart: StoredPart,
    /** Of each address space. */
    readonly memoryParts: readonly StoredPart[],
    private readonly options: ReadOptions,
  ) {}

  /** Throws with the part and the reason. Pages and memory are only looked at when they are asked for. */
  static open(directory: string, options: ReadOptions = {}): Image {
    const open: number[] = [];
    const kept: number[] = [];
    try {
      const root = openDirectory(directory);
      open.push(root);
      const opened = (fd: number, keep: number[]) => {
        keep.push(fd);
        return fd;
      };
      const text = readManifest(opened(openPart(root, MANIFEST), open));
      const contents = parseManifest(text, options.unchecked === true);
      const { objects, pages, packed, memory } = contents.parts;
      const objectsFile = opened(openPart(root, OBJECTS), kept);
      let before = 0;
      const stored = (below: number, name: string, each: SparsePart): StoredPart => {
        const fd = opened(openPart(below, name), kept);
        if (options.unchecked !== true) checkSparse(name, fd, each);
        before += each.bytes;
        return { name, fd, part: each, before: before - each.bytes, unpacked: -1 };
      };
      if (options.unchecked !== true) {
        checkSize(OBJECTS, objectsFile, objects);
        if (sha256Part(objectsFile).digest !== objects.digest)
          throw imageError(OBJECTS, "damaged: its checksum is another");
      }
      const pagesPart = stored(root, pages === undefined ? PACKED_PAGES : PAGES, (pages ?? packed)!);
      const names = memory.map((_, space) => memoryName(space, packed !== undefined));
      const below = opened(openMemory(root), open);
      if (options.unchecked !== true) checkNames(below, names);
      const memoryParts = memory.map((each, space) => stored(below, names[space]!, each));
      return new Image(directory, text, contents, objectsFile, pagesPart, memoryParts, options);
    } catch (error) {
      for (const fd of kept) closeSync(fd);
      throw error instanceof RuntimeError && error.code === "image" ? ofImage(directory, error) : error;
    } finally {
      for (const fd of open) closeSync(fd);
    }
  }

  get manifest(): SandboxManifest {
    return this.contents.sandbox;
  }
  get container(): SavedContainer {
    return this.contents.container;
  }
  get others(): readonly SavedContainer[] {
    return this.contents.others ?? [];
  }

  async files(): Promise<ImageFiles> {
    const pages = await this.pages();
    const memory: number[] = [];
    for (const part of this.memoryParts) memory.push(await this.whole(part));
    return { pages, memory };
  }

  pages(): Promise<number> {
    return this.whole(this.pagesPart);
  }

  /** One part, whole, for as long as it is used: all at once may be more than one would have in memory. */
  async withPart<T>(part: StoredPart, use: (fd: number, bytes: number) => Promise<T>): Promise<T> {
    const had = part.unpacked >= 0;
    try {
      return await use(await this.whole(part), (part.part.content ?? part.part).bytes);
    } finally {
      if (!had && part.unpacked >= 0) {
        closeSync(part.unpacked);
        part.unpacked = -1;
      }
    }
  }

  /** A part that has the right checksum, unpacked. */
  private async whole(stored: StoredPart): Promise<number> {
    await this.check(stored);
    return stored.part.content === undefined ? stored.fd : await this.unpack(stored, stored.part.content);
  }

  /** That a part is as it was written. */
  async check({ name, fd, part, before }: StoredPart): Promise<void> {
    const progress = (bytes: number) => this.progress(before + bytes);
    if ((await digestOf(fd, part.bytes, progress)) !== part.digest)
      throw this.problem(name, "damaged: its checksum is another");
  }

  private problem(name: string, reason: string): RuntimeError {
    this.progress();
    return ofImage(this.directory, imageError(name, reason));
  }

  /** Of all parts. */
  private progress(bytes?: number): void {
    const last = this.memoryParts.at(-1) ?? this.pagesPart;
    const total = last.before + last.part.bytes;
    this.options.progress?.(bytes ?? total, total);
  }

  private async unpack(stored: StoredPart, content: Unpacked): Promise<number> {
    if (stored.unpacked >= 0) return stored.unpacked;
    const copy = temporaryFile("runts-pages", this.options.workPath);
    try {
      await unpack(fileChunks(stored.fd, stored.part.bytes), copy, content.bytes, content.extents);
      if ((await digestOf(copy, content.bytes)) !== content.digest) throw new Error("its checksum is another");
      stored.unpacked = openSync(`/proc/self/fd/${copy}`, "r");
      return stored.unpacked;
    } catch (error) {
      if (error instanceof RuntimeError || isErrno(error, "EMFILE", "ENFILE")) throw error;
      throw this.problem(stored.name, `cannot be unpacked: ${(error as Error).message}`);
    } finally {
      closeSync(copy);
    }
  }

  close(): void {
    const fds = [this.pagesPart, ...this.memoryParts].flatMap(({ fd, unpacked }) => [fd, unpacked]);
    for (const fd of [this.objects, ...fds]) if (fd >= 0) closeSync(fd);
  }
}

const ofImage = (directory: string, { message }: RuntimeError) =>
  new RuntimeError("image", `image ${directory}: ${message}`, { path: directory });

/** Files that are no part of an image. */
export function strangers(directory: string): string[] {
  return readdirSync(directory).filter(
    (name) => ![MANIFEST, OBJECTS, PAGES, PACKED_PAGES, MEMORY, MARKER].includes(name),
  );
}

function openDirectory(directory: string): number {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    const why = isErrno(cause, "ENOENT") ? "does not exist" : isErrno(cause, "ENOTDIR") ? "is not a directory" : null;
    if (why !== null) throw new RuntimeError("image", `it ${why}`);
    throw new RuntimeError("host", `cannot open the image ${directory}`, { path: directory, cause });
  }
  try {
    checkOwner("the directory", fstatSync(fd), 0o700);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** `root`: the directory that it lies in. */
function openPart(root: number, name: string): number {
  let fd: number;
  try {
    // A FIFO in its place must not make us wait.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    fd = openSync(join(`/proc/self/fd/${root}`, basename(name)), flags);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) throw imageError(name, "missing");
    if (isErrno(cause, "ELOOP")) throw imageError(name, "a symbolic link");
    throw imageError(name, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw imageError(name, "not a regular file");
    checkOwner(name, stat, 0o600);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function checkOwner(what: string, { uid, mode }: Stats, wanted: number): void {
  if (uid !== 0 && uid !== process.geteuid!()) throw imageError(what, `belongs to another user (uid ${uid})`);
  if ((mode & 0o077) !== 0)
    throw imageError(
      what,
      `others than its owner can get at it (mode ${(mode & 0o7777).toString(8)}, not ${wanted.toString(8)}): an image holds the memory of programs`,
    );
}

function readManifest(fd: number): string {
  if (fstatSync(fd).size > MANIFEST_MAX) throw imageError(MANIFEST, "too large");
  return readFileSync(fd, "utf8");
}

function checkSize(name: string, fd: number, { bytes }: Part): void {
  const { size } = fstatSync(fd);
  if (size < bytes) throw imageError(name, `truncated: ${size} of ${bytes} bytes`);
  if (size > bytes) throw imageError(name, `${size - bytes} bytes too long`);
}

function checkSparse(name: string, fd: number, part: SparsePart): void {
  checkSize(name, fd, part);
  if (part.content === undefined) return;
  const problem = extentsProblem(part.content.extents, part.content.bytes);
  if (problem !== null) throw imageError(MANIFEST, `extents of ${name}: ${problem}`);
}

function openMemory(root: number): number {
  const path = `/proc/self/fd/${root}/${MEMORY}`;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) throw imageError(MEMORY, "missing");
    if (isErrno(cause, "ENOTDIR", "ELOOP")) throw imageError(MEMORY, "not a directory");
    throw imageError(MEMORY, `cannot be opened (${(cause as NodeJS.ErrnoException).code})`);
  }
  try {
    checkOwner(MEMORY, fstatSync(fd), 0o700);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Nothing else may be there: its number, or its name, says that it belongs to the image. */
function checkNames(directory: number, names: readonly string[]): void {
  const known = new Set(names.map((name) => basename(name)));
  const extra = readdirSync(`/proc/self/fd/${directory}`).find((name) => !known.has(name));
  if (extra === undefined) return;
  // A name can be anything, and errors are shown on terminals.
  const shown = /^[\w.-]{1,64}$/.test(extra) ? `/${extra}` : "";
  throw imageError(`${MEMORY}${shown}`, shown === "" ? "a file in it is no part of the image" : "no part of the image");
}

async function* fileChunks(fd: number, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const chunk = Buffer.alloc(Math.min(1024 * 1024, size - at));
    const n = readSync(fd, chunk, 0, chunk.length, at);
    if (n === 0) return;
    at += n;
    yield chunk.subarray(0, n);
  }
}
