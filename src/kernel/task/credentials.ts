/**
 * Credentials: ids, groups, capabilities. Immutable: a change makes a new object, so that files and tasks may share one.
 *
 * Source: credentials(7), capabilities(7). Capability sets are pairs of u32 (low, high).
 */
export interface CapSet {
  lo: number;
  hi: number;
}

export interface Credentials {
  readonly uid: number;
  readonly euid: number;
  readonly suid: number;
  readonly fsuid: number;
  readonly gid: number;
  readonly egid: number;
  readonly sgid: number;
  readonly fsgid: number;
  readonly groups: readonly number[];
  readonly effective: CapSet;
  readonly permitted: CapSet;
  readonly inheritable: CapSet;
  readonly bounding: CapSet;
  readonly ambient: CapSet;
  readonly securebits: number;
  readonly noNewPrivs: boolean;
}

export const CAP_CHOWN = 0;
export const CAP_DAC_OVERRIDE = 1;
export const CAP_DAC_READ_SEARCH = 2;
export const CAP_FOWNER = 3;
export const CAP_FSETID = 4;
export const CAP_KILL = 5;
export const CAP_SETGID = 6;
export const CAP_SETUID = 7;
export const CAP_SETPCAP = 8;
export const CAP_LINUX_IMMUTABLE = 9;
export const CAP_NET_BIND_SERVICE = 10;
export const CAP_NET_ADMIN = 12;
export const CAP_NET_RAW = 13;
export const CAP_IPC_LOCK = 14;
export const CAP_IPC_OWNER = 15;
export const CAP_SYS_CHROOT = 18;
export const CAP_SYS_PTRACE = 19;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYS_BOOT = 22;
export const CAP_SYS_NICE = 23;
export const CAP_SYS_RESOURCE = 24;
export const CAP_SYS_TIME = 25;
export const CAP_SYS_TTY_CONFIG = 26;
export const CAP_MKNOD = 27;
export const CAP_LEASE = 28;
export const CAP_SETFCAP = 31;
export const CAP_SYSLOG = 34;
export const CAP_LAST = 40;

export const NO_CAPS: CapSet = { lo: 0, hi: 0 };
export const ALL_CAPS: CapSet = { lo: 0xffffffff, hi: (1 << (CAP_LAST - 31)) - 1 };

export const union = (a: CapSet, b: CapSet): CapSet => ({ lo: (a.lo | b.lo) >>> 0, hi: (a.hi | b.hi) >>> 0 });
export const intersect = (a: CapSet, b: CapSet): CapSet => ({ lo: (a.lo & b.lo) >>> 0, hi: (a.hi & b.hi) >>> 0 });
export const without = (a: CapSet, b: CapSet): CapSet => ({ lo: (a.lo & ~b.lo) >>> 0, hi: (a.hi & ~b.hi) >>> 0 });

export function hasCap(set: CapSet, cap: number): boolean {
  return cap < 32 ? ((set.lo >>> cap) & 1) === 1 : ((set.hi >>> (cap - 32)) & 1) === 1;
}

/** Does `cred` have the capability in effect? */
export function capable(cred: Credentials, cap: number): boolean {
  return hasCap(cred.effective, cap);
}

/** Credentials of root with the given capabilities, or of an ordinary user without any. */
export function makeCredentials(uid: number, gid: number, groups: readonly number[], caps: CapSet): Credentials {
  const held = uid === 0 ? caps : NO_CAPS;
  return {
    uid,
    euid: uid,
    suid: uid,
    fsuid: uid,
    gid,
    egid: gid,
    sgid: gid,
    fsgid: gid,
    groups,
    effective: held,
    permitted: held,
    inheritable: NO_CAPS,
    bounding: caps,
    ambient: NO_CAPS,
    securebits: 0,
    noNewPrivs: false,
  };
}
