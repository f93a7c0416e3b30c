/*
 * Arguments that Linux masks, truncates or ignores, and those that it refuses: high halves of ints, unknown flag bits,
 * numbers that are no signals, modes and ids that are too wide.
 */
#include "guest.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/inotify.h>
#include <sys/personality.h>

#define HIGH 0x7eadbeef00000000ul
#define H(x) (HIGH | (unsigned long)(unsigned)(x))

static void show(const char *what, long result) {
  int e = errno;
  if (result < 0) printf("%s = %s\n", what, errno_name(e));
  else printf("%s = %ld\n", what, result);
}
#define CALL(...) show(#__VA_ARGS__, syscall(__VA_ARGS__))
/* Only whether it worked. */
#define DONE(...) show(#__VA_ARGS__, syscall(__VA_ARGS__) < 0 ? -1 : 1)

static void child_of_clone(unsigned long flags, int dies) {
  fflush(stdout);
  long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
  if (pid == 0) {
    if (dies) *(volatile int *)BAD = 1;
    _exit(3);
  }
  int status = 0;
  long plain = waitpid((pid_t)pid, &status, 0);
  int plain_errno = plain < 0 ? errno : 0;
  if (plain < 0) plain = waitpid((pid_t)pid, &status, __WALL);
  printf("clone(%#lx): plain wait %s, reaped %d, status %#x\n", flags, errno_name(plain_errno), plain == pid, status & 0xff7f);
}

static volatile int got;
static void handler(int signo) { got = signo; }

