/** For tests: what a sandbox would say and write. */
import { writeSync } from "node:fs";
import type { SavedContainer } from "../../core/image.ts";
import type { SandboxManifest } from "../../core/sandbox.ts";
import { ftruncate, pwrite } from "../../native/host.ts";
import { ImageWriter } from "./write.ts";

export const OBJECTS_TEXT = '{"id":1,"type":"kernel","v":1}\n{"id":2,"type":"task","v":1}\n';

export function sandboxManifest(changes: Partial<SandboxManifest> = {}): SandboxManifest {
  return {
    kernel: "0.1.0",
    platform: "systrap",
    arch: "x86-64",
    clock: { monotonicNs: 5e9, boottimeNs: 6e9, realtimeNs: 1.8e18 },
    cpu: { xfeatures: 7, words: ["fpu", "sse2"], areas: [] },
    schema: 1,
    spaces: 0,
    containers: [{ id: "c", trees: 1, stdio: 3, ended: {} }],
    summary: {
      processes: [
        { pid: 1, ppid: 0, comm: "sh", args: ["sh", "-c", "true"], threads: 1 },
        { pid: 7, ppid: 1, comm: "python3", args: ["python3"], threads: 4 },
      ],
      memoryBytes: { private: 3_000_000, shared: 4096, files: 8192 },
      openFiles: { tmpfs: 2, pipe: 1 },
      sockets: { tcp: 1 },
    },
    ...changes,
  };
}

export const container: SavedContainer = {
  id: "c",
  bundle: "/b",
  overlay: "none",
  spec: {
    ociVersion: "1.0.2",
    process: { cwd: "/", args: ["true"], user: { uid: 0, gid: 0 } },
    root: { path: "/b/rootfs" },
  } as SavedContainer["spec"],
};

/** Data at some places, holes and zeros between them. */
export function writePages(fd: number, size: number, places: readonly number[], value = 7): void {
  ftruncate(fd, size);
  for (const place of places) {
    const bytes = Buffer.alloc(Math.min(4096, size - place), value + (place % 251));
    pwrite(fd, bytes, bytes.length, place);
  }
}

/** What `writeImage` gives an address space, by its number: of each another page, at another place, and another size. */
export const memoryOf = (space: number, value: number) => ({
  size: (space + 2) * 65536 + 4096 * (space % 3),
  places: [0, (space + 1) * 65536],
  value: value + space,
});

/** Files of the memory of some address spaces, as `checkpointPages` writes them. */
export function writeMemory(fds: readonly number[], from: number, value = 7): void {
  for (const [i, fd] of fds.entries()) {
    const memory = memoryOf(from + i, value);
    writePages(fd, memory.size, memory.places, memory.value);
  }
}

export const MIB = 1024 * 1024;

export async function writeImage(
  directory: string,
  {
    compression = "none",
    size = 3 * MIB + 4096,
    places = [0, 65536, MIB, 3 * MIB],
    value = 7,
    replace = false,
    spaces = 2,
    sandbox = sandboxManifest({ spaces }),
  }: {
    compression?: "none" | "zstd";
    size?: number;
    places?: readonly number[];
    value?: number;
    replace?: boolean;
    /** Those that `sandbox` says, when it is given. */
    spaces?: number;
    sandbox?: SandboxManifest;
  } = {},
): Promise<void> {
  const writer = ImageWriter.begin(directory, { container, replace });
  writeSync(writer.objects, OBJECTS_TEXT);
  writePages(writer.pages, size, places, value);
  for (let from = 0; from < sandbox.spaces; from += 32)
    writeMemory(writer.memory(Math.min(32, sandbox.spaces - from)), from, value);
  await writer.finish(sandbox, compression);
}
