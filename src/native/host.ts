/**
 * Host calls, bound to src/native/host.c: each returns `>= 0` or `-errno` of the host.
 *
 * Paths are NUL-terminated bytes (abi/bytes.ts encodeCString); buffers are typed arrays or host addresses.
 */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  h_clock_ns: { args: [i32], returns: f64, ours: true },
  h_clock_get: { args: [i32, pointer], returns: i32, ours: true },
  h_clock_shift: { args: [f64, f64], returns: i32, ours: true },
  h_openat2: { args: [i32, pointer, i32, i32, i32], returns: i32 },
  h_close: { args: [i32], returns: i32 },
  h_dup_to: { args: [i32, i32], returns: i32 },
  h_dup: { args: [i32], returns: i32 },
  h_statx: { args: [i32, pointer, i32, i32, pointer], returns: i32 },
  h_pread: { args: [i32, pointer, f64, f64], returns: f64, ours: true, sized: [1, 2] },
  h_pwrite: { args: [i32, pointer, f64, f64], returns: f64, ours: true, sized: [1, 2] },
  h_read: { args: [i32, pointer, f64], returns: f64, sized: [1, 2] },
  h_write: { args: [i32, pointer, f64], returns: f64, sized: [1, 2] },
  h_read_nowait: { args: [i32, pointer, f64], returns: f64, sized: [1, 2] },
  h_write_nowait: { args: [i32, pointer, f64], returns: f64, sized: [1, 2] },
  h_lseek: { args: [i32, f64, i32], returns: f64, ours: true },
  h_getdents64: { args: [i32, pointer, i32], returns: i32, ours: true, sized: [1, 2] },
  h_readlinkat: { args: [i32, pointer, pointer, i32], returns: i32, sized: [2, 3] },
  h_mkdirat: { args: [i32, pointer, i32], returns: i32 },
  h_mknodat: { args: [i32, pointer, i32, f64], returns: i32 },
  h_symlinkat: { args: [pointer, i32, pointer], returns: i32 },
  h_linkat: { args: [i32, pointer, i32, pointer, i32], returns: i32 },
  h_unlinkat: { args: [i32, pointer, i32], returns: i32 },
  h_renameat2: { args: [i32, pointer, i32, pointer, i32], returns: i32 },
  h_fchmod: { args: [i32, i32], returns: i32 },
  h_fchmodat: { args: [i32, pointer, i32], returns: i32 },
  h_fchownat: { args: [i32, pointer, f64, f64, i32], returns: i32 },
  h_utimensat: { args: [i32, pointer, pointer, i32], returns: i32 },
  h_ftruncate: { args: [i32, f64], returns: i32 },
  h_fallocate: { args: [i32, i32, f64, f64], returns: i32 },
  h_fsync: { args: [i32], returns: i32 },
  h_fdatasync: { args: [i32], returns: i32 },
  h_fstatfs: { args: [i32, pointer], returns: i32 },
  h_fgetxattr: { args: [i32, pointer, pointer, i32], returns: i32, sized: [2, 3] },
  h_fsetxattr: { args: [i32, pointer, pointer, i32, i32], returns: i32, sized: [2, 3] },
  h_flistxattr: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  h_fremovexattr: { args: [i32, pointer], returns: i32 },
  h_getxattr: { args: [pointer, pointer, pointer, i32], returns: i32, sized: [2, 3] },
  h_setxattr: { args: [pointer, pointer, pointer, i32, i32], returns: i32, sized: [2, 3] },
  h_listxattr: { args: [pointer, pointer, i32], returns: i32, sized: [1, 2] },
  h_removexattr: { args: [pointer, pointer], returns: i32 },
  h_flock: { args: [i32, i32], returns: i32 },
  h_fcntl: { args: [i32, i32, i32], returns: i32 },
  h_memfd_create: { args: [pointer, i32], returns: i32 },
  h_copy_file_range: { args: [i32, f64, i32, f64, f64], returns: f64 },
  h_ioctl: { args: [i32, f64, pointer], returns: i32 },
  h_ioctl_value: { args: [i32, f64, f64], returns: i32 },
  h_isatty: { args: [i32], returns: i32 },
  h_poll1: { args: [i32, i32, i32], returns: i32 },
  h_epoll_create: { args: [], returns: i32 },
  h_epoll_ctl: { args: [i32, i32, i32, i32, i32], returns: i32 },
  h_epoll_wait: { args: [i32, pointer, i32, i32], returns: i32 },
  h_eventfd: { args: [i32, i32], returns: i32 },
  h_pipe2: { args: [pointer, i32], returns: i32 },
  h_socketpair: { args: [i32, pointer], returns: i32 },
  h_unix_socket: { args: [i32], returns: i32 },
  h_unix_bind: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  h_unix_connect: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  h_listen: { args: [i32, i32], returns: i32 },
  h_accept: { args: [i32, i32], returns: i32 },
  h_shutdown: { args: [i32, i32], returns: i32 },
  h_sendmsg: { args: [i32, pointer, i32, pointer, i32, i32], returns: i32, sized: [1, 2] },
  h_recvmsg: { args: [i32, pointer, i32, pointer, pointer, i32], returns: i32, sized: [1, 2] },
  h_recv: { args: [i32, pointer, i32, i32], returns: i32, ours: true, sized: [1, 2] },
  h_send: { args: [i32, pointer, i32, i32], returns: i32, ours: true, sized: [1, 2] },
  h_getsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32, sized: [3, 4] },
  h_setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32, sized: [3, 4] },
  h_sockname: { args: [i32, i32, pointer, i32], returns: i32, sized: [2, 3] },
  h_accept_from: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  h_peercred: { args: [i32, pointer], returns: i32 },
  h_kill: { args: [i32, i32], returns: i32 },
  h_set_nice: { args: [i32, i32, i32], returns: i32 },
  h_sched_setaffinity: { args: [i32, pointer, i32], returns: i32 },
  h_user_name: { args: [f64, pointer, i32], returns: i32, sized: [1, 2] },
  h_getpid: { args: [], returns: i32 },
  h_getuid: { args: [], returns: i32 },
  h_getgid: { args: [], returns: i32 },
  h_setsid: { args: [], returns: i32 },
  h_wait: { args: [i32, i32, pointer], returns: i32 },
  h_pidfd_open: { args: [i32], returns: i32 },
  h_getrandom: { args: [pointer, i32], returns: i32, sized: [0, 1] },
  h_getrlimit: { args: [i32, pointer], returns: i32 },
  h_mmap_shared: { args: [i32, f64, f64], returns: f64 },
  h_mmap_anonymous: { args: [f64], returns: f64 },
  h_getauxval: { args: [i32], returns: f64 },
  h_munmap: { args: [pointer, f64], returns: i32 },
  h_vm_read: { args: [i32, pointer, pointer, f64], returns: f64, sized: [2, 3] },
  h_vm_write: { args: [i32, pointer, pointer, f64], returns: f64, sized: [2, 3] },
});

