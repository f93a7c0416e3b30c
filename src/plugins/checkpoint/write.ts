/**
 * Writes image directories: beside their place under a temporary name, then renamed when they are whole and on the disk.
 *
 * Invariants, so that a kill -9 at any moment leaves the old image or none:
 * - the temporary directory is `NAME.tmp-PID-STARTTIME-RANDOM`, locked by its maker. One that nobody has locked, and whose
 *   maker is gone, is removed by the next one who writes to the same name;
 * - an image that shall be replaced changes places with the new one in a single step.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { getSystemErrorName } from "node:util";
import { isAlive, processRef } from "../../core/container/process-ref.ts";
import { isErrno, RuntimeError } from "../../core/errors.ts";
import type { SavedContainer } from "../../core/image.ts";
import type { SandboxManifest } from "../../core/sandbox.ts";
import { VERSION } from "../../core/version.ts";
import { renameat2 } from "../../native/host.ts";
import { hostCalls } from "../../native/host-calls.ts";
import { digestOf, type Progress, pack } from "./blocks.ts";
import {
  FORMAT,
  type ImageManifest,
  MANIFEST,
  MARKER,
  MEMORY,
  manifestText,
  memoryName,
  OBJECTS,
  PACKED_PAGES,
  PAGES,
  type Part,
  parseManifest,
  type SparsePart,
} from "./format.ts";
import type { Target } from "./save.ts";

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/** What is at the place of a new image. */
type There = "nothing" | "image";

export interface WriteOptions {
  container: SavedContainer;
  /** Replace an image of another container, too. */
  replace: boolean;
}

export class ImageWriter implements Target {
  /** Address spaces that have a file. */
  private spaces = 0;
  /** Files of memory that are open. */
  private memoryFiles: number[] = [];

  private constructor(
    private readonly place: string,
    private readonly temporary: string,
    private readonly directory: number,
    private readonly container: SavedContainer,
    /** Open for reading and writing. */
    readonly objects: number,
    readonly pages: number,
    private readonly replaces: boolean,
  ) {}

