/* A signal during each blocking call: restarted with SA_RESTART, EINTR without, per signal(7). */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>

static volatile int hits;
static int p[2], s[2], full[2], lockfd, ep;
static uint32_t word;
static void on_signal(int n) { (void)n; hits++; }

static long call(int which) {
  char b[8] = "";
  struct timespec ts = {3, 0};
  struct timeval tv = {3, 0};
  fd_set set;
  struct epoll_event ev;
  struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  siginfo_t si;
  int status;
  switch (which) {
    case 0: return read(p[0], b, 1);
    case 1: return write(full[1], b, 1);
    case 2: return recv(s[0], b, 1, 0);
    case 3: return accept(s[1], NULL, NULL);
    case 4: return waitpid(-1, &status, 0);
    case 5: return waitid(P_ALL, 0, &si, WEXITED);
    case 6: return fcntl(lockfd, F_SETLKW, &fl);
    case 7: return flock(lockfd, LOCK_EX);
    case 8: return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
    case 9: return open("fifo", O_RDONLY);
    case 10: return poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 3000);
    case 11: FD_ZERO(&set); FD_SET(p[0], &set); return select(p[0] + 1, &set, NULL, NULL, &tv);
    case 12: return epoll_wait(ep, &ev, 1, 3000);
    case 13: return nanosleep(&ts, NULL);
    case 14: return -(errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL)) ? -1 : 0;
    case 15: return pause();
    case 16: return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0);
    case 17: return ppoll(&(struct pollfd){p[0], POLLIN, 0}, 1, &ts, NULL);
    case 18: return readv(p[0], &(struct iovec){b, 1}, 1);
    case 19: return sendto(s[0], b, 0, 0, NULL, 0) * 0 + recvfrom(s[0], b, 1, 0, NULL, NULL);
  }
  return 0;
}

static const char *names[] = {"read", "write", "recv", "accept", "waitpid", "waitid", "fcntl(F_SETLKW)", "flock", "futex", "open(fifo)",
  "poll", "select", "epoll_wait", "nanosleep", "clock_nanosleep", "pause", "futex with timeout", "ppoll", "readv", "recvfrom"};

/* Let a restarted call come to its end. */
static void release(int which, pid_t victim, pid_t holder) {
  char b[4096];
  switch (which) {
    case 0: case 18: write(p[1], "x", 1); break;
    case 1: read(full[0], b, sizeof b); break;
    case 2: case 19: write(s[1], "x", 1); break;
    case 4: case 5: case 6: case 7: kill(holder, SIGKILL); break;
    case 9: close(open("fifo", O_WRONLY)); break;
    default: kill(victim, SIGKILL);
  }
}

static void try(int which, int flags) {
  hits = 0;
  int hold[2], tell[2];
  NEED(pipe(hold));
  NEED(pipe(tell));
  NEED(pipe(p));
  NEED(pipe(full));
  fcntl(full[1], F_SETFL, O_NONBLOCK);
  char page[4096] = {0};
  while (write(full[1], page, sizeof page) > 0) {}
  fcntl(full[1], F_SETFL, 0);
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  if (which == 3) {
    close(s[1]);
    s[1] = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    NEED(bind(s[1], (void *)&name, sizeof(sa_family_t)));
    NEED(listen(s[1], 5));
  }
  ep = epoll_create1(0);
  pid_t holder = 0;
  if (which == 6 || which == 7) { /* someone else holds the lock */
    holder = fork();
    if (!holder) {
      int fd = open("lock", O_RDWR);
      struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
      fcntl(fd, F_SETLK, &fl);
      flock(fd, LOCK_EX);
      write(hold[1], "x", 1);
      for (;;) pause();
    }
    char c;
    read(hold[0], &c, 1);
  }
  pid_t victim = fork();
  if (!victim) {
    lockfd = open("lock", O_RDWR);
    handle(SIGUSR1, on_signal, flags);
    if (which == 4 || which == 5) {
      pid_t kid = fork();
      if (!kid) { alarm(10); for (;;) pause(); }
      write(tell[1], &kid, sizeof kid);
    }
    errno = 0;
    long r = call(which);
    say("%s%s: %s, %d handler call", names[which], flags ? " with SA_RESTART" : "", r < 0 ? errno_name(errno) : "went on", hits);
    _exit(0);
  }
  if (which == 4 || which == 5) read(tell[0], &holder, sizeof holder);
  until_blocked(victim, victim);
  kill(victim, SIGUSR1);
  if (flags) {
    sleep_ms(20);
    until_blocked(victim, victim);
    release(which, victim, holder);
  }
  int status;
  waitpid(victim, &status, 0);
  if (WIFSIGNALED(status)) say("%s%s: restarted and waits on", names[which], flags ? " with SA_RESTART" : "");
  if (holder) {
    kill(holder, SIGKILL);
    waitpid(holder, &status, 0);
  }
  int all[] = {hold[0], hold[1], tell[0], tell[1], p[0], p[1], full[0], full[1], s[0], s[1], ep};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) close(all[i]);
}

int main(void) {
  begin();
  put_file("lock", "", 0600);
  mkfifo("fifo", 0600);
  for (int which = 0; which < 20; which++) try(which, 0);
  /* Those that are never restarted have timeouts, so that a wrong restart shows as "went on". */
  for (int which = 0; which < 20; which++) {
    if (which >= 10 && which <= 17) continue;
    try(which, SA_RESTART);
  }
  for (int which = 10; which <= 17; which++) {
    if (which == 16) continue; /* its own program: futex-wait */
    hits = 0;
    NEED(pipe(p));
    ep = epoll_create1(0);
    pid_t victim = fork();
    if (!victim) {
      handle(SIGUSR1, on_signal, SA_RESTART);
      struct itimerval soon = {{0, 20000}, {0, 20000}};
      handle(SIGALRM, on_signal, SA_RESTART);
      setitimer(ITIMER_REAL, &soon, NULL);
      long r = call(which);
      say("%s with SA_RESTART: %s, handler %s", names[which], r < 0 ? errno_name(errno) : "went on", hits ? "ran" : "did not run");
      _exit(0);
    }
    int status;
    waitpid(victim, &status, 0);
    if (status) say_status(names[which], status);
  }
  return 0;
}
