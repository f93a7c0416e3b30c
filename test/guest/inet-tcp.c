/* TCP over loopback: names, states, errors, poll masks, shutdown, reset, urgent data, options, both families. */
#include "inet.h"
#include <netinet/tcp.h>

/* What takes effect through the network takes a moment on a real one. */
static void settle(void) { sleep_ms(20); }

static int option(int fd, int level, int name) {
  int v = -1;
  socklen_t l = sizeof v;
  return getsockopt(fd, level, name, &v, &l) ? -errno : v;
}
static int set(int fd, int level, int name, int v) { return setsockopt(fd, level, name, &v, sizeof v) ? -errno : 0; }
#define SET(fd, level, name, v) say("set %s %d: %d, then %d", #name, v, set(fd, level, name, v), option(fd, level, name))

static struct sockaddr_in6 at6(const char *ip, int port) {
  struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  inet_pton(AF_INET6, ip, &a.sin6_addr);
  return a;
}
/* Names with ports only as zero, the known one, or another. */
static void names(const char *what, int fd, int known) {
  for (int peer = 0; peer < 2; peer++) {
    union {
      struct sockaddr sa;
      struct sockaddr_in v4;
      struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    socklen_t l = sizeof a;
    char ip[64];
    if (peer ? getpeername(fd, &a.sa, &l) : getsockname(fd, &a.sa, &l)) {
      say("%s %s: %s", what, peer ? "peer" : "own", errno_name(errno));
      continue;
    }
    int port = ntohs(a.v4.sin_port);
    inet_ntop(a.sa.sa_family, a.sa.sa_family == AF_INET ? (void *)&a.v4.sin_addr : (void *)&a.v6.sin6_addr, ip, sizeof ip);
    say("%s %s: family %d length %d %s port %s", what, peer ? "peer" : "own", a.sa.sa_family, l, ip,
        port == 0 ? "0" : port == known ? "known" : "other");
  }
}

static int listener(int backlog, int *port) {
  int l = NEED(socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in a = at("127.0.0.1", 0);
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, backlog));
  *port = port_of(l);
  return l;
}
static void connected(int s[2]) {
  int port, l = listener(5, &port);
  struct sockaddr_in a = at("127.0.0.1", port);
  s[0] = NEED(socket(AF_INET, SOCK_STREAM, 0));
  NEED(connect(s[0], (void *)&a, sizeof a));
  s[1] = NEED(accept(l, NULL, NULL));
  close(l);
}

static int signals;
static void on_pipe(int s) { (void)s, signals++; }

