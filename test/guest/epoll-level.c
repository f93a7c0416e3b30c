/* epoll, level-triggered: add, mod, del, what is reported, nesting, closing, errors. */
#include "guest.h"
#include <sys/epoll.h>

static int ep;

static void wait_all(const char *what) {
  struct epoll_event ev[8];
  int n = epoll_wait(ep, ev, 8, 0);
  char line[200] = "";
  for (int key = 0; key < 10; key++)
    for (int i = 0; i < n; i++)
      if (ev[i].data.u64 == (uint64_t)key) sprintf(line + strlen(line), " %d:%x", key, ev[i].events);
  say("%s: %d%s", what, n, line);
}

#define CTL(op, fd, ev, key) epoll_ctl(ep, op, fd, &(struct epoll_event){ev, {.u64 = key}})

int main(void) {
  begin();
  int p[2], q[2], s[2];
  char b[100000] = {0};
  NEED(pipe2(p, O_NONBLOCK));
  NEED(pipe2(q, O_NONBLOCK));
  NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
  ep = OK(epoll_create1(EPOLL_CLOEXEC));
  TRY(fcntl(ep, F_GETFD));
  TRY(CTL(EPOLL_CTL_ADD, p[0], EPOLLIN, 0));
  TRY(CTL(EPOLL_CTL_ADD, p[1], EPOLLOUT, 1));
  TRY(CTL(EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 2));
  wait_all("start");
  write(p[1], "x", 1);
  wait_all("data");
  wait_all("still data");
  read(p[0], b, 1);
  wait_all("read");
  while (write(p[1], b, 4096) > 0) {}
  wait_all("full");
  read(p[0], b, 4096);
  wait_all("a page free");
  write(s[1], "x", 1);
  wait_all("socket data");
  shutdown(s[1], SHUT_WR);
  wait_all("socket half closed");
  close(s[1]);
  wait_all("socket closed");
  TRY(CTL(EPOLL_CTL_DEL, s[0], 0, 0));
  TRY(CTL(EPOLL_CTL_MOD, p[1], 0, 1));
  wait_all("writer silenced");
  close(p[0]);
  wait_all("reader gone (error is always told)");
  TRY(CTL(EPOLL_CTL_DEL, p[1], 0, 0));
  close(p[1]);

  say("-- an entry lives as long as the open file, not the descriptor");
  TRY(CTL(EPOLL_CTL_ADD, q[0], EPOLLIN, 3));
  int copy = dup(q[0]);
  write(q[1], "x", 1);
  close(q[0]);
  wait_all("closed, but duplicated");
  close(copy);
  wait_all("both closed");

  say("-- the same file by two descriptors");
  NEED(pipe2(q, O_NONBLOCK));
  copy = dup(q[0]);
  TRY(CTL(EPOLL_CTL_ADD, q[0], EPOLLIN, 4));
  TRY(CTL(EPOLL_CTL_ADD, copy, EPOLLIN, 5));
  write(q[1], "x", 1);
  wait_all("both");
  TRY(CTL(EPOLL_CTL_DEL, copy, 0, 0));
  wait_all("one");

  say("-- nested");
  int inner = epoll_create1(0), outer = ep;
  epoll_ctl(inner, EPOLL_CTL_ADD, q[0], &(struct epoll_event){EPOLLIN, {.u64 = 6}});
  TRY(CTL(EPOLL_CTL_DEL, q[0], 0, 0));
  TRY(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &(struct epoll_event){EPOLLIN, {.u64 = 7}}));
  wait_all("inner has data");
  struct pollfd pf = {outer, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  read(q[0], b, 1);
  wait_all("inner is empty");
  TRY(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &(struct epoll_event){EPOLLIN, {.u64 = 7}}));
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &(struct epoll_event){EPOLLIN, {.u64 = 7}}));

  say("-- max events, in turns");
  int many[5][2];
  for (int i = 0; i < 5; i++) {
    NEED(pipe(many[i]));
    CTL(EPOLL_CTL_ADD, many[i][0], EPOLLIN, i);
    write(many[i][1], "x", 1);
  }
  struct epoll_event ev[8];
  int times[5] = {0};
  for (int round = 0; round < 5; round++) {
    int n = epoll_wait(ep, ev, 2, 0);
    for (int i = 0; i < n; i++) times[ev[i].data.u64]++;
  }
  say("each of 5 seen %d %d %d %d %d times in 5 rounds of 2", times[0], times[1], times[2], times[3], times[4]);

  say("-- errors");
  TRY(CTL(EPOLL_CTL_ADD, many[0][0], EPOLLIN, 0));
  TRY(CTL(EPOLL_CTL_MOD, q[0], EPOLLIN, 0));
  TRY(CTL(EPOLL_CTL_DEL, q[0], EPOLLIN, 0));
  TRY(CTL(EPOLL_CTL_ADD, 77, EPOLLIN, 0));
  TRY(CTL(9, q[0], EPOLLIN, 0));
  TRY(epoll_ctl(1, EPOLL_CTL_ADD, q[0], &ev[0]));
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, q[0], BAD));
  int file = open("f", O_CREAT | O_RDWR, 0600);
  TRY(CTL(EPOLL_CTL_ADD, file, EPOLLIN, 0));
  TRY(epoll_wait(ep, ev, 0, 0));
  TRY(epoll_wait(ep, ev, -1, 0));
  TRY(epoll_wait(77, ev, 1, 0));
  TRY(epoll_wait(1, ev, 1, 0));
  TRY(epoll_wait(ep, BAD, 1, 0));
  TRY(epoll_create(0));
  TRY(epoll_create1(1));
  TRY(read(ep, b, 1));

  say("-- waiting");
  int alone = epoll_create1(0);
  int64_t t = now_ns();
  TRY(epoll_wait(alone, ev, 1, 30));
  YES(now_ns() - t >= 29000000);
  struct timespec ts = {0, 20000000};
  t = now_ns();
  TRY(syscall(SYS_epoll_pwait2, alone, ev, 1, &ts, NULL, 8));
  YES(now_ns() - t >= 20000000);
  epoll_ctl(alone, EPOLL_CTL_ADD, q[0], &(struct epoll_event){EPOLLIN, {.u64 = 1}});
  pid_t me = getpid(), kid = fork();
  if (!kid) { until_blocked(me, me); write(q[1], "x", 1); _exit(0); }
  TRY(epoll_wait(alone, ev, 1, -1));
  reap("writer", kid);
  return 0;
}