type Bytes = NodeJS.TypedArray | number | null;

export const clockNs: (clock: number) => number = symbols.h_clock_ns;
/** From now on all clocks that are read here are later by so many nanoseconds: see src/native/host.c. */
export const shiftClocks: (monotonic: number, boottime: number) => number = symbols.h_clock_shift;
export const clockGet: (clock: number, out: Bytes) => number = symbols.h_clock_get;
export const openat2: (dirfd: number, path: Bytes, flags: number, mode: number, resolve: number) => number =
  symbols.h_openat2;
export const closeFd: (fd: number) => number = symbols.h_close;
export const dup: (fd: number) => number = symbols.h_dup;
export const statx: (dirfd: number, path: Bytes, flags: number, mask: number, out: Bytes) => number = symbols.h_statx;
export const pread: (fd: number, buf: Bytes, n: number, off: number) => number = symbols.h_pread;
export const pwrite: (fd: number, buf: Bytes, n: number, off: number) => number = symbols.h_pwrite;
export const readFd: (fd: number, buf: Bytes, n: number) => number = symbols.h_read;
export const writeFd: (fd: number, buf: Bytes, n: number) => number = symbols.h_write;
export const readNoWait: (fd: number, buf: Bytes, n: number) => number = symbols.h_read_nowait;
export const writeNoWait: (fd: number, buf: Bytes, n: number) => number = symbols.h_write_nowait;
export const lseek: (fd: number, off: number, whence: number) => number = symbols.h_lseek;
export const getdents64: (fd: number, buf: Bytes, n: number) => number = symbols.h_getdents64;
export const readlinkat: (dirfd: number, path: Bytes, buf: Bytes, n: number) => number = symbols.h_readlinkat;
export const mkdirat: (dirfd: number, path: Bytes, mode: number) => number = symbols.h_mkdirat;
export const mknodat: (dirfd: number, path: Bytes, mode: number, dev: number) => number = symbols.h_mknodat;
export const symlinkat: (target: Bytes, dirfd: number, path: Bytes) => number = symbols.h_symlinkat;
export const linkat: (fromdir: number, from: Bytes, todir: number, to: Bytes, flags: number) => number =
  symbols.h_linkat;
