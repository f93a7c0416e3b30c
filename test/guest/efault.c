/* EFAULT: a bad pointer in each argument of each call that takes one; four kinds of bad. */
#include "guest.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/times.h>

static void *none, *readonly, *gone;
static int fd, dir, p[2], s[2], ep, bound;

#define RESULT(r, e) ((r) == -1 ? errno_name(e) : "ok")
/* One call with each kind of pointer: unmapped, kernel, non-canonical, no access, and read-only where it is written. */
#define EACH(name, writes, call) \
  do { \
    void *kinds[] = {BAD, KERNEL_BAD, NONCANONICAL_BAD, none, gone, readonly}; \
    char line[200] = ""; \
    for (int k_ = 0; k_ < (writes ? 6 : 5); k_++) { \
      void *ptr = kinds[k_]; \
      errno = 0; \
      long r_ = (call); \
      int e_ = errno; \
      sprintf(line + strlen(line), " %s", RESULT(r_, e_)); \
    } \
    say("%s:%s", name, line); \
  } while (0)
#define IN(name, ...) EACH(name, false, syscall(__VA_ARGS__))
#define OUT(name, ...) EACH(name, true, syscall(__VA_ARGS__))

int main(void) {
  begin();
  none = NEED(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  readonly = NEED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  gone = NEED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(gone, 4096);
  put_file("f", "0123456789", 0644);
  symlink("f", "l");
  fd = NEED(open("f", O_RDWR));
  dir = NEED(open(".", O_RDONLY));
  NEED(pipe(p));
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  bound = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  ep = epoll_create1(0);
  char buf[256] = "x";
  struct stat st;
  struct timespec ts = {0, 0};
  long len = 4;

  say("-- paths");
  IN("open", SYS_open, ptr, O_RDONLY);
  IN("openat", SYS_openat, AT_FDCWD, ptr, O_RDONLY);
  IN("creat", SYS_creat, ptr, 0600);
  IN("stat path", SYS_stat, ptr, &st);
  OUT("stat buffer", SYS_stat, "f", ptr);
  OUT("lstat buffer", SYS_lstat, "l", ptr);
  OUT("fstat buffer", SYS_fstat, fd, ptr);
  OUT("newfstatat buffer", SYS_newfstatat, AT_FDCWD, "f", ptr, 0);
  OUT("statx buffer", SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, ptr);
  OUT("statfs buffer", SYS_statfs, "/", ptr);
  OUT("fstatfs buffer", SYS_fstatfs, fd, ptr);
  IN("access", SYS_access, ptr, F_OK);
  IN("faccessat", SYS_faccessat, AT_FDCWD, ptr, F_OK);
  IN("chdir", SYS_chdir, ptr);
  IN("chroot", SYS_chroot, ptr);
  IN("mkdir", SYS_mkdir, ptr, 0700);
  IN("rmdir", SYS_rmdir, ptr);
  IN("unlink", SYS_unlink, ptr);
  IN("unlinkat", SYS_unlinkat, AT_FDCWD, ptr, 0);
  IN("rename from", SYS_rename, ptr, "x");
  IN("rename to", SYS_rename, "f", ptr);
  IN("link from", SYS_link, ptr, "x");
  IN("link to", SYS_link, "f", ptr);
  IN("symlink target", SYS_symlink, ptr, "x");
  IN("symlink name", SYS_symlink, "f", ptr);
  IN("readlink path", SYS_readlink, ptr, buf, 10);
  OUT("readlink buffer", SYS_readlink, "l", ptr, 10);
  IN("chmod", SYS_chmod, ptr, 0600);
  IN("chown", SYS_chown, ptr, 0, 0);
  IN("lchown", SYS_lchown, ptr, 0, 0);
  IN("truncate", SYS_truncate, ptr, 0);
  IN("mknod", SYS_mknod, ptr, 0600, 0);
  IN("utimensat path", SYS_utimensat, AT_FDCWD, ptr, NULL, 0);
  IN("utimensat times", SYS_utimensat, AT_FDCWD, "f", ptr, 0);
  IN("utimes times", SYS_utimes, "f", ptr);
  IN("utime times", SYS_utime, "f", ptr);
  OUT("getcwd", SYS_getcwd, ptr, 100);
  IN("execve path", SYS_execve, ptr, NULL, NULL);
  IN("execve argv", SYS_execve, "/bin/true", ptr, NULL);
  IN("execve envp", SYS_execve, "/bin/true", NULL, ptr);
  IN("memfd_create", SYS_memfd_create, ptr, 0);

  say("-- data");
  OUT("read", SYS_pread64, fd, ptr, 4, 0);
  IN("write", SYS_pwrite64, fd, ptr, 4, 0);
  IN("readv vector", SYS_preadv, fd, ptr, 1, 0, 0);
  IN("writev vector", SYS_pwritev, fd, ptr, 1, 0, 0);
  EACH("readv buffer", true, preadv(fd, &(struct iovec){ptr, 4}, 1, 0));
  EACH("writev buffer", false, pwritev(fd, &(struct iovec){ptr, 4}, 1, 0));
  IN("pipe write", SYS_write, p[1], ptr, 4);
  write(p[1], buf, 100);
  OUT("pipe read", SYS_read, p[0], ptr, 4);
  OUT("getdents64", SYS_getdents64, dir, ptr, 4096);
  OUT("getdents", SYS_getdents, dir, ptr, 4096);
  OUT("pipe", SYS_pipe, ptr);
  OUT("sendfile offset", SYS_sendfile, p[1], fd, ptr, 1);
  IN("fcntl SETLK", SYS_fcntl, fd, F_SETLK, ptr);
  IN("fcntl GETLK", SYS_fcntl, fd, F_GETLK, ptr);
  OUT("ioctl FIONREAD", SYS_ioctl, p[0], FIONREAD, ptr);
  IN("ioctl FIONBIO", SYS_ioctl, p[0], FIONBIO, ptr);
  OUT("getxattr buffer", SYS_getxattr, "f", "user.x", ptr, 10);
  IN("setxattr name", SYS_setxattr, "f", ptr, "v", 1, 0);
  IN("copy_file_range offset", SYS_copy_file_range, fd, ptr, fd, NULL, 1, 0);

  say("-- waiting");
  IN("poll", SYS_poll, ptr, 1, 0);
  IN("ppoll timeout", SYS_ppoll, NULL, 0, ptr, NULL, 8);
  IN("select set", SYS_select, 1, ptr, NULL, NULL, &(struct timeval){0, 0});
  IN("select timeout", SYS_select, 0, NULL, NULL, NULL, ptr);
  write(p[1], buf, 1);
  epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &(struct epoll_event){.events = EPOLLIN});
  OUT("epoll_wait", SYS_epoll_wait, ep, ptr, 1, 0);
  IN("epoll_ctl", SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p[1], ptr);
  IN("nanosleep request", SYS_nanosleep, ptr, NULL);
  IN("clock_nanosleep request", SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, ptr, NULL);
  IN("futex word", SYS_futex, ptr, 0, 1, NULL, NULL, 0);
  static uint32_t word;
  IN("futex timeout", SYS_futex, &word, 0, 0, ptr, NULL, 0);
  OUT("wait4 status", SYS_wait4, -1, ptr, 0, NULL);
  OUT("timerfd_settime", SYS_timerfd_settime, fd, 0, ptr, NULL);

  say("-- signals");
  IN("rt_sigaction new", SYS_rt_sigaction, SIGUSR1, ptr, NULL, 8);
  OUT("rt_sigaction old", SYS_rt_sigaction, SIGUSR1, NULL, ptr, 8);
  IN("rt_sigprocmask new", SYS_rt_sigprocmask, SIG_BLOCK, ptr, NULL, 8);
  OUT("rt_sigprocmask old", SYS_rt_sigprocmask, SIG_BLOCK, NULL, ptr, 8);
  OUT("rt_sigpending", SYS_rt_sigpending, ptr, 8);
  IN("rt_sigtimedwait set", SYS_rt_sigtimedwait, ptr, NULL, &ts, 8);
  IN("rt_sigtimedwait time", SYS_rt_sigtimedwait, &(sigset_t){0}, NULL, ptr, 8);
  IN("rt_sigsuspend", SYS_rt_sigsuspend, ptr, 8);
  IN("rt_sigqueueinfo", SYS_rt_sigqueueinfo, getpid(), SIGUSR1, ptr);
  IN("sigaltstack new", SYS_sigaltstack, ptr, NULL);
  OUT("sigaltstack old", SYS_sigaltstack, NULL, ptr);
  IN("signalfd4", SYS_signalfd4, -1, ptr, 8, 0);
  OUT("getitimer", SYS_getitimer, ITIMER_REAL, ptr);
  IN("setitimer", SYS_setitimer, ITIMER_VIRTUAL, ptr, NULL);

  say("-- sockets");
  IN("bind", SYS_bind, bound, ptr, 20);
  IN("connect", SYS_connect, bound, ptr, 20);
  OUT("getsockname address", SYS_getsockname, bound, ptr, &len);
  OUT("getsockname length", SYS_getsockname, bound, buf, ptr);
  OUT("getsockopt value", SYS_getsockopt, bound, SOL_SOCKET, SO_TYPE, ptr, &len);
  OUT("getsockopt length", SYS_getsockopt, bound, SOL_SOCKET, SO_TYPE, buf, ptr);
  IN("setsockopt", SYS_setsockopt, bound, SOL_SOCKET, SO_SNDBUF, ptr, 4);
  OUT("socketpair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ptr);
  IN("sendto buffer", SYS_sendto, s[0], ptr, 4, 0, NULL, 0);
  IN("sendmsg", SYS_sendmsg, s[0], ptr, 0);
  IN("recvmsg", SYS_recvmsg, s[0], ptr, MSG_DONTWAIT);
  write(s[1], buf, 50);
  OUT("recvfrom buffer", SYS_recvfrom, s[0], ptr, 4, MSG_DONTWAIT, NULL, NULL);

  say("-- the rest");
  OUT("uname", SYS_uname, ptr);
  OUT("sysinfo", SYS_sysinfo, ptr);
  OUT("getrlimit", SYS_getrlimit, RLIMIT_CPU, ptr);
  IN("setrlimit", SYS_setrlimit, RLIMIT_CPU, ptr);
  OUT("prlimit64 old", SYS_prlimit64, 0, RLIMIT_CPU, NULL, ptr);
  OUT("getrusage", SYS_getrusage, RUSAGE_SELF, ptr);
  OUT("times", SYS_times, ptr);
  OUT("gettimeofday", SYS_gettimeofday, ptr, NULL);
  OUT("clock_gettime", SYS_clock_gettime, CLOCK_MONOTONIC, ptr);
  OUT("clock_getres", SYS_clock_getres, CLOCK_MONOTONIC, ptr);
  OUT("getrandom", SYS_getrandom, ptr, 8, 0);
  OUT("getresuid", SYS_getresuid, ptr, ptr, ptr);
  OUT("getgroups", SYS_getgroups, 0, ptr);
  IN("setgroups", SYS_setgroups, 1, ptr);
  IN("sched_setaffinity", SYS_sched_setaffinity, 0, 8, ptr);
  OUT("sched_getaffinity", SYS_sched_getaffinity, 0, 8, ptr);
  IN("capget header", SYS_capget, ptr, NULL);
  OUT("getcpu", SYS_getcpu, ptr, NULL, NULL);
  IN("prctl SET_NAME", SYS_prctl, 15, ptr);
  OUT("prctl GET_NAME", SYS_prctl, 16, ptr);
  OUT("arch_prctl GET_FS", SYS_arch_prctl, 0x1003, ptr);
  OUT("mincore", SYS_mincore, (long)buf & -4096, 4096, ptr);
  IN("clone3", SYS_clone3, ptr, 88);
  YES(getpid() == guest_pid);
  return 0;
}
