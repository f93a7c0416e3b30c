/* epoll, edge-triggered: one event for each arrival, not for each wait; for pipes, sockets, eventfds. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int ep;
static void look(const char *what) {
  struct epoll_event ev;
  int n = epoll_wait(ep, &ev, 1, 0);
  if (n == 1) say("%s: %x", what, ev.events);
  else say("%s: %d", what, n);
}

int main(void) {
  begin();
  int p[2], s[2];
  char b[70000] = {0};
  NEED(pipe2(p, O_NONBLOCK));
  ep = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
  write(p[1], "a", 1);
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
  look("data before adding");
  look("again");
  write(p[1], "b", 1);
  look("more data");
  look("again");
  read(p[0], b, 1);
  look("after a partial read");
  write(p[1], "c", 1);
  write(p[1], "d", 1);
  look("two writes, one event");
  look("again");
  while (read(p[0], b, 100) > 0) {}
  look("drained");
  write(p[1], "e", 1);
  TRY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev));
  look("mod rearms");
  TRY(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev));
  look("mod rearms again");
  look("again");
  close(p[1]);
  look("hang-up");
  look("again");
  close(p[0]);

  say("-- writers");
  NEED(pipe2(p, O_NONBLOCK));
  ev.events = EPOLLOUT | EPOLLET;
  epoll_ctl(ep, EPOLL_CTL_ADD, p[1], &ev);
  look("writable");
  look("again");
  while (write(p[1], b, 4096) > 0) {}
  look("full");
  read(p[0], b, 4096);
  look("a page read from a full pipe");
  look("again");
  read(p[0], b, 4096);
  look("another page");
  close(p[0]);
  look("reader gone");
  look("again");
  close(p[1]);

  say("-- sockets");
  NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
  ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev);
  look("start");
  look("again");
  write(s[1], "x", 1);
  look("data");
  look("again");
  write(s[1], "y", 1);
  look("more data");
  read(s[0], b, 1);
  look("partial read");
  shutdown(s[1], SHUT_WR);
  look("half closed");
  look("again");
  close(s[1]);
  look("closed");
  close(s[0]);

  say("-- eventfd");
  int e = eventfd(0, EFD_NONBLOCK);
  uint64_t v = 1;
  ev.events = EPOLLIN | EPOLLET;
  epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev);
  look("zero");
  write(e, &v, 8);
  look("one");
  look("again");
  write(e, &v, 8);
  look("each write is an edge");
  read(e, &v, 8);
  look("read");

  say("-- two epolls, one file");
  int other = epoll_create1(0);
  epoll_ctl(other, EPOLL_CTL_ADD, e, &ev);
  v = 1;
  write(e, &v, 8);
  look("first");
  TRY(epoll_wait(other, &ev, 1, 0));
  TRY(epoll_wait(other, &ev, 1, 0));

  say("-- edges wake a sleeper");
  pid_t me = getpid(), kid = fork();
  if (!kid) { until_blocked(me, me); v = 1; write(e, &v, 8); _exit(0); }
  TRY(epoll_wait(ep, &ev, 1, 5000));
  reap("writer", kid);
  return 0;
}
