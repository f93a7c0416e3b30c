/**
 * Devices of the host, and the files on them that the kernel keeps something of.
 *
 * Several host file systems may show one directory: volumes of two containers, or two mounts of one. Each reaches it by
 * descriptors of its own, with the rights that it was given, and has nodes of its own; locks, watches, FIFOs, sockets,
 * futexes and who writes to a running program are one for all, by the host's device and inode number.
 *
 * Invariant: a file has a state here as long as some node of it is held, and all its held nodes have that one.
 */
import { perCall, persistent } from "../../state/registry.ts";
import { FileState } from "../../vfs/inode.ts";
import type { HostFs } from "./host-fs.ts";
import type { HostNode } from "./node.ts";

/** Devices of the host that file systems of a kernel show, by their number there. */
export class HostFileTable {
  private readonly devices = new Map<number, HostFiles>();
  get size(): number {
    return this.devices.size;
  }
  of(device: number): HostFiles {
    let files = this.devices.get(device);
    if (files === undefined) {
      files = new HostFiles(this, device);
      this.devices.set(device, files);
    }
    return files;
  }
  /** Nobody shows the device or holds a file of it. */
  forget(device: number, files: HostFiles): void {
    if (this.devices.get(device) === files) this.devices.delete(device);
  }
}

/** Files of one host device that somebody holds, whichever file system shows them. */
export class HostFiles {
  private readonly states = new Map<number, FileState>();
  /** The file systems that show this device. */
  readonly shownBy = new Set<HostFs>();
  constructor(
    private readonly table: HostFileTable,
    private readonly device: number,
  ) {}

  find(ino: number): FileState | null {
    return this.states.size === 0 ? null : (this.states.get(ino) ?? null);
  }
  make(ino: number): FileState {
    let state = this.states.get(ino);
    if (state === undefined) {
      state = new FileState();
      this.states.set(ino, state);
    }
    return state;
  }
  /** Nodes that somebody holds of a file, of each file system that shows it. */
  heldNodes(ino: number): HostNode[] {
    return [...this.shownBy].flatMap((fs) => fs.heldNode(this.device, ino) ?? []);
  }
  /** In a restored kernel: what a held node has as its state. */
  takeUp(ino: number, state: FileState): void {
    if (!this.states.has(ino)) this.states.set(ino, state);
  }
  /** Nobody holds the file any more. */
  drop(ino: number, state: FileState): void {
    if (this.states.get(ino) === state) this.states.delete(ino);
    this.settle();
  }
  leave(fs: HostFs): void {
    this.shownBy.delete(fs);
    this.settle();
  }
  private settle(): void {
    if (this.shownBy.size > 0 || this.states.size > 0) return;
    this.table.forget(this.device, this);
  }

  /** `fs` has changed directories: what the others know of them is looked up anew. */
  directoriesChanged(fs: HostFs): void {
    for (const other of this.shownBy) if (other !== fs) other.distrust();
  }
}

/** What is known of one host device below the root of one file system. */
export class HostDevice {
  /** Nodes that must keep their identity: open or watched ones, and files with several names. */
  readonly nodes = new Map<number, HostNode>();
  /** The host's number; -1 in a restored kernel until something on it has been looked at. */
  number = -1;
  files: HostFiles | null = null;
  /** Inode numbers that guests know files by which have others on the host, since a restore. By the host's. */
  private shown: Map<number, number> | null = null;
  private taken: Set<number> | null = null;
  constructor(
    private readonly fs: HostFs,
    number: number,
    /** st_dev as guests see it. */
    readonly guest: number,
  ) {
    this.bind(number);
  }
  bind(number: number): void {
    this.number = number;
    this.files = this.fs.kernel.hostFiles.of(number);
    this.files.shownBy.add(this.fs);
  }

  /** What guests see as the inode number of a file. */
  inoOf(hostIno: number): number {
    if (this.shown === null) return hostIno;
    return this.shown.get(hostIno) ?? (this.taken!.has(hostIno) ? (hostIno + MOVED) % 2 ** 53 : hostIno);
  }
  show(hostIno: number, ino: number): void {
    if (hostIno === ino) return;
    this.shown ??= new Map();
    this.shown.set(hostIno, ino);
    this.taken ??= new Set();
    this.taken.add(ino);
  }
}

/** What is added to the number of a file whose own is shown as another's. */
const MOVED = 2 ** 47;

persistent("host-file-table", HostFileTable, { transient: { devices: () => new Map() } });
// Made again by those that show the device, which in a saved kernel nobody does.
perCall(HostFiles);
persistent("host-device", HostDevice, {
  transient: { nodes: () => new Map(), number: () => -1, files: () => null, shown: () => null, taken: () => null },
});