static void states(void) {
  char b[64];
  int port, s[2];
  say("-- states");
  int f = NEED(socket(AF_INET, SOCK_STREAM, 0));
  say_events("fresh", f);
  names("fresh", f, 0);
  TRY(recv(f, b, 1, 0));
  TRY(send(f, b, 1, MSG_NOSIGNAL));
  TRY(shutdown(f, SHUT_RDWR));
  say_events("after shutdown", f);
  TRY(accept(f, NULL, NULL));
  TRY(listen(f, 1));
  say_events("listening unbound", f);
  names("listening unbound", f, 0);
  close(f);
  int l = listener(1, &port);
  struct sockaddr_in a = at("127.0.0.1", port);
  say_events("listening", l);
  names("listening", l, port);
  TRY(recv(l, b, 1, MSG_DONTWAIT));
  TRY(send(l, b, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
  TRY(connect(l, (void *)&a, sizeof a));
  TRY(bind(l, (void *)&a, sizeof a));
  say("accepting %d type %d protocol %d domain %d", option(l, SOL_SOCKET, SO_ACCEPTCONN),
      option(l, SOL_SOCKET, SO_TYPE), option(l, SOL_SOCKET, SO_PROTOCOL), option(l, SOL_SOCKET, SO_DOMAIN));
  int c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(connect(c, (void *)&a, sizeof a));
  say_events("connected", c);
  names("connected", c, port);
  say_events("listener with one", l);
  int k = NEED(accept(l, NULL, NULL));
  say_events("accepted", k);
  names("accepted", k, port);
  TRY(listen(c, 1));
  TRY(send(c, "hello", 5, 0));
  settle();
  say_events("data", k);
  TRY(recv(k, b, 3, MSG_PEEK));
  TRY(recv(k, b, 3, MSG_TRUNC));
  TRY(recv(k, b, 30, 0));
  TRY(recv(k, b, 30, MSG_DONTWAIT));
  TRY(shutdown(c, SHUT_WR));
  settle();
  say_events("own end shut", c);
  say_events("peer's end shut", k);
  TRY(send(c, "x", 1, MSG_NOSIGNAL));
  TRY(recv(k, b, 1, 0));
  TRY(send(k, "back", 4, 0));
  TRY(recv(c, b, 10, 0));
  TRY(shutdown(k, SHUT_WR));
  settle();
  say_events("both shut", c);
  say_events("both shut", k);
  names("both shut", c, port);
  TRY(recv(c, b, 10, 0));
  TRY(shutdown(c, SHUT_WR));
  close(c), close(k);
  say("-- close and reset");
  connected(s);
  close(s[1]);
  settle();
  say_events("peer closed", s[0]);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  settle();
  say_events("after a send into it", s[0]);
  signals = 0;
  TRY(write(s[0], "x", 1));
  say("signals %d", signals);
  TRY(recv(s[0], b, 1, 0));
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  close(s[0]);
  connected(s);
  send(s[0], "unread", 6, 0);
  send(s[1], "mine", 4, 0);
  settle();
  close(s[1]);
  settle();
  say_events("reset", s[0]);
  TRY(recv(s[0], b, 10, 0));
  TRY(recv(s[0], b, 10, 0));
  TRY(recv(s[0], b, 10, 0));
  names("reset", s[0], 0);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  close(s[0]);
  connected(s);
  send(s[0], "unread", 6, 0);
  settle();
  close(s[1]);
  settle();
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  close(s[0]);
  connected(s);
  struct linger lin = {1, 0};
  NEED(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &lin, sizeof lin));
  close(s[1]);
  settle();
  say("linger 0: error %d", option(s[0], SOL_SOCKET, SO_ERROR));
  TRY(recv(s[0], b, 10, 0));
  close(s[0]);
  connected(s);
  TRY(shutdown(s[0], SHUT_RD));
  settle();
  say_events("shut for reading", s[0]);
  TRY(recv(s[0], b, 1, 0));
  TRY(send(s[1], "y", 1, MSG_NOSIGNAL));
  settle();
  TRY(recv(s[0], b, 10, 0));
  close(s[0]), close(s[1]);
  say("-- the listener goes");
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  NEED(connect(c, (void *)&a, sizeof a));
  close(l);
  settle();
  TRY(recv(c, b, 1, 0));
  close(c);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(connect(c, (void *)&a, sizeof a));
  names("refused", c, port);
  l = listener(5, &port);
  TRY(shutdown(l, SHUT_WR));
  TRY(shutdown(l, SHUT_RD));
  TRY(accept(l, NULL, NULL));
  say_events("shut listener", l);
  TRY(listen(l, 5));
  close(l), close(c);
}

static void nonblocking(void) {
  say("-- not blocking");
  char b[16];
  int port, l = listener(5, &port), err;
  struct sockaddr_in a = at("127.0.0.1", port);
  int c = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  TRY(connect(c, (void *)&a, sizeof a));
  struct pollfd p = {c, POLLOUT, 0};
  TRY(poll(&p, 1, 1000));
  say("error %d", option(c, SOL_SOCKET, SO_ERROR));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(recv(c, b, 1, 0));
  int k = NEED(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
  say("flags %x %x", fcntl(k, F_GETFL) & O_NONBLOCK, fcntl(k, F_GETFD));
  close(l);
  c = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  TRY(connect(c, (void *)&a, sizeof a));
  settle();
  say_events("refused", c);
  err = option(c, SOL_SOCKET, SO_ERROR);
  say("error %d then %d", err, option(c, SOL_SOCKET, SO_ERROR));
  say_events("error taken", c);
  TRY(connect(c, (void *)&a, sizeof a));
  close(c);
  c = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  TRY(connect(c, (void *)&a, sizeof a));
  settle();
  TRY(send(c, "x", 1, MSG_NOSIGNAL));
  TRY(send(c, "x", 1, MSG_NOSIGNAL));
  close(c);
  static char big[1 << 16];
  int s[2];
  connected(s);
  fcntl(s[0], F_SETFL, O_NONBLOCK);
  long total = 0, n;
  while ((n = send(s[0], big, sizeof big, 0)) > 0) total += n;
  say("full: %s, more than 64 KiB %d", errno_name(errno), total > 65536);
  say_events("full", s[0]);
  long got = 0;
  while (got < total && (n = recv(s[1], big, sizeof big, 0)) > 0) got += n;
  YES(got == total);
  settle();
  say_events("drained", s[0]);
  close(s[0]), close(s[1]);
}

static void binding(void) {
  say("-- binding");
  int port, l = listener(5, &port), c, yes = 1;
  struct sockaddr_in a = at("127.0.0.1", port), other = at("127.0.0.2", port), any = at("0.0.0.0", port);
  struct sockaddr_in far_ = at("192.0.2.1", 0), un = {.sin_family = AF_UNIX}, unspec = {.sin_family = AF_UNSPEC};
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(bind(c, (void *)&a, sizeof a));
  TRY(bind(c, (void *)&any, sizeof any));
  TRY(bind(c, (void *)&far_, sizeof far_));
  TRY(bind(c, (void *)&un, sizeof un));
  TRY(bind(c, (void *)&a, 15));
  TRY(bind(c, BAD, 16));
  TRY(bind(c, (void *)&other, sizeof other));
  TRY(bind(c, (void *)&other, sizeof other));
  names("other", c, port);
  close(c);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(bind(c, (void *)&unspec, sizeof unspec));
  names("unspec", c, port);
  close(c);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  NEED(setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &yes, 4));
  TRY(bind(c, (void *)&a, sizeof a));
  close(c), close(l);
  int d[3];
  for (int i = 0; i < 3; i++) {
    d[i] = NEED(socket(AF_INET, SOCK_STREAM, 0));
    NEED(setsockopt(d[i], SOL_SOCKET, i == 2 ? SO_REUSEPORT : SO_REUSEADDR, &yes, 4));
  }
  struct sockaddr_in fresh = at("127.0.0.1", 0);
  TRY(bind(d[0], (void *)&fresh, sizeof fresh));
  fresh.sin_port = htons(port_of(d[0]));
  TRY(bind(d[1], (void *)&fresh, sizeof fresh));
  TRY(bind(d[2], (void *)&fresh, sizeof fresh));
  TRY(listen(d[0], 1));
  TRY(listen(d[1], 1));
  close(d[0]), close(d[1]), close(d[2]);
  for (int i = 0; i < 2; i++) {
    d[i] = NEED(socket(AF_INET, SOCK_STREAM, 0));
    NEED(setsockopt(d[i], SOL_SOCKET, SO_REUSEPORT, &yes, 4));
  }
  fresh = at("127.0.0.1", 0);
  NEED(bind(d[0], (void *)&fresh, sizeof fresh));
  fresh.sin_port = htons(port_of(d[0]));
  TRY(bind(d[1], (void *)&fresh, sizeof fresh));
  TRY(listen(d[0], 5));
  TRY(listen(d[1], 5));
  int seen[2] = {0, 0}, tries = 0;
  for (; tries < 200 && !(seen[0] && seen[1]); tries++) {
    int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    NEED(connect(s, (void *)&fresh, sizeof fresh));
    struct pollfd p[2] = {{d[0], POLLIN, 0}, {d[1], POLLIN, 0}};
    poll(p, 2, 1000);
    int who = p[0].revents ? 0 : 1;
    close(NEED(accept(d[who], NULL, NULL)));
    close(s), seen[who]++;
  }
  say("both listeners of a shared port get connections: %s", seen[0] && seen[1] ? "yes" : "no");
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in low = at("127.0.0.1", 81);
    TRY(bind(s, (void *)&low, sizeof low));
  });
}

