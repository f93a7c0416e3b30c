/* Options and addresses of TCP sockets between two hosts. */
#include "hosts.h"

static void of_the_connection(int family) {
  int s = joined(family);
  GET(s, SOL_SOCKET, SO_ERROR);
  GET(s, SOL_SOCKET, SO_TYPE);
  GET(s, SOL_SOCKET, SO_DOMAIN);
  GET(s, SOL_SOCKET, SO_PROTOCOL);
  GET(s, SOL_SOCKET, SO_ACCEPTCONN);
  SET(s, IPPROTO_TCP, TCP_NODELAY, 1);
  SET(s, SOL_SOCKET, SO_KEEPALIVE, 1);
  SET(s, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  SET(s, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  SET(s, IPPROTO_TCP, TCP_KEEPCNT, 4);
  SET(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
  SET(s, IPPROTO_TCP, TCP_QUICKACK, 0);
  SET(s, IPPROTO_TCP, TCP_LINGER2, 7);
  SET(s, SOL_SOCKET, SO_PRIORITY, 2);
  SET(s, SOL_SOCKET, SO_OOBINLINE, 1);
  if (family == AF_INET) {
    SET(s, IPPROTO_IP, IP_TTL, 33);
    SET(s, IPPROTO_IP, IP_TOS, 16);
  } else {
    SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
    SET(s, IPPROTO_IPV6, IPV6_TCLASS, 16);
    GET(s, IPPROTO_IPV6, IPV6_V6ONLY);
  }
  struct linger l = {1, 3};
  TRY(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l));
  l = (struct linger){0};
  socklen_t size = sizeof l;
  TRY(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &size));
  say("linger %d %d", l.l_onoff, l.l_linger);
  char name[32] = "";
  size = sizeof name;
  TRY(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &size));
  YES(strlen(name) > 2);
  int mss = option(s, IPPROTO_TCP, TCP_MAXSEG);
  YES(mss > 1300 && mss <= 1460);
  TRY(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
  meet("set");
  close(s);
}

static void buffers(void) {
  int s = joined(AF_INET), before = option(s, SOL_SOCKET, SO_SNDBUF);
  YES(before >= 16384);
  SET(s, SOL_SOCKET, SO_SNDBUF, 20000);
  SET(s, SOL_SOCKET, SO_RCVBUF, 20000);
  SET(s, SOL_SOCKET, SO_SNDBUF, 1);
  SET(s, SOL_SOCKET, SO_RCVBUF, 1);
  meet("set");
  close(s);
  /* Small ones before the connection hold. */
  static char big[4 << 20];
  int l = -1;
  if (server) {
    l = NEED(socket(AF_INET, SOCK_STREAM, 0));
    set(l, SOL_SOCKET, SO_RCVBUF, 8192);
    struct sockaddr_in a = at("0.0.0.0", 0);
    NEED(bind(l, (void *)&a, sizeof a));
    NEED(listen(l, 4));
    tell(port_of(l));
    s = NEED(accept(l, NULL, NULL));
    GET(s, SOL_SOCKET, SO_RCVBUF);
    meet("full");
    close(s), close(l);
  } else {
    struct sockaddr_in a = at(other4, hear());
    s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    set(s, SOL_SOCKET, SO_SNDBUF, 8192);
    NEED(connect(s, (void *)&a, sizeof a));
    fcntl(s, F_SETFL, O_NONBLOCK);
    ssize_t n, total = 0;
    for (int i = 0; i < 50; i++, sleep_ms(2))
      while ((n = send(s, big, sizeof big, 0)) > 0) total += n;
    YES(total < 200000);
    meet("full");
    close(s);
  }
}

static void information(void) {
  int s = joined(AF_INET);
  char b[5000] = "";
  if (server) TRY(send(s, b, 5000, 0));
  else TRY(recv(s, b, 5000, MSG_WAITALL));
  meet("sent");
  struct tcp_info i = {0};
  socklen_t size = sizeof i;
  TRY(getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &size));
  say("state %d, ca_state %d, retransmits %d", i.tcpi_state, i.tcpi_ca_state, i.tcpi_retransmits);
  YES(i.tcpi_snd_mss > 1300 && i.tcpi_rcv_mss > 500 && i.tcpi_pmtu == 1500);
  YES(i.tcpi_snd_cwnd > 0 && i.tcpi_rto > 0 && i.tcpi_rtt > 0);
  YES(i.tcpi_options & TCPI_OPT_TIMESTAMPS && i.tcpi_options & TCPI_OPT_SACK && i.tcpi_options & TCPI_OPT_WSCALE);
  size = 8;
  TRY(getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &size));
  say("%d bytes", size);
  if (server) close(s);
  meet("closed");
  if (!server) {
    size = sizeof i;
    NEED(getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &size));
    say("state %d", i.tcpi_state);
    close(s);
  }
}

