/**
 * The requests `checkpoint` and `checkpointed`: the sandbox's end of saving it.
 *
 * The state of the kernel is written in one piece while every guest thread stands still; the pages afterwards, in slices,
 * from copies of the address spaces. A sandbox that is to end is frozen meanwhile, until the command says that the image is
 * whole (`checkpointed`): when it is not, or when the command is gone, the guests go on.
 */
import type { SandboxManifest } from "../core/sandbox.ts";
import { VERSION } from "../core/version.ts";
import { EBUSY, EINVAL, EIO, errnoName } from "../kernel/abi/errno.ts";
import type { Container } from "../kernel/container.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Chore, Slice } from "../kernel/slice.ts";
import type { HostSink, Stored } from "../kernel/state/host.ts";
import { dropSnapshots, type PageFile, type Run, runText, spacesOf, writePages } from "../kernel/state/memory.ts";
import { Save } from "../kernel/state/save.ts";
import { CLOCK_BOOTTIME, CLOCK_REALTIME, readClock } from "../kernel/time/clock.ts";
import { dataExtents } from "../native/extents.ts";
import { closeFd, ftruncate, pread, pwrite, writeFd } from "../native/host.ts";
import { STOP_GONE } from "../platform/platform.ts";
import { type Answer, Refusal } from "./control.ts";
import { describeSandbox } from "./describe.ts";

const PAGE = 4096;
/** Raised with the meaning of lines that are no class: versions of classes are theirs. */
export const SCHEMA = 1;
const BLOCK = 1 << 20;

/** The files of an image, open for writing, but for those of address spaces. */
export interface ImageFiles {
  /** A line for each object of the kernel, and then for each run of pages. */
  objects: number;
  /** Bytes: of guests' pages, of memory files, of large buffers. */
  pages: number;
}

function written(result: number, want: number): void {
  if (result < 0) throw new Error(`cannot write the image: ${errnoName(-result)}`);
  if (result < want) throw new Error("cannot write the image: ENOSPC");
}

/** The file of pages: what is added begins at a page; what is never written is a hole, and reads as zeros. */
export class PagesFile implements HostSink, PageFile {
  size = 0;
  constructor(readonly fd: number) {}

  reserve(length: number): Stored {
    const at = this.size;
    this.size += Math.ceil(length / PAGE) * PAGE;
    return { at, length };
  }
  write(at: number, bytes: Uint8Array, length: number): void {
    for (let done = 0; done < length; ) {
      const n = pwrite(this.fd, done === 0 ? bytes : bytes.subarray(done), length - done, at + done);
      if (n === 0) throw new Error("cannot write the image: ENOSPC");
      if (n < 0) written(n, 0);
      done += n;
    }
  }
  storeBytes(bytes: Uint8Array): Stored {
    const place = this.reserve(bytes.length);
    this.write(place.at, bytes, bytes.length);
    return place;
  }
  storeFile(fd: number, length: number): Stored {
    const place = this.reserve(length);
    const buffer = new Uint8Array(Math.min(BLOCK, Math.max(length, 1)));
    for (const [from, to] of dataExtents(fd, 0, length))
      for (let at = from; at < to; ) {
        const n = pread(fd, buffer, Math.min(buffer.length, to - at), at);
        if (n < 0) throw new Error(`memory of a guest cannot be read: ${errnoName(-n)}`);
        if (n === 0) return place;
        this.write(place.at + at, buffer, n);
        at += n;
      }
    return place;
  }
  /** As long as what was given out. */
  finish(): void {
    written(ftruncate(this.fd, this.size), 0);
  }
}

/** Writes text in pieces of some size. */
class LineFile {
  private pieces: string[] = [];
  private length = 0;
  constructor(private readonly fd: number) {}
  add(line: string): void {
    this.pieces.push(line, "\n");
    this.length += line.length + 1;
    if (this.length > BLOCK) this.flush();
  }
  flush(): void {
    const bytes = Buffer.from(this.pieces.join(""));
    this.pieces = [];
    this.length = 0;
    for (let done = 0; done < bytes.length; ) {
      const n = writeFd(this.fd, bytes.subarray(done), bytes.length - done);
      if (n <= 0) written(n, 1);
      done += n;
    }
  }
}

/** One saving of the whole sandbox. Runs as a chore, so never within a call of a guest. */
export class Checkpoint implements Chore {
  private save: Save | null = null;
  private readonly pages: PagesFile;
  private readonly objects: LineFile;
  private lastId = 0;
  /** Address spaces whose pages are written; null: it is still about the objects. */
  private spaces: number | null = null;
  private writing: Generator<void> | null = null;
  private manifest: SandboxManifest | null = null;
  /** How often a thread was just ending. */
  private tries = 0;
  /** Since when it has waited for the end of a container. */
  private endingSince: number | null = null;
  /** The containers that it has frozen. */
  private readonly frozen: Container[] = [];
  over = false;
  /** Everything has been written. */
  saved = false;
  private filesOpen = true;