static void addresses(void) {
  say("-- addresses");
  int port, l = NEED(socket(AF_INET, SOCK_STREAM, 0)), c, yes = 1, no = 0;
  struct sockaddr_in a = at("0.0.0.0", 0), unspec = {.sin_family = AF_UNSPEC};
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, 20));
  port = port_of(l);
  names("any", l, port);
  const char *to[] = {"127.0.0.1", "127.1.2.3", "0.0.0.0"};
  for (int i = 0; i < 3; i++) {
    a = at(to[i], port);
    c = NEED(socket(AF_INET, SOCK_STREAM, 0));
    say("connect %s: %d", to[i], connect(c, (void *)&a, sizeof a) ? -errno : 0);
    names("client", c, port);
    int k = NEED(accept(l, NULL, NULL));
    names("server", k, port);
    close(k);
    if (i == 0) {
      TRY(connect(c, (void *)&unspec, sizeof unspec));
      names("disconnected", c, port);
      say_events("disconnected", c);
    }
    close(c);
  }
  struct sockaddr_in6 a6 = at6("::ffff:127.0.0.1", port);
  c = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a6, sizeof a6));
  names("mapped", c, port);
  close(c);
  c = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  a6 = at6("::1", port);
  TRY(connect(c, (void *)&a6, sizeof a6));
  TRY(connect(c, (void *)&a6, 20));
  TRY(connect(c, (void *)&a, sizeof a));
  close(c);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a6, sizeof a6));
  TRY(connect(c, (void *)&a, 8));
  TRY(connect(c, (void *)&a, 1));
  close(c);
  int l6 = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  a6 = at6("::", 0);
  NEED(bind(l6, (void *)&a6, sizeof a6));
  NEED(listen(l6, 20));
  port = port_of(l6);
  names("any6", l6, port);
  a = at("127.0.0.1", port);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(bind(c, (void *)&a, sizeof a));
  TRY(connect(c, (void *)&a, sizeof a));
  names("4 to 6", c, port);
  int k = NEED(accept(l6, NULL, NULL));
  names("6 from 4", k, port);
  close(c), close(k);
  a6 = at6("::1", port);
  c = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a6, sizeof a6));
  names("6 to 6", c, port);
  k = NEED(accept(l6, NULL, NULL));
  names("6 from 6", k, port);
  close(c), close(k), close(l6);
  l6 = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  TRY(setsockopt(l6, IPPROTO_IPV6, IPV6_V6ONLY, &yes, 4));
  a6 = at6("::", 0);
  NEED(bind(l6, (void *)&a6, sizeof a6));
  TRY(setsockopt(l6, IPPROTO_IPV6, IPV6_V6ONLY, &no, 4));
  port = port_of(l6);
  c = NEED(socket(AF_INET, SOCK_STREAM, 0));
  a = at("0.0.0.0", port);
  TRY(bind(c, (void *)&a, sizeof a));
}