static void asks(int family, const char *what, int port) {
  char c;
  int s = NEED(socket(family, SOCK_STREAM, 0));
  struct sockaddr_in a = at(other4, port);
  struct sockaddr_in6 b = at6(family == AF_INET6 && !strcmp(what, "mapped") ? "::" : other6, port);
  if (!strcmp(what, "mapped")) {
    char text[64];
    snprintf(text, sizeof text, "::ffff:%s", other4);
    b = at6(text, port);
  }
  int r = family == AF_INET ? connect(s, (void *)&a, sizeof a) : connect(s, (void *)&b, sizeof b);
  say("%s: %s", what, r ? errno_name(errno) : "connected");
  if (r == 0) {
    say_names(what, s);
    TRY(recv(s, &c, 1, 0));
  }
  close(s);
}
static void answers(int l, int count) {
  for (int i = 0; i < count; i++) {
    struct sockaddr_in6 from;
    socklen_t size = sizeof from;
    int k = NEED(accept(l, (void *)&from, &size));
    say("from %s (%d)", whose(&from), size);
    say_names("accepted", k);
    TRY(send(k, "k", 1, 0));
    close(k);
  }
}

static void both_families(void) {
  if (!server) {
    int port = hear();
    asks(AF_INET, "IPv4", port);
    asks(AF_INET6, "IPv6", port);
    asks(AF_INET6, "mapped", port);
    meet("dual");
    port = hear();
    asks(AF_INET, "IPv4", port);
    asks(AF_INET6, "IPv6", port);
    asks(AF_INET6, "mapped", port);
    meet("only");
    return;
  }
  int l = listens6("::", 0);
  say_names("dual", l);
  tell(port_of(l));
  answers(l, 3);
  close(l);
  meet("dual");
  l = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  SET(l, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  struct sockaddr_in6 a = at6("::", 0);
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, 4));
  tell(port_of(l));
  answers(l, 1);
  meet("only");
  /* The other family's same port is free. */
  int port = port_of(l), m = NEED(socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in b = at("0.0.0.0", port);
  TRY(bind(m, (void *)&b, sizeof b));
  TRY(listen(m, 4));
  close(l), close(m);
}

static void one_address(void) {
  if (!server) {
    asks(AF_INET, "own address", hear());
    meet("own");
    asks(AF_INET, "loopback's", hear());
    meet("loopback");
    return;
  }
  int l = listens4(own4, 0);
  say_names("own", l);
  tell(port_of(l));
  answers(l, 1);
  meet("own");
  struct sockaddr_in a = at("127.0.0.1", port_of(l));
  int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(s, (void *)&a, sizeof a));
  close(s), close(l);
  l = listens4("127.0.0.1", 0);
  tell(port_of(l));
  meet("loopback");
  close(l);
}

/* The same host, by its own address, and by the wildcard's loopback. */
static void at_home(void) {
  const char *to[] = {own4, "127.0.0.1", "0.0.0.0"};
  int l = listens4("0.0.0.0", 0), port = port_of(l);
  for (int i = 0; i < 3; i++) {
    struct sockaddr_in a = at(to[i], port);
    int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    TRY(connect(s, (void *)&a, sizeof a));
    say_names("at home", s);
    int k = NEED(accept(l, NULL, NULL));
    TRY(send(k, "x", 1, 0));
    close(k), close(s);
  }
  close(l);
  struct sockaddr_in a = at(own4, port);
  int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(s, (void *)&a, sizeof a));
  close(s);
  meet("home");
}

