/**
 * inotify's side of the file system layer: marks on inodes, and the events that others report.
 *
 * Source: inotify(7), Linux fs/notify for the order of events. Reporting costs one comparison while nobody watches
 * anything: callers look at `watching.count` first.
 *
 * Invariant: `watching.count` is the number of marks; a marked inode is held, so that its identity lasts.
 */
import { O_PATH } from "../abi/fcntl.ts";
import { S_IFDIR } from "../abi/stat.ts";
import { persistent } from "../state/registry.ts";
import type { Dentry } from "./dentry.ts";
import type { File } from "./file.ts";
import type { Inode } from "./inode.ts";
import { serials } from "./serials.ts";

export const IN_ACCESS = 1;
export const IN_MODIFY = 2;
export const IN_ATTRIB = 4;
export const IN_CLOSE_WRITE = 8;
export const IN_CLOSE_NOWRITE = 0x10;
export const IN_OPEN = 0x20;
export const IN_MOVED_FROM = 0x40;
export const IN_MOVED_TO = 0x80;
export const IN_CREATE = 0x100;
export const IN_DELETE = 0x200;
export const IN_DELETE_SELF = 0x400;
export const IN_MOVE_SELF = 0x800;
export const IN_ALL_EVENTS = 0xfff;
export const IN_UNMOUNT = 0x2000;
export const IN_Q_OVERFLOW = 0x4000;
export const IN_IGNORED = 0x8000;
export const IN_ONLYDIR = 0x1000000;
export const IN_DONT_FOLLOW = 0x2000000;
export const IN_EXCL_UNLINK = 0x4000000;
export const IN_MASK_CREATE = 0x10000000;
export const IN_MASK_ADD = 0x20000000;
export const IN_ISDIR = 0x40000000;
export const IN_ONESHOT = 0x80000000 | 0;

/** Who gets the events: an inotify instance. */
export interface WatchGroup {
  event(mark: Mark, mask: number, cookie: number, name: string): void;
  /** The mark is gone with its inode, or by IN_ONESHOT. */
  markGone(mark: Mark): void;
}

export class Mark {
  constructor(
    readonly group: WatchGroup,
    /** Watch descriptor. */
    readonly wd: number,
    readonly inode: Inode,
    public mask: number,
  ) {}
}

/** Marks of one inode. */
export class Watches {
  marks: Mark[] = [];
}

/** How many marks there are in all. */
export const watching = { count: 0 };

export function addMark(mark: Mark): void {
  mark.inode.watches ??= new Watches();
  mark.inode.watches.marks.push(mark);
  mark.inode.hold();
  watching.count++;
}

export function removeMark(mark: Mark): void {
  const { inode } = mark;
  const watches = inode.watches;
  const at = watches === null ? -1 : watches.marks.indexOf(mark);
  if (watches === null || at < 0) return;
  watches.marks.splice(at, 1);
  if (watches.marks.length === 0) inode.watches = null;
  watching.count--;
  inode.letGo();
}

function send(inode: Inode, mask: number, cookie: number, name: string, unlinked: boolean): void {
  const watches = inode.watches;
  if (watches === null) return;
  for (const mark of watches.marks.slice()) {
    if ((mark.mask & mask & IN_ALL_EVENTS) === 0) continue;
    if (unlinked && mark.mask & IN_EXCL_UNLINK) continue;
    mark.group.event(mark, mask, cookie, name);
    if (mark.mask & IN_ONESHOT) mark.group.markGone(mark);
  }
}

/** Something happened to the file at `dentry`: told to the directory's watchers, by name, and to its own. */
export function notifyDentry(dentry: Dentry, mask: number): void {
  const { inode, parent } = dentry;
  const event = inode.type === S_IFDIR ? mask | IN_ISDIR : mask;
  if (parent !== null && parent.inode.watches !== null) send(parent.inode, event, 0, dentry.name, dentry.deleted);
  if (inode.watches !== null) send(inode, event, 0, "", false);
}

/** Something happened to an open file; anonymous files have no watchers. */
export function notifyFile(file: File, mask: number): void {
  if (watching.count > 0 && file.path !== null) notifyDentry(file.path.dentry, mask);
}

/** A name came or went in a directory. */
export function notifyName(dir: Dentry, mask: number, name: string, subject: Inode | null = null, cookie = 0): void {
  const event = subject !== null && subject.type === S_IFDIR ? mask | IN_ISDIR : mask;
  send(dir.inode, event, cookie, name, false);
}

/** Something happened to an inode alone (link count, move). */
export function notifySelf(inode: Inode, mask: number): void {
  // inotify never shows IN_ISDIR with a move or deletion of the watched itself.
  const plain = mask === IN_DELETE_SELF || mask === IN_MOVE_SELF || inode.type !== S_IFDIR;
  send(inode, plain ? mask : mask | IN_ISDIR, 0, "", false);
}

/** A rename: both directories hear of it with one cookie, and the file itself. */
export function notifyMove(from: Dentry, oldName: string, to: Dentry, newName: string, subject: Inode): void {
  const cookie = ++serials.lastCookie;
  notifyName(from, IN_MOVED_FROM, oldName, subject, cookie);
  notifyName(to, IN_MOVED_TO, newName, subject, cookie);
  notifySelf(subject, IN_MOVE_SELF);
}

/** The inode may have lost its last name and holder: its watchers are told and leave. */
export function notifyIfGone(inode: Inode): void {
  const watches = inode.watches;
  if (watches === null || inode.allHolders > watches.marks.length) return;
  const stat = inode.getattr();
  if (typeof stat !== "number" && stat.nlink > 0) return;
  send(inode, IN_DELETE_SELF, 0, "", false);
  for (const mark of watches.marks.slice()) mark.group.markGone(mark);
}

/** The last reference to an open file is going. */
export function notifyClose(file: File): void {
  if (file.path === null || file.inode === null) return;
  if ((file.flags & O_PATH) === 0) notifyDentry(file.path.dentry, file.writable ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
}

persistent("mark", Mark);
persistent("watches", Watches, {
  reopen({ marks }) {
    watching.count += marks.length;
  },
});