  /** Throws when there is something in the way, before anything is made. */
  static begin(path: string, { container, replace }: WriteOptions): ImageWriter {
    const place = existsSync(path) ? realpathSync(path) : resolve(path);
    const there = whatIsAt(place, container, replace);
    mkdirSync(dirname(place), { recursive: true });
    removeLeftovers(place);
    const { pid, startTime } = processRef(process.pid);
    const temporary = `${place}.tmp-${pid}-${startTime}-${randomBytes(6).toString("hex")}`;
    mkdirSync(temporary, { mode: 0o700 });
    const open: number[] = [];
    try {
      const directory = openSync(temporary, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      open.push(directory);
      fchmodSync(directory, 0o700);
      hostCalls.flock(directory, false);
      makeDirectory(join(temporary, MEMORY));
      const [objects, pages] = [OBJECTS, PAGES].map((name) => {
        const fd = create(join(temporary, name));
        open.push(fd);
        return fd;
      });
      return new ImageWriter(place, temporary, directory, container, objects!, pages!, there === "image");
    } catch (error) {
      for (const fd of open) closeSync(fd);
      rmSync(temporary, { recursive: true, force: true });
      throw error;
    }
  }

  memory(count: number): number[] {
    this.closeMemory();
    for (let i = 0; i < count; i++) {
      this.memoryFiles.push(create(join(this.temporary, memoryName(this.spaces, false))));
      this.spaces++;
    }
    return [...this.memoryFiles];
  }

  /** All files have been written. Returns when the image is in its place, and on the disk. */
  async finish(
    sandbox: SandboxManifest,
    compression: "none" | "zstd",
    progress?: Progress,
    /** Those that had joined the container. */
    others: SavedContainer[] = [],
  ): Promise<ImageManifest> {
    this.closeMemory();
    const parts = await this.parts(compression === "zstd", progress);
    const { container } = this;
    const created = new Date().toISOString();
    const manifest: ImageManifest = { format: FORMAT, created, runts: VERSION, container, others, sandbox, parts };
    if (others.length === 0) delete manifest.others;
    const text = manifestText(manifest);
    // What could not be read again would be no image.
    parseManifest(text);
    fsyncSync(this.objects);
    closeSync(create(join(this.temporary, MARKER)));
    const fd = create(join(this.temporary, MANIFEST));
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    fsyncSync(this.directory);
    this.putInPlace();
    this.close();
    return manifest;
  }

  private async parts(packed: boolean, progress: Progress = () => {}): Promise<ImageManifest["parts"]> {
    const spaces = Array.from({ length: this.spaces }, (_, space) => space);
    const memory = (space: number) => join(this.temporary, memoryName(space, false));
    const total = spaces.reduce((sum, space) => sum + statSync(memory(space)).size, fstatSync(this.pages).size);
    let done = 0;
    const store = async (fd: number, name: string, packedName: string): Promise<SparsePart> => {
      const step: Progress = (bytes) => progress(done + bytes, total);
      const stored: SparsePart = packed ? await this.pack(fd, name, packedName, step) : await plainPart(fd, step);
      done += stored.content?.bytes ?? stored.bytes;
      return stored;
    };
    const objects = sha256Part(this.objects);
    const pages = await store(this.pages, PAGES, PACKED_PAGES);
    const stored: SparsePart[] = [];
    for (const space of spaces) {
      // There may be more than can be open at once.
      const fd = openSync(memory(space), constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        stored.push(await store(fd, memoryName(space, false), memoryName(space, true)));
      } finally {
        closeSync(fd);
      }
    }
    syncDirectory(join(this.temporary, MEMORY));
    const { content } = pages;
    return { objects, ...(content === undefined ? { pages } : { packed: { ...pages, content } }), memory: stored };
  }

  private async pack(from: number, name: string, packedName: string, progress: Progress): Promise<SparsePart> {
    const { size } = fstatSync(from);
    const fd = create(join(this.temporary, packedName));
    try {
      const content = await pack(from, size, fd, progress);
      unlinkSync(join(this.temporary, name));
      return { ...(await plainPart(fd)), content: { bytes: size, ...content } };
    } finally {
      closeSync(fd);
    }
  }

  private putInPlace(): void {
    if (this.replaces) {
      const path = (text: string) => Buffer.from(`${text}\0`);
      const result = renameat2(AT_FDCWD, path(this.temporary), AT_FDCWD, path(this.place), RENAME_EXCHANGE);
      if (result < 0)
        throw new RuntimeError(
          "host",
          `cannot put the new image in the place of ${this.place}: ${getSystemErrorName(result)}`,
        );
    } else
      try {
        // An empty directory is replaced, one that has been filled meanwhile is not.
        renameSync(this.temporary, this.place);
      } catch (cause) {
        if (isErrno(cause, "ENOTEMPTY", "EEXIST", "ENOTDIR"))
          throw inTheWay(this.place, "somebody else has written it");
        if (isErrno(cause, "EBUSY", "EXDEV")) throw inTheWay(this.place, MOUNT_POINT);
        throw new RuntimeError("host", `cannot put the image to ${this.place}`, { path: this.place, cause });
      }
    syncDirectory(dirname(this.place));
    // Now the old image, if there was one.
    rmSync(this.temporary, { recursive: true, force: true });
  }

  /** Leaves things as they were. */
  abandon(): void {
    this.close();
    rmSync(this.temporary, { recursive: true, force: true });
  }

  private closeMemory(): void {
    for (const fd of this.memoryFiles.splice(0)) closeSync(fd);
  }

  private open = true;
  private close(): void {
    if (!this.open) return;
    this.open = false;
    this.closeMemory();
    for (const fd of [this.objects, this.pages, this.directory]) closeSync(fd);
  }
}

/** Whatever the umask is. */
function makeDirectory(path: string): void {
  mkdirSync(path, { mode: 0o700 });
  chmodSync(path, 0o700);
}
function create(path: string): number {
  const fd = openSync(path, "wx+", 0o600);
  fchmodSync(fd, 0o600);
  return fd;
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

/** Of a file as it is, when it is on the disk. */
async function plainPart(fd: number, progress?: Progress): Promise<Part> {
  const bytes = fstatSync(fd).size;
  const digest = await digestOf(fd, bytes, progress);
  fsyncSync(fd);
  return { bytes, digest };
}

/** Of a file that holds no holes. */
export function sha256Part(fd: number): Part {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(1024 * 1024);
  let bytes = 0;
  for (let n = readSync(fd, buffer, 0, buffer.length, 0); n > 0; n = readSync(fd, buffer, 0, buffer.length, bytes)) {
    hash.update(buffer.subarray(0, n));
    bytes += n;
  }
  return { bytes, digest: hash.digest("hex") };
}

/** Images are renamed into their places. */
const MOUNT_POINT = "something is mounted there; name a directory in it that is not there yet";

const inTheWay = (place: string, why: string) =>
  new RuntimeError("already-exists", `cannot write an image to ${place}: ${why}`, { path: place });

function whatIsAt(place: string, container: SavedContainer, replace: boolean): There {
  const stat = lstatSync(place, { throwIfNoEntry: false });
  if (stat === undefined) return "nothing";
  if (!stat.isDirectory()) throw inTheWay(place, "it exists, and is not a directory");
  if (stat.dev !== statSync(dirname(place)).dev) throw inTheWay(place, MOUNT_POINT);
  if (readdirSync(place).length === 0) return "nothing";
  const manifest = join(place, MANIFEST);
  if (!lstatSync(manifest, { throwIfNoEntry: false })?.isFile())
    throw inTheWay(place, "the directory is not empty, and holds no image");
  if (stat.uid !== process.geteuid!()) throw inTheWay(place, `it holds an image of another user (uid ${stat.uid})`);
  if (!replace) {
    const of = ownerOf(manifest);
    if (of !== `${container.id} ${container.bundle}`) throw inTheWay(place, "it holds an image already");
  }
  return "image";
}

/** Which container an image is of, as far as that can be read. */
function ownerOf(path: string): string | null {
  try {
    const { container } = parseManifest(readFileSync(path, "utf8"), true);
    return `${container.id} ${container.bundle}`;
  } catch {
    return null;
  }
}

/** What writers that were killed have left. */
function removeLeftovers(place: string): void {
  const start = `${basename(place)}.tmp-`;
  for (const name of readdirSync(dirname(place))) {
    if (!name.startsWith(start)) continue;
    const maker = /^(\d+)-(\d+)-[0-9a-f]{12}$/.exec(name.slice(start.length));
    if (maker === null) continue;
    const path = join(dirname(place), name);
    try {
      const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      // Locked: somebody is at work, perhaps in another pid namespace. Not yet locked, but alive: it is just being made.
      const free = hostCalls.flock(fd, false) >= 0;
      closeSync(fd);
      if (free && !isAlive({ pid: Number(maker[1]), startTime: Number(maker[2]) }))
        rmSync(path, { recursive: true, force: true });
    } catch (error) {
      // Gone, or not ours.
      if (!isErrno(error, "ENOENT", "EACCES", "EPERM", "ENOTDIR", "ELOOP")) throw error;
    }
  }
}