  constructor(
    private readonly kernel: Kernel,
    private readonly files: ImageFiles,
    /** What the image says of containers; null: one of them is just ending. */
    private readonly containers: () => SandboxManifest["containers"] | null,
    private readonly leaveRunning: boolean,
    private answer: Answer | null,
  ) {
    this.pages = new PagesFile(files.pages);
    this.objects = new LineFile(files.objects);
    answer?.caller.onClosed.push(() => this.cancel());
  }

  step(slice: Slice): boolean {
    if (this.over) return true;
    try {
      if (this.writing === null) return this.begin();
      while (!slice.over)
        if (this.writing.next().done === true) {
          const { answer } = this;
          this.answer = null;
          answer?.resolve(this.spaces === null ? { manifest: this.manifest } : {});
          this.spaces ??= 0;
          this.saved = this.spaces === this.manifest!.spaces;
          return true;
        }
      return false;
    } catch (error) {
      this.fail(error);
      return true;
    }
  }

  /** The files of the next address spaces. */
  takePages(from: number, files: number[], answer: Answer): void {
    if (this.over || this.answer !== null || this.spaces === null) throw new Refusal("it is not their turn", EBUSY);
    if (from !== this.spaces || from + files.length > this.manifest!.spaces)
      throw new Refusal(`files of address space ${from}: ${this.spaces} of ${this.manifest!.spaces} are there`, EINVAL);
    this.answer = answer;
    this.writing = this.writeSpaces(from, files);
    this.kernel.chores.push(this);
  }

  /** The objects, in one piece. */
  private begin(): boolean {
    const { kernel } = this;
    const { platform } = kernel;
    const began = kernel.now();
    const containers = this.containers();
    if (containers === null) {
      this.endingSince ??= began;
      if (began - this.endingSince > ENDING_NS) throw new Error("a container that has ended is not gone");
      return false;
    }
    if (platform.quiesce() < 0) return false;
    // Of what is saved this is no part.
    const { chores } = kernel;
    let lines: Iterable<string>;
    chores.splice(chores.indexOf(this), 1);
    try {
      if (endingThread(kernel) && this.tries++ < ENDING_TRIES) return false;
      const save = new Save(kernel, this.pages);
      this.save = save;
      this.manifest = {
        kernel: VERSION,
        platform: platform.name,
        arch: "x86-64",
        clock: {
          monotonicNs: kernel.now(),
          boottimeNs: nanoseconds(CLOCK_BOOTTIME),
          realtimeNs: nanoseconds(CLOCK_REALTIME),
        },
        cpu: platform.cpuFeatures(),
        schema: SCHEMA,
        containers,
        spaces: 0,
        summary: describeSandbox(kernel),
      };
      // What is saved is taken here; its text is made later.
      lines = save.save(kernel);
      this.manifest.spaces = spacesOf(save);
      if (!this.leaveRunning)
        for (const container of kernel.containers.values())
          if (!container.frozen) {
            container.freeze();
            this.frozen.push(container);
          }
    } finally {
      chores.unshift(this);
      platform.unquiesce();
    }
    kernel.log.debug(`checkpoint: the guests stood still for ${((kernel.now() - began) / 1e6).toFixed(1)} ms`);
    this.writing = this.write(lines);
    return false;
  }

  /** What need not be done while the guests stand still, in parts. */
  private *write(lines: Iterable<string>): Generator<void> {
    for (const line of lines) {
      this.objects.add(line);
      if (++this.lastId % LINES_AT_ONCE === 0) yield;
    }
    this.pages.finish();
    this.objects.flush();
  }

  private *writeSpaces(from: number, files: readonly number[]): Generator<void> {
    for (const [i, fd] of files.entries()) {
      const file = new PagesFile(fd);
      const runs: Run[] = [];
      yield* writePages(this.save!, from + i, file, runs);
      for (const run of runs) this.objects.add(runText(++this.lastId, run));
      file.finish();
      this.spaces!++;
    }
    this.objects.flush();
    if (this.spaces === this.manifest!.spaces) this.closeFiles();
  }

  /** They were the request's, which is answered before they are complete. */
  private closeFiles(): void {
    for (const fd of [this.files.objects, this.files.pages]) closeFd(fd);
    this.filesOpen = false;
  }

  private fail(error: unknown): void {
    const { answer } = this;
    this.answer = null;
    this.cancel();
    answer?.reject(error);
  }

  private cancel(): void {
    this.goOn(EIO);
  }

  /** The guests go on. `errno`: the image could not be made, for who has asked to be saved. */
  goOn(errno: number): void {
    if (this.over) return;
    this.over = true;
    if (this.save !== null) dropSnapshots(this.save);
    if (this.filesOpen) this.closeFiles();
    this.kernel.savePoint.over("resumed", errno);
    for (const container of this.frozen) if (this.kernel.containers.get(container.id) === container) container.thaw();
  }
}

const ENDING_NS = 5e9;
const ENDING_TRIES = 100;
/** Some hundred microseconds' worth. */
const LINES_AT_ONCE = 64;

/** Somebody's thread is just ending: that is to be served first. */
function endingThread(kernel: Kernel): boolean {
  for (const { ctx } of kernel.tasks) if (ctx?.stop === STOP_GONE) return true;
  return false;
}

function nanoseconds(clock: number): number {
  const { sec, nsec } = readClock(clock);
  return sec * 1e9 + nsec;
}
