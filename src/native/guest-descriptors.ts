/**
 * The part of the process' descriptors that guests may use up.
 *
 * Descriptors are given out lowest first, so a new one whose number is in the last part of what the limit allows means
 * that there are that few left. Those are the kernel's own: for stubs (fork, execve), the control connection, requests.
 * Whatever a guest can have opened as often as it likes goes through `forGuest`.
 */
import { closeFd, getrlimit, memfdCreate } from "./host.ts";

const RLIMIT_NOFILE = 7;
const ENFILE = 23;
const RESERVE_LEAST = 512;

/** How many descriptors guests may use of those that a limit allows. */
export function guestPart(limit: number): number {
  return limit - Math.min(limit / 2, Math.max(RESERVE_LEAST, Math.floor(limit / 8)));
}

let part = 0;
/** One past the highest descriptor that a guest may have. */
export function guestDescriptors(): number {
  if (part === 0) {
    const limits = new Float64Array(2);
    const limit = getrlimit(RLIMIT_NOFILE, limits) < 0 ? -1 : limits[0]!;
    part = limit < 0 ? Number.POSITIVE_INFINITY : guestPart(limit);
  }
  return part;
}

/** A descriptor just opened for a guest, or -ENFILE (it is closed then) when guests have had their part; passes errors on. */
export function forGuest(fd: number): number {
  if (fd < guestDescriptors()) return fd;
  closeFd(fd);
  return -ENFILE;
}

/** memfd_create(2) for what guests can have any number of. */
export const guestMemfd = (name: Uint8Array, flags: number): number => forGuest(memfdCreate(name, flags));

/**
 * How many descriptors there are by the user they are for: one other than root has half of the guests' part at most, so
 * that root and other users go on.
 */
const held = new Map<number, number>();
/** Whose a descriptor is, of those that `ofUser` counted. */
const users = new Map<number, number>();

/** Counts one more; 0, or -ENFILE when the user has its share. */
export function takeShare(uid: number): number {
  if (uid === 0) return 0;
  const count = held.get(uid) ?? 0;
  if (count >= guestDescriptors() / 2) return -ENFILE;
  held.set(uid, count + 1);
  return 0;
}
/** A descriptor just opened counts as a user's, until `closeOfUser`; -ENFILE (it is closed then). Passes errors on. */
export function ofUser(uid: number, fd: number): number {
  if (fd < 0 || uid === 0) return fd;
  const shared = takeShare(uid);
  if (shared < 0) {
    closeFd(fd);
    return shared;
  }
  users.set(fd, uid);
  return fd;
}
/** The user that a descriptor counts as one of; 0: none, or root. */
export const ownerOf = (fd: number): number => users.get(fd) ?? 0;
/** Closes a descriptor that may count as a user's. */
export function closeOfUser(fd: number): void {
  closeFd(fd);
  const uid = users.get(fd);
  if (uid === undefined) return;
  users.delete(fd);
  giveShareBack(uid);
}

export function giveShareBack(uid: number): void {
  if (uid === 0) return;
  const count = held.get(uid)! - 1;
  if (count === 0) held.delete(uid);
  else held.set(uid, count);
}
