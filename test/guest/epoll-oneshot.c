/* epoll: EPOLLONESHOT, EPOLLEXCLUSIVE, several threads waiting, epoll_pwait's mask. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int ep, e;
static volatile int woken, hits;
static void on_signal(int n) { (void)n; hits++; }

static void look(const char *what) {
  struct epoll_event ev;
  int n = epoll_wait(ep, &ev, 1, 0);
  say("%s: %d", what, n);
}

static void *waiter(void *unused) {
  (void)unused;
  struct epoll_event ev;
  if (epoll_wait(ep, &ev, 1, 3000) == 1) {
    __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
    uint64_t v;
    read(e, &v, 8);
  }
  return NULL;
}

int main(void) {
  begin();
  uint64_t v = 1;
  ep = epoll_create1(0);
  e = eventfd(0, EFD_NONBLOCK);
  struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT};
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  write(e, &v, 8);
  look("first");
  look("disarmed");
  write(e, &v, 8);
  look("still disarmed");
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  TRY(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
  look("rearmed");
  look("disarmed again");

  say("-- exclusive");
  struct epoll_event x = {.events = EPOLLIN | EPOLLEXCLUSIVE};
  TRY(epoll_ctl(ep, EPOLL_CTL_MOD, e, &x));
  epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL);
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, e, &x));
  look("added");
  TRY(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
  epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL);
  x.events |= EPOLLONESHOT;
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, e, &x));

  say("-- one event for one of many waiters");
  read(e, &v, 8);
  ev.events = EPOLLIN | EPOLLET;
  epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, waiter, NULL);
  sleep_ms(50);
  v = 1;
  write(e, &v, 8);
  sleep_ms(100);
  say("woken %d", woken);
  for (int i = 0; i < 4; i++) { v = 1; write(e, &v, 8); sleep_ms(20); }
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  say("woken in the end %d", woken);

  say("-- epoll_pwait");
  handle(SIGUSR1, on_signal, 0);
  sigset_t block, none;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigprocmask(SIG_BLOCK, &block, NULL);
  raise(SIGUSR1);
  uint64_t drain;
  while (read(e, &drain, 8) > 0) {}
  while (epoll_wait(ep, &ev, 1, 0) > 0) {}
  TRY(epoll_wait(ep, &ev, 1, 10));
  TRY(hits);
  TRY(epoll_pwait(ep, &ev, 1, 1000, &none));
  TRY(hits);
  TRY(epoll_pwait(ep, &ev, 1, 10, &none));
  raise(SIGUSR1);
  write(e, &v, 8);
  TRY(epoll_pwait(ep, &ev, 1, 0, &none)); /* an event is there: it wins, the signal stays for later */
  say("hits %d", hits);
  sigprocmask(SIG_SETMASK, &none, NULL);
  say("hits %d", hits);
  TRY(syscall(SYS_epoll_pwait, ep, &ev, 1, 0, BAD, 8));
  TRY(syscall(SYS_epoll_pwait, ep, &ev, 1, 0, &none, 4));
  return 0;
}
