/**
 * Kernels of unit tests are saved and restored: what stands in the way of it, all at once, and whether what comes back is
 * the same.
 *
 *   expect(obstacles(kit.kernel)).toEqual([]);
 *   const restored = resaved(kit.kernel);        // throws where the second save differs from the first
 *
 * Contexts and address spaces of the fake platforms are not saved: the restored kernel takes them over, so the saved one must
 * not run any more.
 */
import { closeFd, ftruncate, lseek, memfdCreate, pread, pwrite } from "../../native/host.ts";
import { HostPoller } from "../../native/poller.ts";
import type { Platform } from "../../platform/platform.ts";
import { Kernel } from "../kernel.ts";
import type { HostSink, HostSource, Stored, Tree } from "../state/host.ts";
import { contextForm, spaceForm } from "../state/memory.ts";
import { Restore } from "../state/restore.ts";
import { obstaclesOf, Save, sharedBy } from "../state/save.ts";
import type { SyscallDeclaration } from "../syscall.ts";
import { checkSchema } from "./checked-schema.ts";
import { FakeContext, FakePlatform, FakeSpace } from "./fake-platform.ts";

const PAGE = 4096;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Pages in a memory file. What else a host has is given by the test: trees and inherited descriptors, as they are asked for. */
export class MemoryHost implements HostSink, HostSource {
  readonly pages = memfdCreate(Buffer.from("pages\0"), 1);
  private end = 0;
  readonly warnings: string[] = [];
  readonly trees: (tree: Tree) => number;
  constructor(trees: (tree: Tree) => number = () => -2) {
    this.trees = trees;
  }
  tree(tree: Tree): number {
    return this.trees(tree);
  }
  inherited(): number {
    return -9;
  }
  warn(text: string): void {
    this.warnings.push(text);
  }
  changed(text: string): void {
    throw new Error(text);
  }

  storeBytes(bytes: Uint8Array): Stored {
    const at = this.end;
    this.end += Math.ceil(bytes.length / PAGE) * PAGE;
    if (pwrite(this.pages, bytes, bytes.length, at) !== bytes.length) throw new Error("the pages cannot be written");
    return { at, length: bytes.length };
  }
  storeFile(fd: number, length: number): Stored {
    const at = this.end;
    this.end += Math.ceil(length / PAGE) * PAGE;
    ftruncate(this.pages, this.end);
    for (let data = lseek(fd, 0, SEEK_DATA); data >= 0 && data < length; ) {
      const hole = Math.min(length, lseek(fd, data, SEEK_HOLE));
      const bytes = new Uint8Array(hole - data);
      pread(fd, bytes, bytes.length, data);
      if (pwrite(this.pages, bytes, bytes.length, at + data) !== bytes.length) throw new Error("no room for a file");
      data = lseek(fd, hole, SEEK_DATA);
    }
    return { at, length };
  }
  close(): void {
    closeFd(this.pages);
  }
}

/** Contexts and spaces go into the lines as numbers, for as long as `work` takes. */
function withFakes<T>(work: () => T): T {
  const there: unknown[] = [];
  const numberOf = new Map<unknown, number>();
  const numbers = {
    save(value: unknown): unknown {
      if (value === null) return null;
      if (!(value instanceof FakeContext || value instanceof FakeSpace)) throw new Error("is not of the fake platform");
      let number = numberOf.get(value);
      if (number === undefined) {
        number = there.push(value) - 1;
        numberOf.set(value, number);
      }
      return number;
    },
    restore: (saved: unknown, owner: unknown): unknown => {
      const value = typeof saved === "number" ? there[saved] : null;
      if (value instanceof FakeContext) value.owner = owner;
      return value;
    },
  };
  const kept = [{ ...contextForm }, { ...spaceForm }];
  Object.assign(contextForm, numbers);
  Object.assign(spaceForm, numbers);
  try {
    return work();
  } finally {
    Object.assign(contextForm, kept[0]);
    Object.assign(spaceForm, kept[1]);
  }
}

/** Everything that stands in the way of saving the kernel, each with the way to it. */
export const obstacles = (kernel: Kernel): string[] => withFakes(() => obstaclesOf(kernel, kernel));

/** Objects that both kernels have, since they are the modules': code that is not declared, or state in the wrong place. */
export const shared = (a: Kernel, b: Kernel): string[] => withFakes(() => sharedBy(a, b));

/** The lines of the kernel, each parsed: for tests that look at how something is saved. */
export function savedLines(kernel: Kernel): Record<string, unknown>[] {
  const host = new MemoryHost();
  try {
    return withFakes(() => [...new Save(kernel, host).save(kernel)].map((line) => JSON.parse(line)));
  } finally {
    host.close();
  }
}

/** Where two saves differ first, or null. */
export function difference(before: readonly string[], after: readonly string[]): string | null {
  for (let i = 0; i < Math.max(before.length, after.length); i++)
    if (before[i] !== after[i]) return `line ${i + 1} was\n  ${before[i]}\nand is\n  ${after[i]}`;
  return null;
}

/**
 * The kernel, saved and restored into one that is new. Saving that one must give the same lines, unless it finds another host
 * than the saved one had (`same` is false).
 * `platform` takes the place of the saved kernel's; `host` has what its trees and descriptors are restored from; `prepare` gives
 * the new kernel what its program and plugins would.
 */
export function resaved(
  kernel: Kernel,
  platform: Platform = new FakePlatform(),
  host = new MemoryHost(),
  declarations: readonly SyscallDeclaration[] = [],
  same = true,
  prepare: (kernel: Kernel) => void = () => {},
): Kernel {
  return withFakes(() => {
    const before = [...new Save(kernel, host).save(kernel)];
    checkSchema(before);
    const fresh = new Kernel(platform, new HostPoller(), kernel.log, declarations);
    prepare(fresh);
    new Restore(fresh, host).load(before);
    if (!same) return fresh;
    const again = new MemoryHost();
    try {
      const changed = difference(before, [...new Save(fresh, again).save(fresh)]);
      if (changed !== null) throw new Error(`saved again, it is not the same: ${changed}`);
    } finally {
      again.close();
    }
    return fresh;
  });
}
