/* epoll in epoll, loops, descriptors that are duplicated and closed, other kinds of file, waiting with signals. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int add(int ep, int fd, uint32_t events, int tag) {
  struct epoll_event e = {.events = events, .data.u32 = tag};
  return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static void look(const char *label, int ep, int timeout) {
  struct epoll_event e[8];
  int n = epoll_wait(ep, e, 8, timeout);
  if (n < 0) { say("%s: %s", label, errno_name(errno)); return; }
  char text[200];
  int at = sprintf(text, "%s: %d", label, n);
  for (int i = 0; i < n; i++) at += sprintf(text + at, " %d:%x", e[i].data.u32, e[i].events);
  say("%s", text);
}
static void on_signal(int s) { (void)s; }
static void *poke(void *arg) {
  sleep_ms(30);
  uint64_t one = 1;
  write(*(int *)arg, &one, 8);
  return NULL;
}

int main(void) {
  begin();
  int inner = NEED(epoll_create1(0)), outer = NEED(epoll_create1(0)), e = NEED(eventfd(0, EFD_NONBLOCK));
  TRY(add(inner, e, EPOLLIN, 1));
  TRY(add(outer, inner, EPOLLIN, 2));
  look("nothing", outer, 0);
  uint64_t one = 1;
  write(e, &one, 8);
  look("outer", outer, 0);
  look("outer again", outer, 0);
  look("inner", inner, 0);
  struct pollfd pf = {outer, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  read(e, &one, 8);
  look("read", outer, 0);
  TRY(poll(&pf, 1, 0));
  pthread_t t;
  pthread_create(&t, NULL, poke, &e);
  look("woken through two levels", outer, 2000);
  pthread_join(t, NULL);
  read(e, &one, 8);

  say("-- edge-triggered outside");
  int edge = NEED(epoll_create1(0));
  TRY(add(edge, inner, EPOLLIN | EPOLLET, 3));
  one = 1;
  write(e, &one, 8);
  look("edge", edge, 0);
  look("edge again", edge, 0);
  write(e, &one, 8);
  look("edge after more", edge, 0);

  say("-- loops");
  TRY(add(inner, outer, EPOLLIN, 4));
  TRY(add(inner, inner, EPOLLIN, 4));
  int chain[8];
  for (int i = 0; i < 8; i++) chain[i] = NEED(epoll_create1(0));
  for (int i = 0; i < 7; i++) TRY(add(chain[i + 1], chain[i], EPOLLIN, i));

  say("-- duplicates and closing");
  int p[2];
  NEED(pipe(p));
  int ep = NEED(epoll_create1(0)), d = NEED(dup(p[0]));
  TRY(add(ep, p[0], EPOLLIN, 5));
  TRY(add(ep, d, EPOLLIN, 6));
  TRY(add(ep, d, EPOLLIN, 6));
  write(p[1], "x", 1);
  look("both", ep, 0);
  int number = p[0];
  close(p[0]);
  look("one closed, the file lives", ep, 0);
  TRY(epoll_ctl(ep, EPOLL_CTL_DEL, number, NULL));
  close(d);
  look("both closed", ep, 0);

  say("-- other files");
  int timer = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
  struct itimerspec s = {{0, 0}, {0, 10000000}};
  timerfd_settime(timer, 0, &s, NULL);
  sigset_t m;
  sigemptyset(&m);
  sigaddset(&m, SIGUSR1);
  sigprocmask(SIG_BLOCK, &m, NULL);
  int sig = NEED(signalfd(-1, &m, 0));
  TRY(add(ep, timer, EPOLLIN | EPOLLET, 7));
  TRY(add(ep, sig, EPOLLIN, 8));
  look("timer", ep, 1000);
  look("once", ep, 20);
  raise(SIGUSR1);
  look("signal", ep, 1000);
  struct signalfd_siginfo si;
  TRY(read(sig, &si, sizeof si) == sizeof si);
  look("taken", ep, 0);
  int f = NEED(open("/dev/null", O_RDWR)), dir = NEED(open(".", O_RDONLY));
  put_file("f", "x", 0600);
  int reg = NEED(open("f", O_RDONLY));
  TRY(add(ep, f, EPOLLIN, 9));
  TRY(add(ep, dir, EPOLLIN, 9));
  TRY(add(ep, reg, EPOLLIN, 9));

  say("-- fairness: two ready, one slot");
  int a = NEED(eventfd(1, 0)), b = NEED(eventfd(1, 0)), two = NEED(epoll_create1(0));
  add(two, a, EPOLLIN, 10), add(two, b, EPOLLIN, 11);
  for (int i = 0; i < 4; i++) {
    struct epoll_event got;
    TRY(epoll_wait(two, &got, 1, 0));
    say("tag %d", got.data.u32);
  }

  say("-- signals");
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval it = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &it, NULL);
  look("interrupted, even with SA_RESTART", chain[0], 2000);

  say("-- errors");
  struct epoll_event got;
  TRY(epoll_wait(two, &got, 0, 0));
  TRY(syscall(SYS_epoll_wait, two, &got, -1, 0));
  TRY(epoll_wait(77, &got, 1, 0));
  TRY(epoll_wait(reg, &got, 1, 0));
  TRY(epoll_wait(two, BAD, 1, 0));
  look("after EFAULT", two, 0);
  TRY(epoll_ctl(two, 99, a, &got));
  TRY(epoll_ctl(two, EPOLL_CTL_ADD, a, BAD));
  TRY(epoll_ctl(two, EPOLL_CTL_MOD, e, &got));
  TRY(epoll_ctl(two, EPOLL_CTL_DEL, e, BAD));
  TRY(epoll_ctl(two, EPOLL_CTL_ADD, 77, &got));
  TRY(epoll_ctl(77, EPOLL_CTL_ADD, a, &got));
  TRY(epoll_ctl(reg, EPOLL_CTL_ADD, a, &got));
  TRY(epoll_create(0));
  TRY(epoll_create1(1));
  return 0;
}
