/**
 * inotify's side of the file system layer: marks on inodes, and the events that others report.
 *
 * Source: inotify(7). Reporting costs one comparison while nobody watches anything.
 */
import type { File } from "./file.ts";

/** Marks of one inode. */
export interface Watches {
  readonly kind: "watches";
}

/** How many marks there are in all. */
export const watching = { count: 0 };

export function notifyClose(_file: File): void {}