static volatile int urgent;
static void on_urgent(int s) { (void)s, urgent++; }

static void out_of_band(void) {
  say("-- urgent data");
  int s[2], mark;
  char b[32] = "";
  connected(s);
  signal(SIGURG, on_urgent);
  fcntl(s[1], F_SETOWN, getpid());
  TRY(recv(s[1], b, 1, MSG_OOB | MSG_DONTWAIT));
  TRY(send(s[0], "abc", 3, 0));
  TRY(send(s[0], "dX", 2, MSG_OOB));
  TRY(send(s[0], "efg", 3, 0));
  settle();
  say("signals %d", urgent);
  say_events("urgent", s[1]);
  ioctl(s[1], SIOCATMARK, &mark);
  say("at mark %d", mark);
  TRY(recv(s[1], b, 20, 0));
  say("\"%.4s\"", b);
  ioctl(s[1], SIOCATMARK, &mark);
  say("at mark %d", mark);
  TRY(recv(s[1], b, 20, MSG_OOB));
  say("\"%.1s\"", b);
  TRY(recv(s[1], b, 20, MSG_OOB));
  TRY(recv(s[1], b, 20, 0));
  say("\"%.3s\"", b);
  int yes = 1;
  NEED(setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &yes, 4));
  send(s[0], "ab", 2, 0);
  send(s[0], "Y", 1, MSG_OOB);
  settle();
  TRY(recv(s[1], b, 20, MSG_OOB));
  TRY(recv(s[1], b, 20, 0));
  ioctl(s[1], SIOCATMARK, &mark);
  say("at mark %d", mark);
  TRY(recv(s[1], b, 20, 0));
  say("\"%.1s\"", b);
  close(s[0]), close(s[1]);
}

