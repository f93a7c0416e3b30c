/*
 * Helpers of the programs for two hosts. The same program runs on both, told which side it is and the addresses:
 *
 *   PROGRAM server|client OWN4 OTHER4 OWN6 OTHER6
 *
 * Each side prints what it observes. They keep in step over a connection of their own: meet() waits until both have come
 * there, tell() and hear() pass a number. As with all conformance programs nothing printed depends on the run.
 */
#ifndef HOSTS_H
#define HOSTS_H

#include "../../guest/inet.h"
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#define CONTROL_PORT 7000
/* Routes of both hosts: nothing comes back from the first, the others are refused by the route itself. */
#define SILENT "10.98.0.1"
#define UNREACHABLE "10.99.1.1"
#define PROHIBITED "10.99.2.1"
/* No route at all. */
#define NOWHERE "192.0.2.1"

static bool server;
static const char *own4, *other4, *own6, *other6;
static int control = -1;

static struct sockaddr_in6 at6(const char *ip, int port) {
  struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  inet_pton(AF_INET6, ip, &a.sin6_addr);
  return a;
}

static void all_of(int fd, void *bytes, size_t size, bool sending) {
  for (size_t done = 0; done < size;) {
    struct pollfd p = {fd, sending ? POLLOUT : POLLIN, 0};
    if (poll(&p, 1, 15000) <= 0) say("the other side does not answer"), _exit(96);
    ssize_t n = sending ? send(fd, (char *)bytes + done, size - done, MSG_NOSIGNAL)
                        : recv(fd, (char *)bytes + done, size - done, 0);
    if (n <= 0) say("the other side is gone: %s", n < 0 ? errno_name(errno) : "end"), _exit(96);
    done += n;
  }
}
static inline void tell(int value) { all_of(control, &value, sizeof value, true); }
static inline int hear(void) {
  int value;
  all_of(control, &value, sizeof value, false);
  return value;
}
/* Both have come here, and what was sent before has arrived. */
static void meet(const char *where) {
  char mine[40] = "", theirs[40];
  strncpy(mine, where, sizeof mine - 1);
  all_of(control, mine, sizeof mine, true);
  all_of(control, theirs, sizeof theirs, false);
  if (strcmp(mine, theirs)) say("not in step: here %s, there %s", mine, theirs), _exit(95);
  sleep_ms(15);
}
#define PART(title) (say("-- " title), meet(title))