export const unlinkat: (dirfd: number, path: Bytes, flags: number) => number = symbols.h_unlinkat;
export const renameat2: (fromdir: number, from: Bytes, todir: number, to: Bytes, flags: number) => number =
  symbols.h_renameat2;
export const fchmod: (fd: number, mode: number) => number = symbols.h_fchmod;
export const fchmodat: (dirfd: number, path: Bytes, mode: number) => number = symbols.h_fchmodat;
export const fchownat: (dirfd: number, path: Bytes, uid: number, gid: number, flags: number) => number =
  symbols.h_fchownat;
export const utimensat: (dirfd: number, path: Bytes, times: Bytes, flags: number) => number = symbols.h_utimensat;
export const ftruncate: (fd: number, size: number) => number = symbols.h_ftruncate;
export const fallocate: (fd: number, mode: number, off: number, len: number) => number = symbols.h_fallocate;
export const fsync: (fd: number) => number = symbols.h_fsync;
export const fdatasync: (fd: number) => number = symbols.h_fdatasync;
export const fstatfs: (fd: number, out: Bytes) => number = symbols.h_fstatfs;
export const fgetxattr: (fd: number, name: Bytes, buf: Bytes, n: number) => number = symbols.h_fgetxattr;
export const fsetxattr: (fd: number, name: Bytes, buf: Bytes, n: number, flags: number) => number = symbols.h_fsetxattr;
export const flistxattr: (fd: number, buf: Bytes, n: number) => number = symbols.h_flistxattr;
export const fremovexattr: (fd: number, name: Bytes) => number = symbols.h_fremovexattr;
export const getxattr: (path: Bytes, name: Bytes, buf: Bytes, n: number) => number = symbols.h_getxattr;
export const setxattr: (path: Bytes, name: Bytes, buf: Bytes, n: number, flags: number) => number = symbols.h_setxattr;
export const listxattr: (path: Bytes, buf: Bytes, n: number) => number = symbols.h_listxattr;
export const removexattr: (path: Bytes, name: Bytes) => number = symbols.h_removexattr;
export const flock: (fd: number, op: number) => number = symbols.h_flock;
export const fcntl: (fd: number, cmd: number, arg: number) => number = symbols.h_fcntl;
export const memfdCreate: (name: Bytes, flags: number) => number = symbols.h_memfd_create;
export const copyFileRange: (inFd: number, inOffset: number, outFd: number, outOffset: number, n: number) => number =
  symbols.h_copy_file_range;
export const ioctl: (fd: number, request: number, arg: Bytes) => number = symbols.h_ioctl;
export const ioctlValue: (fd: number, request: number, value: number) => number = symbols.h_ioctl_value;
export const isatty: (fd: number) => number = symbols.h_isatty;
export const poll1: (fd: number, events: number, timeoutMs: number) => number = symbols.h_poll1;
export const epollCreate: () => number = symbols.h_epoll_create;
export const epollCtl: (ep: number, op: number, fd: number, events: number, key: number) => number =
  symbols.h_epoll_ctl;
