/**
 * File system types by name: what a mount of the spec or mount(2) may ask for. Built-in ones register at boot, plugins
 * add theirs.
 */
import type { Container } from "../container.ts";
import type { Kernel } from "../kernel.ts";
import type { FileSystem } from "../vfs/inode.ts";

export interface FileSystemType {
  /**
   * A new instance for one mount; options as in mount(8), without those that every mount has. -errno refuses.
   *
   * @param container who mounts it; null: made before there is any container, for the first one.
   */
  make(kernel: Kernel, source: string, options: readonly string[], container: Container | null): FileSystem | number;
  /** mount(2) MS_REMOUNT with options for the file system itself; without it they are ignored. */
  remount?(kernel: Kernel, fs: FileSystem, options: readonly string[]): number;
  /** Listed in /proc/filesystems without "nodev". */
  needsDevice?: boolean;
}

export type FileSystemTypes = Map<string, FileSystemType>;
