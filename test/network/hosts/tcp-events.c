/* How readiness of TCP sockets between two hosts is told: poll, select, epoll in each mode, signals, threads that wait. */
#include "hosts.h"

static int told(int ep, const char *what, int ms) {
  struct epoll_event e[4];
  int n = epoll_wait(ep, e, 4, ms);
  char text[200] = "";
  int at_ = 0;
  for (int i = 0; i < n; i++)
    at_ += snprintf(text + at_, sizeof text - at_, " [%d:%s%s%s%s%s%s]", e[i].data.fd & 7, e[i].events & EPOLLIN ? " IN" : "",
                    e[i].events & EPOLLOUT ? " OUT" : "", e[i].events & EPOLLPRI ? " PRI" : "",
                    e[i].events & EPOLLERR ? " ERR" : "", e[i].events & EPOLLHUP ? " HUP" : "",
                    e[i].events & EPOLLRDHUP ? " RDHUP" : "");
  say("%s: %d%s", what, n, text);
  return n;
}
static int watching(int fd, uint32_t events) {
  int ep = NEED(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event e = {.events = events, .data.fd = 1};
  NEED(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
  return ep;
}

static void edges(void) {
  char b[64];
  int s = joined(AF_INET);
  if (server) {
    meet("watching");
    TRY(send(s, "one", 3, 0));
    meet("one");
    meet("seen");
    TRY(send(s, "two", 3, 0));
    meet("two");
    meet("seen two");
    TRY(send(s, "three", 5, 0));
    meet("three");
    meet("read");
    TRY(send(s, "U", 1, MSG_OOB));
    meet("urgent");
    meet("seen urgent");
    TRY(shutdown(s, SHUT_WR));
    meet("shut");
    meet("seen shut");
    close(s);
    meet("closed");
    return;
  }
  fcntl(s, F_SETFL, O_NONBLOCK);
  int ep = watching(s, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET);
  told(ep, "at first", 0);
  told(ep, "again", 0);
  meet("watching");
  meet("one");
  told(ep, "one", 1000);
  told(ep, "again", 20);
  meet("seen");
  meet("two");
  told(ep, "two, without a read", 1000);
  told(ep, "again", 20);
  TRY(recv(s, b, 4, 0));
  told(ep, "after a read of some", 20);
  meet("seen two");
  meet("three");
  told(ep, "three", 1000);
  TRY(recv(s, b, 64, 0));
  TRY(recv(s, b, 64, 0));
  told(ep, "all read", 20);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET, .data.fd = 2};
  NEED(epoll_ctl(ep, EPOLL_CTL_MOD, s, &e));
  told(ep, "modified", 0);
  meet("read");
  meet("urgent");
  told(ep, "urgent", 1000);
  TRY(recv(s, b, 64, MSG_OOB));
  meet("seen urgent");
  meet("shut");
  told(ep, "shut", 1000);
  told(ep, "again", 20);
  meet("seen shut");
  TRY(recv(s, b, 64, 0));
  meet("closed");
  TRY(shutdown(s, SHUT_WR));
  told(ep, "both shut", 1000);
  close(s), close(ep);
}

static void levels(void) {
  char b[64];
  int s = joined(AF_INET);
  if (server) {
    meet("watching");
    TRY(send(s, "one", 3, 0));
    meet("one");
    meet("seen");
    TRY(send(s, "two", 3, 0));
    meet("two");
    struct linger now = {1, 0};
    NEED(setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    meet("seen two");
    close(s);
    meet("reset");
    return;
  }
  int level = watching(s, EPOLLIN), once = watching(s, EPOLLIN | EPOLLONESHOT);
  told(level, "at first", 0);
  meet("watching");
  meet("one");
  told(level, "level", 1000);
  told(level, "level again", 0);
  told(once, "once", 1000);
  told(once, "once again", 0);
  TRY(recv(s, b, 64, 0));
  told(level, "read", 0);
  meet("seen");
  meet("two");
  told(once, "once, spent", 20);
  struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = 3};
  NEED(epoll_ctl(once, EPOLL_CTL_MOD, s, &e));
  told(once, "armed again", 0);
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(s, &in);
  FD_SET(s, &out);
  struct timeval t = {1, 0};
  TRY(select(s + 1, &in, &out, NULL, &t));
  say("select: in %d out %d", !!FD_ISSET(s, &in), !!FD_ISSET(s, &out));
  meet("seen two");
  meet("reset");
  told(level, "reset", 1000);
  NEED(epoll_ctl(once, EPOLL_CTL_MOD, s, &e));
  told(once, "reset", 1000);
  TRY(recv(s, b, 64, 0));
  TRY(recv(s, b, 64, 0));
  close(s);
  told(level, "closed", 0);
  close(level), close(once);
}

static void listeners(void) {
  int l = -1, port = 0, s[3];
  if (!server) {
    port = hear();
    meet("watching");
    s[0] = connects4(port);
    meet("first");
    meet("seen");
    s[1] = connects4(port), s[2] = connects4(port);
    meet("others");
    meet("accepted");
    for (int i = 0; i < 3; i++) close(s[i]);
    return;
  }
  l = listens4("0.0.0.0", 0);
  fcntl(l, F_SETFL, O_NONBLOCK);
  int edge = watching(l, EPOLLIN | EPOLLET), level = watching(l, EPOLLIN | EPOLLEXCLUSIVE);
  tell(port_of(l));
  told(edge, "edge", 0);
  meet("watching");
  meet("first");
  told(edge, "edge", 1000);
  told(edge, "edge again", 20);
  told(level, "level", 0);
  meet("seen");
  meet("others");
  told(edge, "edge", 1000);
  int accepted = 0;
  for (int k; (k = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0; accepted++) close(k);
  say("accepted %d, then %s", accepted, errno_name(errno));
  told(level, "level", 0);
  meet("accepted");
  close(l), close(edge), close(level);
}

static void room(void) {
  static char big[1 << 16];
  int s = joined(AF_INET);
  if (server) {
    fcntl(s, F_SETFL, O_NONBLOCK);
    int ep = watching(s, EPOLLOUT | EPOLLET);
    told(ep, "at first", 0);
    ssize_t n, total = 0;
    while ((n = send(s, big, sizeof big, 0)) > 0) total += n;
    say("full: %s", errno_name(errno));
    told(ep, "full", 20);
    tell(total);
    told(ep, "room", 5000);
    await("room", s, POLLOUT, 1000);
    meet("drained");
    close(ep);
  } else {
    ssize_t total = hear(), got = 0, n;
    sleep_ms(50);
    while (got < total && (n = recv(s, big, sizeof big, 0)) > 0) got += n;
    YES(got == total);
    meet("drained");
  }
  close(s);
}

static void *reads(void *at_) {
  char b[8];
  ssize_t n = recv(*(int *)at_, b, 8, 0);
  say("the thread: %ld %s", n, n < 0 ? errno_name(errno) : "");
  return NULL;
}
static void *polls(void *at_) {
  struct pollfd p = {*(int *)at_, POLLIN, 0};
  int n = poll(&p, 1, 5000);
  say("the thread: poll %d %x", n, p.revents);
  return NULL;
}

static void waiting(void) {
  pthread_t t;
  int s = joined(AF_INET);
  if (server) {
    for (int i = 0; i < 3; i++) {
      meet("waiting");
      sleep_ms(40);
      TRY(send(s, "go", 2, 0));
      meet("woken");
    }
    meet("shut");
    close(s);
    return;
  }
  void *(*const ways[])(void *) = {reads, polls, polls};
  for (int i = 0; i < 3; i++) {
    char b[8];
    meet("waiting");
    NEED(pthread_create(&t, NULL, ways[i], &s));
    pthread_join(t, NULL);
    if (i > 0) TRY(recv(s, b, 8, 0));
    meet("woken");
  }
  NEED(pthread_create(&t, NULL, reads, &s));
  sleep_ms(60);
  TRY(shutdown(s, SHUT_RD));
  pthread_join(t, NULL);
  meet("shut");
  close(s);
}

static void signals(void) {
  char b[8];
  int s = joined(AF_INET);
  if (server) {
    meet("armed");
    TRY(send(s, "io", 2, 0));
    meet("sent");
    close(s);
    return;
  }
  handle(SIGIO, on_io, SA_RESTART);
  NEED(fcntl(s, F_SETOWN, getpid()));
  NEED(fcntl(s, F_SETFL, O_ASYNC));
  io_signals = 0;
  meet("armed");
  meet("sent");
  sleep_ms(40);
  YES(io_signals > 0);
  TRY(recv(s, b, 8, 0));
  CHILD("interrupted", {
    handle(SIGALRM, ignore, 0);
    struct itimerval t_ = {{0, 0}, {0, 60000}};
    int k = joined(AF_INET);
    setitimer(ITIMER_REAL, &t_, NULL);
    TRY(recv(k, b, 8, 0));
    meet("interrupted");
  });
  close(s);
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("edges");
  edges();
  PART("levels");
  levels();
  PART("listeners");
  listeners();
  PART("room");
  room();
  PART("waiting");
  waiting();
  PART("signals");
  signals();
  if (server) {
    int k = joined(AF_INET);
    meet("interrupted");
    close(k);
  }
  return 0;
}