export const epollWait: (ep: number, out: Bytes, max: number, timeoutMs: number) => number = symbols.h_epoll_wait;
export const eventfd: (value: number, flags: number) => number = symbols.h_eventfd;
export const pipe2: (out: Bytes, flags: number) => number = symbols.h_pipe2;
export const socketpair: (type: number, out: Bytes) => number = symbols.h_socketpair;
export const unixSocket: (type: number) => number = symbols.h_unix_socket;
export const unixBind: (fd: number, path: Bytes, len: number) => number = symbols.h_unix_bind;
export const unixConnect: (fd: number, path: Bytes, len: number) => number = symbols.h_unix_connect;
export const listen: (fd: number, backlog: number) => number = symbols.h_listen;
export const accept: (fd: number, flags: number) => number = symbols.h_accept;
export const shutdown: (fd: number, how: number) => number = symbols.h_shutdown;
export const sendmsg: (fd: number, buf: Bytes, n: number, fds: Bytes, nfds: number, flags: number) => number =
  symbols.h_sendmsg;
export const recvmsg: (fd: number, buf: Bytes, n: number, fds: Bytes, nfds: Bytes, flags: number) => number =
  symbols.h_recvmsg;
/** Of sockets of the network outside, and never waiting; `flags`: MSG_*. */
export const receiveFrom: (fd: number, buf: Bytes, n: number, flags: number) => number = symbols.h_recv;
export const sendTo: (fd: number, buf: Bytes, n: number, flags: number) => number = symbols.h_send;
export const getSocketOption: (fd: number, level: number, name: number, value: Bytes, n: number) => number =
  symbols.h_getsockopt;
/** The jail's filter lets pass what src/boot/seccomp.ts lists. */
export const setSocketOption: (fd: number, level: number, name: number, value: Bytes, n: number) => number =
  symbols.h_setsockopt;
/** Its own address, or with `peer` (1) the other end's: the length. */
export const socketName: (fd: number, peer: number, address: Bytes, n: number) => number = symbols.h_sockname;
/** A connection of a listener and the address that it comes from: its descriptor. */
export const acceptFrom: (fd: number, address: Bytes, n: number) => number = symbols.h_accept_from;
export const peercred: (fd: number, out: Bytes) => number = symbols.h_peercred;
export const killProcess: (pid: number, signo: number) => number = symbols.h_kill;
export const getpid: () => number = symbols.h_getpid;
export const getuid: () => number = symbols.h_getuid;
export const getgid: () => number = symbols.h_getgid;
export const setsid: () => number = symbols.h_setsid;
export const waitChild: (pid: number, options: number, out: Bytes) => number = symbols.h_wait;
export const pidfdOpen: (pid: number) => number = symbols.h_pidfd_open;
export const getrandom: (buf: Bytes, n: number) => number = symbols.h_getrandom;
export const getrlimit: (what: number, out: Bytes) => number = symbols.h_getrlimit;
export const mapShared: (fd: number, off: number, len: number) => number = symbols.h_mmap_shared;
export const mapAnonymous: (len: number) => number = symbols.h_mmap_anonymous;
export const unmapMemory: (p: Bytes, len: number) => number = symbols.h_munmap;
export const vmRead: (pid: number, remote: Bytes, local: Bytes, n: number) => number = symbols.h_vm_read;
export const vmWrite: (pid: number, remote: Bytes, local: Bytes, n: number) => number = symbols.h_vm_write;

export const getauxval: (type: number) => number = symbols.h_getauxval;

export const dupTo: (fd: number, to: number) => number = symbols.h_dup_to;

/** The nice value of a process group's threads, or of one thread. */
export const setNice = (group: boolean, id: number, nice: number): number =>
  symbols.h_set_nice(group ? 1 : 0, id, nice);
export const schedSetaffinity: (tid: number, mask: Bytes, n: number) => number = symbols.h_sched_setaffinity;
/** The name of a user, from the host's databases; -errno. */
export const userName: (uid: number, out: Bytes, n: number) => number = symbols.h_user_name;

/** CLOCK_MONOTONIC in nanoseconds. */
export function clockMonotonicNs(): number {
  return symbols.h_clock_ns(1);
}