static inline int listens(const struct sockaddr *a, socklen_t size, int backlog) {
  int l = NEED(socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)), yes = 1;
  NEED(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes));
  NEED(bind(l, a, size));
  NEED(listen(l, backlog));
  return l;
}
static inline int listens4(const char *ip, int port) {
  struct sockaddr_in a = at(ip, port);
  return listens((void *)&a, sizeof a, 64);
}
static inline int listens6(const char *ip, int port) {
  struct sockaddr_in6 a = at6(ip, port);
  return listens((void *)&a, sizeof a, 64);
}
static inline int connects4(int port) {
  struct sockaddr_in a = at(other4, port);
  int s = NEED(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  NEED(connect(s, (void *)&a, sizeof a));
  return s;
}
static inline int connects6(int port) {
  struct sockaddr_in6 a = at6(other6, port);
  int s = NEED(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  NEED(connect(s, (void *)&a, sizeof a));
  return s;
}
/* One end each of a connection that the client has made. */
static inline int joined(int family) {
  int s;
  if (server) {
    int l = family == AF_INET ? listens4("0.0.0.0", 0) : listens6("::", 0);
    tell(port_of(l));
    s = NEED(accept4(l, NULL, NULL, SOCK_CLOEXEC));
    close(l);
  } else {
    int port = hear();
    s = family == AF_INET ? connects4(port) : connects6(port);
  }
  meet("joined");
  return s;
}

/* Whose address it is: never the address itself, since the other direction's is another. */
static const char *whose(const void *any) {
  static char text[4][80];
  static int turn;
  char *out = text[turn++ & 3], ip[INET6_ADDRSTRLEN] = "?", mapped[80];
  const struct sockaddr_in *a = any;
  const struct sockaddr_in6 *b = any;
  if (a->sin_family == AF_INET) inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip);
  else if (a->sin_family == AF_INET6) inet_ntop(AF_INET6, &b->sin6_addr, ip, sizeof ip);
  else return snprintf(out, 80, "family %d", a->sin_family), out;
  const char *own[] = {own4, own6}, *other[] = {other4, other6};
  const char *name = ip;
  for (int i = 0; i < 2; i++) {
    snprintf(mapped, sizeof mapped, "::ffff:%s", own[i]);
    if (!strcmp(ip, own[i])) name = "own";
    if (!strcmp(ip, mapped)) name = "own, mapped";
    snprintf(mapped, sizeof mapped, "::ffff:%s", other[i]);
    if (!strcmp(ip, other[i])) name = "other's";
    if (!strcmp(ip, mapped)) name = "other's, mapped";
  }
  snprintf(out, 80, "%s%s%s", a->sin_family == AF_INET ? "4 " : "6 ", name, a->sin_port ? " with a port" : "");
  return out;
}
static inline void say_names(const char *what, int fd) {
  struct sockaddr_in6 a;
  socklen_t size = sizeof a;
  int r = getsockname(fd, (void *)&a, &size);
  say("%s: name %s (%d)", what, r ? errno_name(errno) : whose(&a), r ? 0 : size);
  size = sizeof a;
  r = getpeername(fd, (void *)&a, &size);
  say("%s: peer %s (%d)", what, r ? errno_name(errno) : whose(&a), r ? 0 : size);
}

static inline int option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, level, name, &value, &size) ? -errno : value;
}
static inline int set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}
/* Sets an option and says what it is then. */
#define SET(fd, level, name, value) \
  ({ int set_ = set(fd, level, name, value), is_ = option(fd, level, name); \
     say(#name " %d: %s, then %d", value, set_ ? errno_name(-set_) : "ok", is_); })
#define GET(fd, level, name) say(#name ": %d", option(fd, level, name))

/* Waits for events; which, or that there were none. */
static inline void await(const char *what, int fd, int events, int ms) {
  struct pollfd p = {fd, events, 0};
  int n = poll(&p, 1, ms);
  say("%s: poll %d%s%s%s%s%s%s", what, n, p.revents & POLLIN ? " IN" : "", p.revents & POLLOUT ? " OUT" : "",
      p.revents & POLLPRI ? " PRI" : "", p.revents & POLLERR ? " ERR" : "", p.revents & POLLHUP ? " HUP" : "",
      p.revents & POLLRDHUP ? " RDHUP" : "");
}

static volatile int broken_pipes, urgent_signals, io_signals;
static inline void on_pipe(int s) { (void)s, broken_pipes++; }
static inline void on_urgent(int s) { (void)s, urgent_signals++; }
static inline void on_io(int s) { (void)s, io_signals++; }

static inline uint32_t checksum(uint32_t sum, const unsigned char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 16777619u;
  return sum;
}

static void begin_hosts(int count, char **words) {
  if (count != 6) say("PROGRAM server|client OWN4 OTHER4 OWN6 OTHER6"), _exit(94);
  server = words[1][0] == 's';
  own4 = words[2], other4 = words[3], own6 = words[4], other6 = words[5];
  begin_for(45);
  handle(SIGPIPE, on_pipe, SA_RESTART);
  if (server) {
    int l = listens4("0.0.0.0", CONTROL_PORT);
    struct pollfd p = {l, POLLIN, 0};
    if (poll(&p, 1, 20000) != 1) say("no client comes"), _exit(96);
    control = NEED(accept4(l, NULL, NULL, SOCK_CLOEXEC));
    close(l);
  } else {
    struct sockaddr_in a = at(other4, CONTROL_PORT);
    for (int64_t end = now_ns() + 20000000000ll;;) {
      control = NEED(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (connect(control, (void *)&a, sizeof a) == 0) break;
      if (now_ns() > end) say("no server: %s", errno_name(errno)), _exit(96);
      close(control);
      sleep_ms(20);
    }
  }
  set(control, IPPROTO_TCP, TCP_NODELAY, 1);
  meet("begin");
}

#endif
