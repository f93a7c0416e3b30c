/**
 * Moving bytes from file to file inside the kernel: sendfile(2), copy_file_range(2), splice(2).
 *
 * Source: Linux fs/splice.c, by its behaviour. Bytes are read where reading takes nothing away (a seekable file at an
 * explicit offset, the front of a pipe) or only as many as the other side has room for, so that none get lost.
 * A long transfer runs in slices (slice.ts).
 */
import { EAGAIN } from "../abi/errno.ts";
import type { PipeFile } from "../ipc/pipe.ts";
import { Slice } from "../slice.ts";
import { BLOCKED } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import type { File } from "./file.ts";
import { KernelIo } from "./io.ts";
import { READ_EVENTS, readFile, WRITE_EVENTS, waitForFile, writeFile } from "./read-write.ts";

const CHUNK = 1 << 17;
const chunk = new Uint8Array(CHUNK);
const HERE = { noWaitHere: true };

/** Keeps both files for a call that will be run again. */
export function holdFiles(task: Task, input: File, output: File): void {
  const restart = task.progress();
  restart.file ??= input.retain();
  restart.file2 ??= output.retain();
}

/**
 * Copies up to `count` bytes of a seekable file, from `from` on, to `output` at `to` (or AT_POSITION). The bytes moved
 * over all runs of the call, a negative errno when there were none, or BLOCKED.
 */
export function copyFromFile(task: Task, input: File, from: number, output: File, to: number, count: number): number {
  let moved = task.restart?.moved ?? 0;
  const slice = new Slice(task.kernel);
  while (moved < count) {
    const n = input.read(task, new KernelIo(chunk, 0, Math.min(CHUNK, count - moved)), from + moved);
    if (n <= 0) return moved > 0 ? moved : n;
    const wrote = writeFile(task, output, new KernelIo(chunk, 0, n), to < 0 ? to : to + moved, HERE);
    if (wrote === -EAGAIN && !output.nonBlocking) {
      holdFiles(task, input, output);
      task.progress().moved = moved;
      const result = waitForFile(task, output, WRITE_EVENTS);
      return result === BLOCKED || moved === 0 ? result : moved;
    }
    if (wrote <= 0) return moved > 0 ? moved : wrote;
    moved += wrote;
    if (moved < count && slice.over) {
      holdFiles(task, input, output);
      task.progress().moved = moved;
      const result = task.giveWay();
      return result === BLOCKED ? result : moved;
    }
  }
  return moved;
}

/** Moves what is at the front of a pipe, up to `count` bytes, to `output`. As copyFromFile, but returns with what there is. */
export function spliceFromPipe(
  task: Task,
  input: PipeFile,
  output: File,
  to: number,
  count: number,
  nonBlocking: boolean,
): number {
  const { pipe } = input;
  let moved = 0;
  while (moved < count) {
    if (pipe.empty) {
      if (moved > 0 || pipe.writers === 0) break;
      if (nonBlocking) return -EAGAIN;
      holdFiles(task, input, output);
      return waitForFile(task, input, READ_EVENTS);
    }
    const bytes = pipe.peek(count - moved);
    const wrote = writeFile(task, output, new KernelIo(bytes), to < 0 ? to : to + moved, HERE);
    if (wrote === -EAGAIN && moved === 0 && !nonBlocking && !output.nonBlocking) {
      holdFiles(task, input, output);
      task.waitOn(output.waiters, WRITE_EVENTS);
      return task.sleep();
    }
    if (wrote <= 0) return moved > 0 ? moved : wrote;
    pipe.drop(wrote);
    moved += wrote;
    if (wrote < bytes.length) break;
  }
  return moved;
}

/** Fills a pipe from a file: at most what it has room for. `from` may be AT_POSITION. */
export function spliceToPipe(
  task: Task,
  input: File,
  from: number,
  output: PipeFile,
  count: number,
  nonBlocking: boolean,
): number {
  const { pipe } = output;
  if (pipe.readers > 0 && pipe.full) {
    if (nonBlocking) return -EAGAIN;
    holdFiles(task, input, output);
    task.waitOn(pipe.waiters, WRITE_EVENTS);
    return task.sleep();
  }
  // Without readers the write below says EPIPE; then nothing must have been taken from the input.
  if (pipe.readers === 0) return writeFile(task, output, new KernelIo(chunk, 0, 1), -1, HERE);
  const want = Math.min(count, pipe.room, CHUNK);
  const n = readFile(task, input, new KernelIo(chunk, 0, want), from, HERE);
  if (n === -EAGAIN && !nonBlocking && !input.nonBlocking) {
    holdFiles(task, input, output);
    return waitForFile(task, input, READ_EVENTS);
  }
  return n <= 0 ? n : writeFile(task, output, new KernelIo(chunk, 0, n), -1, HERE);
}
