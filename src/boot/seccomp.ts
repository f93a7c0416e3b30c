/**
 * The host system calls that the sandbox process may make once its jail is closed. docs/security.md says why each group
 * is there; a call that is not listed gives EPERM.
 */
import { SYSCALL_NUMBERS, type SyscallName } from "../kernel/abi/syscall-numbers.ts";
import { SOCKET_OPTIONS } from "../kernel/net/outside/socket-options.ts";
import { installFilter } from "../native/sandbox.ts";

/** The JavaScript runtime: memory, threads, time, signals among its threads. */
const RUNTIME: SyscallName[] = [
  "futex",
  "mmap",
  "munmap",
  "mprotect",
  "mremap",
  "madvise",
  "brk",
  "sched_yield",
  "sched_getaffinity",
  "sched_setscheduler",
  "sched_setattr",
  "sched_setaffinity",
  "sched_getparam",
  "sched_getscheduler",
  "setpriority",
  "getpriority",
  "membarrier",
  "rseq",
  "set_robust_list",
  "set_tid_address",
  "gettid",
  "getpid",
  "getuid",
  "geteuid",
  "getgid",
  "getegid",
  "rt_sigaction",
  "rt_sigprocmask",
  "rt_sigreturn",
  "sigaltstack",
  "nanosleep",
  "clock_nanosleep",
  "clock_gettime",
  "clock_getres",
  "gettimeofday",
  "time",
  "getrusage",
  "sysinfo",
  "prlimit64",
  "getrandom",
  "restart_syscall",
  "exit",
  "exit_group",
  "mincore",
];

/** Descriptors, readiness, the control connection, stdio. */
const DESCRIPTORS: SyscallName[] = [
  "read",
  "write",
  "readv",
  "writev",
  "preadv2",
  "pwritev2",
  "close",
  "dup",
  "dup2",
  "dup3",
  "fcntl",
  "ioctl",
  "poll",
  "ppoll",
  "epoll_create1",
  "epoll_ctl",
  "epoll_wait",
  "epoll_pwait",
  "epoll_pwait2",
  "eventfd2",
  "pipe2",
  "socketpair",
  "sendmsg",
  "recvmsg",
  "sendto",
  "recvfrom",
  "accept4",
  "shutdown",
  "getsockopt",
  "getsockname",
  "getpeername",
  "memfd_create",
];

/** Files of the host directories that the container was given; paths are resolved beneath their descriptors. */
const FILES: SyscallName[] = [
  "openat2",
  "statx",
  "newfstatat",
  "fstat",
  "lseek",
  "pread64",
  "pwrite64",
  "getdents64",
  "readlinkat",
  "mkdirat",
  "mknodat",
  "symlinkat",
  "linkat",
  "unlinkat",
  "renameat2",
  "fchmod",
  "fchmodat2",
  "fchownat",
  "utimensat",
  "ftruncate",
  "fallocate",
  "fsync",
  "fdatasync",
  "syncfs",
  "fstatfs",
  "flock",
  "copy_file_range",
  "fgetxattr",
  "fsetxattr",
  "flistxattr",
  "fremovexattr",
  "getxattr",
  "setxattr",
  "listxattr",
  "removexattr",
];

/** Guests: their memory, their threads, their groups, their end. */
const GUESTS: SyscallName[] = [
  "process_vm_readv",
  "process_vm_writev",
  "tgkill",
  "kill",
  "waitid",
  "wait4",
  "pidfd_open",
  // Who forked whom: sy_adopt in src/native/systrap.c.
  "getpgid",
  "setpgid",
];

/** Installs the filter; 0 or -errno. `platform`: what its way of running guests needs besides. */
export function closeFilter(platform: Iterable<SyscallName>): number {
  const names = [...new Set([...GUESTS, ...RUNTIME, ...DESCRIPTORS, ...FILES, ...platform])];
  return installFilter(
    Int32Array.from(names, (name) => SYSCALL_NUMBERS[name]),
    names.length,
    Int32Array.from(SOCKET_OPTIONS.flat()),
    SOCKET_OPTIONS.length,
  );
}
