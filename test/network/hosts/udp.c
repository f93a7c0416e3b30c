/* Datagrams between two hosts: connected and not, refused, cut off, empty, large, many at once, and their options. */
#include "hosts.h"

static int bound(int family) {
  int s = NEED(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in a = at("0.0.0.0", 0);
  struct sockaddr_in6 b = at6("::", 0);
  if (family == AF_INET) NEED(bind(s, (void *)&a, sizeof a));
  else NEED(bind(s, (void *)&b, sizeof b));
  struct timeval t = {0, 400000};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  return s;
}
static struct sockaddr_in6 theirs(int family, int port) {
  struct sockaddr_in6 b = at6(other6, port);
  struct sockaddr_in a = at(other4, port);
  if (family == AF_INET) memcpy(&b, &a, sizeof a);
  return b;
}
/* A socket each, and where the other's is. */
static int pair(int family, struct sockaddr_in6 *to) {
  int s = bound(family);
  tell(port_of(s));
  *to = theirs(family, hear());
  meet("bound");
  return s;
}
static socklen_t size_of(int family) {
  return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void there_and_back(int family) {
  struct sockaddr_in6 to, from;
  socklen_t size = sizeof from;
  char b[64] = "";
  int n = -1, s = pair(family, &to);
  say_names("bound", s);
  if (!server) {
    TRY(sendto(s, "hello", 5, 0, (void *)&to, size_of(family)));
    TRY(sendto(s, "", 0, 0, (void *)&to, size_of(family)));
    TRY(sendto(s, "a longer one", 12, 0, (void *)&to, size_of(family)));
    meet("sent");
    TRY(recvfrom(s, b, 64, 0, (void *)&from, &size));
    say("\"%s\" from %s (%d), the right port %d", b, whose(&from), size, from.sin6_port == to.sin6_port);
    meet("read");
    close(s);
    return;
  }
  meet("sent");
  say_events("three wait", s);
  TRY(ioctl(s, SIOCINQ, &n));
  say("the first has %d", n);
  TRY(recvfrom(s, b, 64, MSG_PEEK, (void *)&from, &size));
  TRY(recvfrom(s, b, 64, 0, (void *)&from, &size));
  say("\"%.5s\" from %s (%d), the right port %d", b, whose(&from), size, from.sin6_port == to.sin6_port);
  TRY(recv(s, b, 64, 0));
  struct iovec v = {b, 4};
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
  TRY(recvmsg(s, &m, MSG_TRUNC | MSG_PEEK));
  TRY(recvmsg(s, &m, 0));
  say("flags %x, name of %d", m.msg_flags, m.msg_namelen);
  TRY(recv(s, b, 64, MSG_DONTWAIT));
  say_events("none waits", s);
  TRY(sendto(s, "back", 4, 0, (void *)&from, size));
  meet("read");
  close(s);
}

static void connected(int family) {
  struct sockaddr_in6 to;
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  char b[64] = "";
  int s = pair(family, &to);
  if (server) {
    int stranger = bound(family);
    TRY(connect(s, (void *)&to, size_of(family)));
    say_names("connected", s);
    meet("connected");
    TRY(sendto(stranger, "stranger", 8, 0, (void *)&to, size_of(family)));
    TRY(send(s, "friend", 6, 0));
    meet("sent");
    close(stranger);
    close(s);
    meet("gone");
    meet("refused");
    return;
  }
  TRY(connect(s, (void *)&to, size_of(family)));
  say_names("connected", s);
  meet("connected");
  meet("sent");
  TRY(recv(s, b, 64, 0));
  say("\"%.6s\"", b);
  TRY(recv(s, b, 64, MSG_DONTWAIT));
  meet("gone");
  TRY(send(s, "x", 1, 0));
  await("refused", s, POLLIN, 1000);
  TRY(send(s, "x", 1, 0));
  sleep_ms(30);
  TRY(recv(s, b, 64, 0));
  send(s, "x", 1, 0);
  sleep_ms(30);
  say("error %s", errno_name(option(s, SOL_SOCKET, SO_ERROR)));
  TRY(connect(s, &none, sizeof none));
  say_names("let go", s);
  TRY(send(s, "x", 1, 0));
  TRY(sendto(s, "x", 1, 0, (void *)&to, size_of(family)));
  sleep_ms(30);
  TRY(recv(s, b, 64, MSG_DONTWAIT));
  meet("refused");
  close(s);
}

static void large(int family) {
  static unsigned char b[70000];
  struct sockaddr_in6 to;
  int s = pair(family, &to), sizes[] = {1, 1472, 1473, 9000, 30000, 65507};
  set(s, SOL_SOCKET, SO_RCVBUF, 400000);
  for (int i = 0; i < 6; i++) {
    meet("next");
    if (!server) {
      memset(b, i + 1, sizes[i]);
      TRY(sendto(s, b, sizes[i], 0, (void *)&to, size_of(family)));
    } else {
      ssize_t n = recv(s, b, sizeof b, 0);
      say("%ld of %d, right %d", (long)n, sizes[i], n > 0 && b[0] == i + 1 && b[n - 1] == i + 1);
    }
  }
  if (!server) {
    TRY(sendto(s, b, 65536, 0, (void *)&to, size_of(family)));
    SET(s, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    if (family == AF_INET) {
      TRY(sendto(s, b, 1472, 0, (void *)&to, size_of(family)));
      TRY(sendto(s, b, 1473, 0, (void *)&to, size_of(family)));
    }
  }
  meet("sent");
  close(s);
}

static void many(void) {
  enum { COUNT = 20 };
  struct sockaddr_in6 to, from[COUNT];
  int s = pair(AF_INET, &to);
  char bytes[COUNT][16];
  struct mmsghdr m[COUNT] = {0};
  struct iovec v[COUNT];
  for (int i = 0; i < COUNT; i++) {
    snprintf(bytes[i], 16, "datagram %d", i);
    v[i] = (struct iovec){bytes[i], server ? 16 : strlen(bytes[i])};
    m[i].msg_hdr = (struct msghdr){.msg_iov = v + i, .msg_iovlen = 1, .msg_name = server ? &from[i] : &to,
                                   .msg_namelen = server ? sizeof to : size_of(AF_INET)};
  }
  if (!server) TRY(sendmmsg(s, m, COUNT, 0));
  if (!server) say("of %d", m[COUNT - 1].msg_len);
  meet("sent");
  if (server) {
    TRY(recvmmsg(s, m, 5, 0, NULL));
    say("of %d, from %s", m[4].msg_len, whose(&from[4]));
    TRY(recvmmsg(s, m, COUNT, MSG_WAITFORONE, NULL));
    say("of %d", m[14].msg_len);
    TRY(recvmmsg(s, m, COUNT, MSG_DONTWAIT, NULL));
  }
  meet("read");
  close(s);
}

static void events(void) {
  struct sockaddr_in6 to;
  int s = pair(AF_INET, &to);
  char b[16];
  if (!server) {
    for (int i = 0; i < 3; i++) {
      meet("watching");
      TRY(sendto(s, "x", 1, 0, (void *)&to, size_of(AF_INET)));
      meet("sent");
    }
    close(s);
    return;
  }
  int ep = NEED(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET}, got;
  NEED(epoll_ctl(ep, EPOLL_CTL_ADD, s, &e));
  for (int i = 0; i < 3; i++) {
    say("before: %d", epoll_wait(ep, &got, 1, 0));
    meet("watching");
    meet("sent");
    got.events = 0;
    int n = epoll_wait(ep, &got, 1, 1000);
    say("after: %d %x", n, got.events);
    say("again: %d", epoll_wait(ep, &got, 1, 10));
    if (i > 0) TRY(recv(s, b, 16, 0));
  }
  struct timeval t = {0, 60000};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  TRY(recv(s, b, 16, 0));
  TRY(recv(s, b, 16, 0));
  TRY(shutdown(s, SHUT_RD));
  close(ep), close(s);
}

static void one_address(void) {
  char b[8];
  int s = NEED(socket(AF_INET, SOCK_DGRAM, 0)), m = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in a = at(other4, 0);
  TRY(bind(s, (void *)&a, sizeof a));
  a = at(own4, 0);
  TRY(bind(s, (void *)&a, sizeof a));
  a.sin_port = htons(port_of(s));
  TRY(bind(m, (void *)&a, sizeof a));
  a = at("0.0.0.0", port_of(s));
  TRY(bind(m, (void *)&a, sizeof a));
  /* At home, by the own address. */
  a = at(own4, port_of(s));
  TRY(sendto(m, "home", 4, 0, (void *)&a, sizeof a));
  TRY(recv(s, b, 8, 0));
  close(s), close(m);
  const char *far_[] = {NOWHERE, UNREACHABLE, PROHIBITED};
  for (int i = 0; i < 3; i++) {
    s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
    a = at(far_[i], 9);
    say("to %s", far_[i]);
    TRY(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
    TRY(connect(s, (void *)&a, sizeof a));
    close(s);
  }
  s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  a = at(SILENT, 9);
  TRY(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
  a = at(other4, 0);
  TRY(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
  TRY(send(s, "x", 1, 0));
  close(s);
  meet("done");
}

static void mapped(void) {
  char b[16], text[64];
  struct sockaddr_in6 from, to;
  socklen_t size = sizeof from;
  int s = bound(AF_INET6);
  tell(port_of(s));
  int port = hear();
  snprintf(text, sizeof text, "::ffff:%s", other4);
  to = at6(text, port);
  meet("bound");
  if (!server) TRY(sendto(s, "mapped", 6, 0, (void *)&to, sizeof to));
  meet("sent");
  if (server) {
    TRY(recvfrom(s, b, 16, 0, (void *)&from, &size));
    say("from %s (%d)", whose(&from), size);
    TRY(sendto(s, "back", 4, 0, (void *)&from, size));
  }
  meet("answered");
  if (!server) TRY(recv(s, b, 16, 0));
  close(s);
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("IPv4");
  there_and_back(AF_INET);
  PART("IPv6");
  there_and_back(AF_INET6);
  PART("connected, IPv4");
  connected(AF_INET);
  PART("connected, IPv6");
  connected(AF_INET6);
  PART("large, IPv4");
  large(AF_INET);
  PART("large, IPv6");
  large(AF_INET6);
  PART("many");
  many();
  PART("events");
  events();
  PART("addresses");
  one_address();
  PART("mapped");
  mapped();
  return 0;
}
