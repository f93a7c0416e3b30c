/** Has a sandbox write itself into an image. */
import { fstatSync } from "node:fs";
import { RuntimeError } from "../../core/errors.ts";
import type { SaveRequest } from "../../core/image.ts";
import { ControlError, type SandboxHandle, type SandboxManifest } from "../../core/sandbox.ts";
import { SPACES_MAX } from "./format.ts";
import { ProgressLine } from "./progress.ts";
import { ImageWriter } from "./write.ts";

const LOOK_MS = 200;
const DEADLY = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
/** Blocks of `stat`. */
const STAT_BLOCK = 512;
/** Of one request `checkpointPages`. */
const FILES_AT_ONCE = 32;

/** Files that a sandbox is written to, open for reading and writing; their maker closes them. */
export interface Target {
  readonly objects: number;
  readonly pages: number;
  /** Files for the memory of the next address spaces. Those of the last call have been written, and need not stay open. */
  memory(count: number): number[];
}

export async function save(request: SaveRequest): Promise<void> {
  const { container, sandbox, directory, leaveRunning, compression, replace } = request;
  const writer = ImageWriter.begin(directory, { container, replace });
  const line = new ProgressLine("saving");
  const ignoreSignals = onDeadlySignal(() => {
    line.end();
    writer.abandon();
  });
  try {
    const manifest = await requestCheckpoint(sandbox, container.id, leaveRunning, writer, line);
    const others = manifest.containers.slice(1).map(({ id }) => request.other(id));
    await writer.finish(manifest, compression, (bytes, total) => line.at(bytes, total), others);
  } catch (error) {
    writer.abandon();
    throw error;
  } finally {
    ignoreSignals();
    line.end();
  }
}

/** Who interrupts the command need not find what it has left; where signals are a program's (`do`) they are not looked at. */
function onDeadlySignal(cleanUp: () => void): () => void {
  const end = (signal: NodeJS.Signals) => {
    stop();
    cleanUp();
    // As if nobody had caught it.
    process.kill(process.pid, signal);
  };
  const signals = DEADLY.filter((signal) => process.listenerCount(signal) === 0);
  const stop = () => {
    for (const signal of signals) process.off(signal, end);
  };
  for (const signal of signals) process.on(signal, end);
  return stop;
}

/** The sandbox writes itself to open files. */
export async function requestCheckpoint(
  sandbox: SandboxHandle,
  id: string,
  leaveRunning: boolean,
  target: Target,
  line?: ProgressLine,
): Promise<SandboxManifest> {
  const { objects, pages } = target;
  let written = 0;
  let open = [pages];
  const bytes = () => open.reduce((sum, fd) => sum + fstatSync(fd).blocks * STAT_BLOCK, written);
  const looking = setInterval(() => line?.at(bytes(), 0), LOOK_MS);
  try {
    const { manifest } = await sandbox.request("checkpoint", { id, leaveRunning }, [objects, pages]);
    const { spaces } = manifest;
    if (!Number.isInteger(spaces) || spaces < 0 || spaces > SPACES_MAX)
      throw new RuntimeError("sandbox", `container ${id} cannot be saved: it has ${spaces} address spaces`, { id });
    for (let from = 0; from < spaces; from += open.length) {
      written = bytes();
      open = [];
      open = target.memory(Math.min(FILES_AT_ONCE, spaces - from));
      await sandbox.request("checkpointPages", { id, from }, open);
    }
    return manifest;
  } catch (error) {
    if (error instanceof ControlError)
      throw new RuntimeError("sandbox", `container ${id} cannot be saved: ${error.message}`, { id });
    throw error;
  } finally {
    clearInterval(looking);
  }
}