static void binds(void) {
  int s = NEED(socket(AF_INET, SOCK_STREAM, 0)), yes = 1;
  struct sockaddr_in a = at(other4, 0);
  TRY(bind(s, (void *)&a, sizeof a));
  a = at("192.0.2.7", 0);
  TRY(bind(s, (void *)&a, sizeof a));
  a = at(own4, 0);
  TRY(bind(s, (void *)&a, sizeof a));
  say_names("bound", s);
  TRY(bind(s, (void *)&a, sizeof a));
  int m = NEED(socket(AF_INET, SOCK_STREAM, 0));
  a = at(own4, port_of(s));
  TRY(bind(m, (void *)&a, sizeof a));
  a = at("0.0.0.0", port_of(s));
  TRY(bind(m, (void *)&a, sizeof a));
  TRY(listen(s, 1));
  NEED(setsockopt(m, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes));
  TRY(bind(m, (void *)&a, sizeof a));
  close(s), close(m);
  s = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  struct sockaddr_in6 b = at6(other6, 0);
  TRY(bind(s, (void *)&b, sizeof b));
  b = at6(own6, 0);
  TRY(bind(s, (void *)&b, sizeof b));
  say_names("bound", s);
  close(s);
  /* listen() without bind() takes a port that is reached. */
  s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(listen(s, 5));
  say_names("listening", s);
  if (server) {
    tell(port_of(s));
    answers(s, 1);
  } else asks(AF_INET, "a port of its own", hear());
  meet("asked");
  close(s);
  /* A port chosen before connect() is the one that the other sees. */
  if (server) {
    s = listens4("0.0.0.0", 0);
    tell(port_of(s));
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    int k = NEED(accept(s, (void *)&from, &size));
    say("the right port %d", ntohs(from.sin_port) == hear());
    close(k), close(s);
  } else {
    struct sockaddr_in to = at(other4, hear());
    s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    a = at("0.0.0.0", 0);
    NEED(bind(s, (void *)&a, sizeof a));
    int port = port_of(s);
    TRY(connect(s, (void *)&to, sizeof to));
    YES(port_of(s) == port);
    tell(port);
    close(s);
  }
  meet("chosen");
}

static void shared_port(void) {
  enum { COUNT = 60 };
  if (!server) {
    int port = hear();
    for (int i = 0; i < COUNT; i++) close(connects4(port));
    meet("connected");
    return;
  }
  int l[2], seen[2] = {0, 0};
  struct sockaddr_in a = at("0.0.0.0", 0);
  for (int i = 0; i < 2; i++) {
    l[i] = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    SET(l[i], SOL_SOCKET, SO_REUSEPORT, 1);
    TRY(bind(l[i], (void *)&a, sizeof a));
    a.sin_port = htons(port_of(l[i]));
    TRY(listen(l[i], 100));
  }
  int third = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(bind(third, (void *)&a, sizeof a));
  close(third);
  tell(port_of(l[0]));
  meet("connected");
  for (int i = 0; i < 2; i++)
    for (int k; (k = accept(l[i], NULL, NULL)) >= 0; seen[i]++) close(k);
  say("%d in all, each got some: %s", seen[0] + seen[1], seen[0] && seen[1] ? "yes" : "no");
  close(l[0]), close(l[1]);
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("options, IPv4");
  of_the_connection(AF_INET);
  PART("options, IPv6");
  of_the_connection(AF_INET6);
  PART("buffers");
  buffers();
  PART("information");
  information();
  PART("both families");
  both_families();
  PART("one address");
  one_address();
  PART("at home");
  at_home();
  PART("binds");
  binds();
  PART("a shared port");
  shared_port();
  return 0;
}