static void options(void) {
  say("-- options");
  int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  SET(s, IPPROTO_TCP, TCP_NODELAY, 5);
  SET(s, IPPROTO_TCP, TCP_CORK, 1);
  SET(s, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  SET(s, IPPROTO_TCP, TCP_KEEPIDLE, 0);
  SET(s, IPPROTO_TCP, TCP_KEEPINTVL, 40000);
  SET(s, IPPROTO_TCP, TCP_KEEPCNT, 128);
  SET(s, IPPROTO_TCP, TCP_MAXSEG, 10);
  SET(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
  SET(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 2);
  SET(s, SOL_SOCKET, SO_KEEPALIVE, 7);
  SET(s, SOL_SOCKET, SO_REUSEADDR, 7);
  SET(s, SOL_SOCKET, SO_REUSEPORT, 7);
  SET(s, SOL_SOCKET, SO_RCVLOWAT, 0);
  SET(s, SOL_SOCKET, SO_RCVLOWAT, 12);
  SET(s, SOL_SOCKET, SO_PRIORITY, 3);
  SET(s, SOL_SOCKET, SO_TYPE, 3);
  SET(s, SOL_SOCKET, 999, 3);
  SET(s, 999, 1, 3);
  SET(s, IPPROTO_TCP, 999, 3);
  SET(s, IPPROTO_IP, IP_TTL, 30);
  SET(s, IPPROTO_IP, IP_TTL, 0);
  SET(s, IPPROTO_IP, IP_TTL, 256);
  SET(s, IPPROTO_IP, IP_TTL, -1);
  SET(s, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
  SET(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  char small = 9;
  socklen_t l = 1;
  TRY(setsockopt(s, IPPROTO_IP, IP_TTL, &small, 1));
  TRY(getsockopt(s, IPPROTO_IP, IP_TTL, &small, &l));
  say("%d bytes: %d", l, small);
  TRY(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &small, 1));
  TRY(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, BAD, 4));
  TRY(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &small, -1));
  l = 4;
  TRY(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, BAD, &l));
  TRY(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &small, BAD));
  l = -1;
  TRY(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &small, &l));
  struct linger lin = {7, 5};
  TRY(setsockopt(s, SOL_SOCKET, SO_LINGER, &lin, sizeof lin));
  l = sizeof lin;
  TRY(getsockopt(s, SOL_SOCKET, SO_LINGER, &lin, &l));
  say("linger %d %d", lin.l_onoff, lin.l_linger);
  TRY(setsockopt(s, SOL_SOCKET, SO_LINGER, &lin, 4));
  int v6 = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  SET(v6, IPPROTO_IPV6, IPV6_V6ONLY, 4);
  SET(v6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 4);
  SET(v6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 300);
  SET(v6, IPPROTO_IPV6, IPV6_TCLASS, 12);
  TRY(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
  TRY(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
  struct tcp_info info;
  l = sizeof info;
  int port, lis = listener(3, &port);
  TRY(getsockopt(lis, IPPROTO_TCP, TCP_INFO, &info, &l) >= 0);
  say("state %d queue %d", info.tcpi_state, info.tcpi_sacked);
}

int main(void) {
  begin_for(30);
  signal(SIGPIPE, on_pipe);
  states();
  nonblocking();
  binding();
  addresses();
  out_of_band();
  options();
  return 0;
}
