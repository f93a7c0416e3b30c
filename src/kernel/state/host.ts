/**
 * The seam between a saved kernel and its host: what of the host a saved object stands for, and what takes its place.
 *
 * Five kinds: a *tree* (a host directory or file that the container was given), a *node* of a tree (reached by its path
 * there), *memory* (bytes, which the image has), an *inherited* descriptor (standard input and its like), and a *watch* (of a
 * descriptor by the poller, begun anew by whoever owns it).
 */
import type { Home } from "../../platform/platform.ts";
import type { FileSystem } from "../vfs/inode.ts";

/** Which of a container's host trees: its root, or the bind mount of its spec with this number (boot/add-params.ts bindsOf). */
export type Tree = { readonly container: string; readonly which: "root" | number };

/** Where the bytes of a memory file or of a large buffer lie in the image. */
export interface Stored {
  /** Offset in the image's pages, a multiple of the page size. */
  readonly at: number;
  readonly length: number;
}

/** What a restored kernel gets from its new host. Descriptors belong to whoever asked for them. */
export interface HostSource {
  /** An O_PATH descriptor of the directory, or a descriptor of the single file, that takes the tree's place; -errno. */
  tree(tree: Tree): number;
  /** The descriptor that takes the place of number `fd` of the first process' inherited ones; -EBADF: there is none. */
  inherited(container: string, fd: number): number;
  /** What runs the programs of a container; undefined: the platform's own home does. */
  home?(container: string): Home | undefined;
  /** A plugin's file system that was made for the same while the host was in reach; undefined: none was. */
  fileSystem?(type: string, source: string, options: readonly string[]): FileSystem | undefined;
  /** The image's pages: an open, readable descriptor, which stays the image's. */
  readonly pages: number;
  /** What changed on the host and what was done about it, for people. */
  warn(text: string): void;
  /** A host file that is not as it was: refused with this text, unless the user allows that. */
  changed(text: string): void;
}

/** Where a saved kernel's bytes go. */
export interface HostSink {
  /** Appends bytes to the pages, at a page boundary. */
  storeBytes(bytes: Uint8Array): Stored;
  /** Appends the contents of a host memory file as of now; holes stay holes. */
  storeFile(fd: number, length: number): Stored;
}
