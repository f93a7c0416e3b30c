/*
 * Helpers shared by the guest conformance programs.
 *
 * A program prints what it observes, line by line, and the host kernel is the oracle: the same binary runs on plain
 * Linux and in runts, and the two outputs are compared. So nothing printed may depend on the run: no pids, addresses,
 * times or inode numbers, only relations between them. Each program works in a directory of its own under /tmp, which
 * it removes, and is bounded by alarm().
 */
#ifndef GUEST_H
#define GUEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* An address below mmap_min_addr: never mapped. Volatile, so that the compiler does not reason about it. */
static void *volatile bad_address = (void *)8;
#define BAD bad_address
/* An address of the kernel's half, and one that no x86-64 page table can translate. */
#define KERNEL_BAD ((void *)0xffff888000000000ul)
#define NONCANONICAL_BAD ((void *)0x0001000000000000ul)

static pid_t guest_pid;
static char guest_dir[64];

static inline const char *errno_name(int e) {
  const char *name = strerrorname_np(e);
  return name ? name : "E?";
}

static inline const char *signal_name(int s) {
  static char text[4][32];
  static int turn;
  char *out = text[turn++ & 3];
  const char *name = s >= SIGRTMIN ? NULL : sigabbrev_np(s);
  if (name) snprintf(out, 32, "SIG%s", name);
  else if (s >= SIGRTMIN) snprintf(out, 32, "SIGRTMIN+%d", s - SIGRTMIN);
  else snprintf(out, 32, "signal %d", s);
  return out;
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
  int saved = errno;
  char line[4096];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line, sizeof line - 1, format, args);
  va_end(args);
  if (n > (int)sizeof line - 2) n = sizeof line - 2;
  line[n++] = '\n';
  for (int done = 0; done < n;) {
    ssize_t r = write(1, line + done, n - done);
    if (r < 0 && errno == EINTR) continue;
    if (r <= 0) _exit(99);
    done += r;
  }
  errno = saved;
}

static inline long guest_result(const char *what, long r, int e) {
  if (r == -1) say("%s = -1 %s", what, errno_name(e));
  else say("%s = %ld", what, r);
  errno = e;
  return r;
}

static inline long guest_ok(const char *what, long r, int e) {
  if (r == -1) say("%s = -1 %s", what, errno_name(e));
  else say("%s = ok", what);
  errno = e;
  return r;
}

/* Print the call and its result; TRY prints the number, OK hides it (descriptors, pids, addresses). */
#define TRY(call) ({ errno = 0; long r_ = (long)(call); guest_result(#call, r_, errno); })
#define OK(call) ({ errno = 0; long r_ = (long)(call); guest_ok(#call, r_, errno); })
/* Calls that return the errno (pthread, posix_spawn). */
#define ERR(call) ({ int r_ = (call); say("%s = %s", #call, r_ ? errno_name(r_) : "0"); r_; })
#define YES(condition) say("%s: %s", #condition, (condition) ? "yes" : "no")
/* A step that the program itself needs: its failure ends the run with a line that names it. */
#define NEED(call) ({ errno = 0; __auto_type r_ = (call); if ((long)r_ == -1) { say("NEED %s: %s", #call, errno_name(errno)); _exit(98); } r_; })

static int guest_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path), 0;
}

static void guest_end(void) {
  if (getpid() != guest_pid) return;
  if (chdir("/") == 0 && guest_dir[0]) nftw(guest_dir, guest_remove, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Start of every program: bounded, in an empty directory of its own, umask 022, no signal blocked or ignored. */
static inline void begin_for(unsigned seconds) {
  guest_pid = getpid();
  alarm(seconds);
  umask(022);
  for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  strcpy(guest_dir, "/tmp/guest-XXXXXX");
  if (!mkdtemp(guest_dir) || chmod(guest_dir, 0755) || chdir(guest_dir)) {
    say("no scratch directory: %s", errno_name(errno));
    _exit(97);
  }
  atexit(guest_end);
}

static inline void begin(void) { begin_for(15); }

static inline int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void sleep_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&t, &t) && errno == EINTR) {}
}