int main(void) {
  alarm(15);
  char directory[] = "/tmp/oddXXXXXX";
  mkdtemp(directory);
  chdir(directory);
  umask(022);

  signal(SIGUSR1, handler);
  signal(64, SIG_IGN);
  for (int dies = 0; dies < 2; dies++) {
    child_of_clone(0, dies);
    child_of_clone(200, dies);
    child_of_clone(65, dies);
    child_of_clone(64, dies);
    child_of_clone(255, dies);
    child_of_clone(HIGH | SIGCHLD, dies);
    child_of_clone(SIGUSR1, dies);
  }
  printf("signal of the child: %d\n", got);

  int fd = open("f", O_CREAT | O_RDWR, 0600);
  char byte = 'x';
  struct stat st;
  CALL(SYS_write, H(fd), &byte, 1);
  CALL(SYS_lseek, H(fd), 0, H(SEEK_SET));
  CALL(SYS_lseek, fd, 0, 99);
  CALL(SYS_read, H(fd), &byte, 1);
  CALL(SYS_fstat, H(fd), &st);
  CALL(SYS_ftruncate, H(fd), 10);
  CALL(SYS_fsync, H(fd));
  CALL(SYS_pread64, H(fd), &byte, 1, 0);
  CALL(SYS_fallocate, H(fd), H(0), 0, 5);
  CALL(SYS_flock, H(fd), H(LOCK_SH));
  CALL(SYS_flock, fd, 0x100 | LOCK_SH);
  CALL(SYS_fchmod, H(fd), H(0640));
  CALL(SYS_fchmod, fd, 0xf0000600);
  fstat(fd, &st);
  printf("mode %o\n", st.st_mode);
  CALL(SYS_chmod, "f", 0177777);
  stat("f", &st);
  printf("mode %o\n", st.st_mode);
  CALL(SYS_mkdir, "d", 0xffffffff);
  stat("d", &st);
  printf("mode %o\n", st.st_mode);
  CALL(SYS_mkdirat, H(AT_FDCWD), "d2", H(0777));
  CALL(SYS_mknod, "n", H(S_IFREG | 0600), HIGH);
  CALL(SYS_mknod, "n2", 0x30000 | S_IFREG | 0600, 0);
  CALL(SYS_mknod, "n3", 0170000, 0);
  CALL(SYS_umask, H(077));
  CALL(SYS_umask, 0xfffff022);
  CALL(SYS_umask, 022);
  DONE(SYS_openat, H(AT_FDCWD), "f", H(O_RDONLY), HIGH);
  DONE(SYS_open, "f", 0x80000000 | O_RDONLY, 0);
  DONE(SYS_open, "o", O_CREAT | O_RDWR, 0xfff00000 | 0600);
  CALL(SYS_access, "f", H(R_OK));
  CALL(SYS_access, "f", 8);
  CALL(SYS_faccessat, H(AT_FDCWD), "f", H(R_OK));
  DONE(SYS_dup, H(fd));
  CALL(SYS_dup2, H(fd), H(50));
  CALL(SYS_dup3, H(fd), H(51), H(O_CLOEXEC));
  CALL(SYS_fcntl, H(50), H(F_GETFD), HIGH);
  CALL(SYS_fcntl, 50, H(F_SETFD), HIGH);
  CALL(SYS_fcntl, 50, F_SETFD, 0xfe);
  CALL(SYS_fcntl, 50, F_GETFD, 0);
  CALL(SYS_fcntl, 50, F_SETFD, 0xff);
  CALL(SYS_fcntl, 50, F_GETFD, 0);
  CALL(SYS_fcntl, 50, F_SETFL, 0xffff0000 & ~(O_NOATIME | O_DIRECT));
  CALL(SYS_fcntl, 50, 9999, 0);
  CALL(SYS_close, H(50));
  CALL(SYS_close_range, H(51), H(51), H(0));
  CALL(SYS_close_range, 51, 51, 8);
  CALL(SYS_ioctl, H(fd), H(0x5421), &byte - 0);
  CALL(SYS_unlinkat, H(AT_FDCWD), "n", H(0));
  CALL(SYS_unlinkat, AT_FDCWD, "n", 1);
  CALL(SYS_renameat2, AT_FDCWD, "d2", H(AT_FDCWD), "d3", H(0));
  CALL(SYS_renameat2, AT_FDCWD, "d3", AT_FDCWD, "d4", 0x100);
  CALL(SYS_utimensat, H(AT_FDCWD), "f", NULL, H(0));
  CALL(SYS_sync_file_range, fd, 0, 0, H(0));
  CALL(SYS_fadvise64, fd, 0, 0, H(0));
  CALL(SYS_fadvise64, fd, 0, 0, 77);

  /* Memory: prot and flags are long there. */
  char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  DONE(SYS_mmap, 0, 4096, H(PROT_READ), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  DONE(SYS_mmap, 0, 4096, PROT_READ | 0x40000000, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  DONE(SYS_mmap, 0, 4096, PROT_READ, H(MAP_PRIVATE | MAP_ANONYMOUS), -1, 0);
  DONE(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x10000000, -1, 0);
  DONE(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, H(fd), 0);
  DONE(SYS_mmap, 0, 4096, PROT_READ, 4 | MAP_ANONYMOUS, -1, 0);
  CALL(SYS_mprotect, page, 4096, H(PROT_READ));
  CALL(SYS_mprotect, page, 4096, PROT_READ | 0x40);
  CALL(SYS_madvise, page, 4096, H(4));
  CALL(SYS_msync, page, 4096, H(MS_SYNC));
  CALL(SYS_msync, page, 4096, 0x10);
  DONE(SYS_mremap, page, 4096, 4096, HIGH, 0);
  CALL(SYS_mlock2, page, 4096, H(0));
  CALL(SYS_mlock2, page, 4096, 2);
  CALL(SYS_munlock, page, 4096);

  /* Signals and ids. */
  pid_t me = getpid();
  CALL(SYS_kill, H(me), H(0));
  CALL(SYS_kill, me, 65);
  CALL(SYS_kill, me, -1);
  CALL(SYS_kill, me, 200);
  CALL(SYS_tgkill, H(me), H(me), H(0));
  CALL(SYS_tkill, me, 65);
  CALL(SYS_rt_sigaction, H(SIGUSR2), NULL, NULL, 8);
  CALL(SYS_rt_sigaction, 0, NULL, NULL, 8);
  CALL(SYS_rt_sigaction, 65, NULL, NULL, 8);
  CALL(SYS_rt_sigaction, SIGUSR2, NULL, NULL, H(8));
  CALL(SYS_rt_sigprocmask, H(SIG_BLOCK), NULL, NULL, 8);
  CALL(SYS_rt_sigprocmask, 99, NULL, NULL, 8);
  CALL(SYS_prctl, H(PR_SET_PDEATHSIG), SIGUSR1);
  CALL(SYS_prctl, PR_SET_PDEATHSIG, 65);
  CALL(SYS_prctl, PR_SET_PDEATHSIG, H(0));
  CALL(SYS_prctl, PR_SET_PDEATHSIG, 0);
  CALL(SYS_prctl, H(PR_GET_DUMPABLE), 0, 0, 0, 0);
  CALL(SYS_fcntl, fd, F_SETSIG, 65);
  CALL(SYS_fcntl, fd, F_SETSIG, H(0));
  DONE(SYS_getpgid, H(0));
  CALL(SYS_setpriority, H(PRIO_PROCESS), H(0), H(0));
  CALL(SYS_getpriority, H(PRIO_PROCESS), H(0));
  CALL(SYS_getpriority, 9, 0);
  CALL(SYS_setresuid, H(-1), H(-1), H(-1));
  CALL(SYS_setregid, H(-1), H(-1));
  CALL(SYS_setfsuid, H(-1));
  CALL(SYS_getgroups, H(0), NULL);
  CALL(SYS_getrusage, H(RUSAGE_SELF), &(struct rusage){{0, 0}});
  CALL(SYS_getrlimit, H(RLIMIT_NOFILE), &(struct rlimit){0, 0});
  CALL(SYS_getrlimit, 99, &(struct rlimit){0, 0});
  DONE(SYS_personality, H(0xffffffff));
  CALL(SYS_sched_getscheduler, H(0));
  CALL(SYS_sched_yield, HIGH);
  CALL(SYS_unshare, HIGH);
  CALL(SYS_unshare, H(0));
  CALL(SYS_unshare, 0x1);
  CALL(SYS_wait4, H(-1), NULL, H(WNOHANG), NULL);
  CALL(SYS_wait4, -1, NULL, 0x100, NULL);
  CALL(SYS_waitid, H(P_ALL), 0, NULL, H(WEXITED | WNOHANG), NULL);
  CALL(SYS_waitid, 77, 0, NULL, WEXITED, NULL);

  /* Descriptors of other kinds. */
  DONE(SYS_eventfd2, H(0), H(EFD_NONBLOCK));
  DONE(SYS_eventfd2, 0, 0x10);
  DONE(SYS_epoll_create1, H(0));
  DONE(SYS_epoll_create1, 1);
  DONE(SYS_epoll_create, H(1));
  DONE(SYS_inotify_init1, H(0));
  DONE(SYS_timerfd_create, H(CLOCK_MONOTONIC), H(0));
  DONE(SYS_timerfd_create, 99, 0);
  DONE(SYS_memfd_create, "m", H(0));
  DONE(SYS_memfd_create, "m", 0x1000);
  DONE(SYS_pipe2, (int[2]){0, 0}, H(0));
  DONE(SYS_pipe2, (int[2]){0, 0}, 1);
  DONE(SYS_socket, H(AF_UNIX), H(SOCK_STREAM), H(0));
  DONE(SYS_socket, AF_UNIX, SOCK_STREAM | 0x100000, 0);
  DONE(SYS_socketpair, H(AF_UNIX), H(SOCK_STREAM), H(0), (int[2]){0, 0});
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  CALL(SYS_sendto, H(pair[0]), "a", 1, H(0), NULL, 0);
  CALL(SYS_sendto, pair[0], "a", 1, 0x00100000, NULL, 0);
  CALL(SYS_recvfrom, H(pair[1]), &byte, 1, H(MSG_DONTWAIT), NULL, NULL);
  CALL(SYS_recvfrom, pair[1], &byte, 1, 0x00100000 | MSG_DONTWAIT, NULL, NULL);
  CALL(SYS_shutdown, H(pair[0]), H(SHUT_WR));
  CALL(SYS_shutdown, pair[0], 9);
  CALL(SYS_poll, NULL, H(0), H(0));
  CALL(SYS_select, H(0), NULL, NULL, NULL, &(struct timeval){0, 0});
  CALL(SYS_getrandom, &byte, 1, H(0));
  CALL(SYS_getrandom, &byte, 1, 8);
  int word = 0;
  CALL(SYS_futex, &word, H(FUTEX_WAKE), H(1), NULL, NULL, 0);
  CALL(SYS_futex, &word, FUTEX_WAKE | 0x400, 1, NULL, NULL, 0);
  CALL(SYS_futex, &word, FUTEX_WAIT, H(1), NULL, NULL, 0);
  CALL(SYS_clock_gettime, H(CLOCK_MONOTONIC), &(struct timespec){0, 0});
  CALL(SYS_clock_gettime, 99, &(struct timespec){0, 0});
  CALL(SYS_splice, pair[0], NULL, pair[1], NULL, 1, H(16));
  CALL(SYS_vhangup + 100000);
  CALL(-1);
  DONE(SYS_getppid | HIGH);

  fflush(stdout);
  if (fork() == 0) syscall(SYS_exit_group, H(0x1234));
  int status;
  wait(&status);
  printf("exit_group: %#x\n", status);
  fflush(stdout);
  if (fork() == 0) syscall(SYS_exit, 0x4ff);
  wait(&status);
  printf("exit: %#x\n", status);
  chdir("/");
  char command[100];
  snprintf(command, sizeof command, "rm -r %s", directory);
  system(command);
  return 0;
}