static inline void say_status(const char *label, int status) {
  if (WIFEXITED(status)) say("%s: exited %d", label, WEXITSTATUS(status));
  else if (WIFSIGNALED(status)) say("%s: killed by %s", label, signal_name(WTERMSIG(status)));
  else if (WIFSTOPPED(status)) say("%s: stopped by %s", label, signal_name(WSTOPSIG(status)));
  else if (WIFCONTINUED(status)) say("%s: continued", label);
  else say("%s: status %x", label, status);
}

static inline int reap(const char *label, pid_t pid) {
  int status;
  pid_t got;
  while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {}
  if (got != pid) say("%s: waitpid failed %s", label, errno_name(errno));
  else say_status(label, status);
  return status;
}

/* Run a block in a child and print how it ended: CHILD("label", { ... }); falling off the end exits 0. */
#define CHILD(label, ...) \
  do { \
    pid_t child_ = fork(); \
    if (child_ == 0) { __VA_ARGS__; _exit(0); } \
    if (child_ < 0) say("%s: fork failed %s", label, errno_name(errno)); \
    else reap(label, child_); \
  } while (0)

static inline char task_state(pid_t pid, pid_t tid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
  int fd = open(path, O_RDONLY);
  if (fd < 0) return '?';
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return '?';
  text[n] = 0;
  char *end = strrchr(text, ')');
  return end && end[1] ? end[2] : '?';
}

/* Wait until a thread sleeps in the kernel (bounded: the caller's test still means something if it never shows). */
static inline void until_blocked(pid_t pid, pid_t tid) {
  int seen = 0;
  for (int i = 0; i < 1000 && seen < 5; i++) {
    char state = task_state(pid, tid);
    if (state == 'Z' || state == '?') return;
    seen = state == 'S' ? seen + 1 : 0;
    sleep_ms(2);
  }
}

static inline void put_file(const char *path, const char *text, mode_t mode) {
  int fd = NEED(open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600));
  size_t n = strlen(text);
  if (write(fd, text, n) != (ssize_t)n) say("put_file %s: %s", path, errno_name(errno));
  fchmod(fd, mode);
  close(fd);
}

/* The content of a file in quotes, with unprintable bytes as \xx. */
static inline void show_file(const char *path) {
  char text[512], line[2100];
  int fd = open(path, O_RDONLY);
  if (fd < 0) { say("%s: %s", path, errno_name(errno)); return; }
  ssize_t n = read(fd, text, sizeof text);
  close(fd);
  int at = 0;
  for (ssize_t i = 0; i < n; i++)
    at += sprintf(line + at, text[i] >= ' ' && text[i] < 127 ? "%c" : "\\%02x", (unsigned char)text[i]);
  line[at] = 0;
  say("%s: \"%s\"", path, line);
}

/* Two adjacent pages, of which only the first is mapped: for results that straddle the end of good memory. */
static inline char *edge_page(void) {
  char *p = NEED(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(p + 4096, 4096);
  return p;
}

static inline void ignore(int signal_number) { (void)signal_number; }

static inline void handle(int signal_number, void (*handler)(int), int flags) {
  struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
  NEED(sigaction(signal_number, &a, NULL));
}

static inline void handle_info(int signal_number, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction a = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
  NEED(sigaction(signal_number, &a, NULL));
}

/* Says which events poll(2) finds, of all there are. */
static inline void say_events(const char *what, int fd) {
  struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND, 0};
  poll(&p, 1, 0);
  say("%s:%s%s%s%s%s%s%s%s%s%s", what, p.revents & POLLIN ? " IN" : "", p.revents & POLLOUT ? " OUT" : "",
      p.revents & POLLPRI ? " PRI" : "", p.revents & POLLERR ? " ERR" : "", p.revents & POLLHUP ? " HUP" : "",
      p.revents & POLLRDHUP ? " RDHUP" : "", p.revents & POLLRDNORM ? " RDNORM" : "",
      p.revents & POLLWRNORM ? " WRNORM" : "", p.revents & POLLRDBAND ? " RDBAND" : "",
      p.revents & POLLWRBAND ? " WRBAND" : "");
}

#endif
