/* AF_UNIX: poll masks in every state, errors, shutdown, backlog, timeouts, buffer accounting, control message corners. */
#include "guest.h"
#include <linux/sockios.h>

static socklen_t abstract(struct sockaddr_un *a, const char *name) {
  memset(a, 0, sizeof *a);
  a->sun_family = AF_UNIX;
  return offsetof(struct sockaddr_un, sun_path) + 1 + snprintf(a->sun_path + 1, 100, "runts-corner-%d-%s", getpid(), name);
}

static int option(int fd, int name) {
  int v = -1;
  socklen_t l = sizeof v;
  return getsockopt(fd, SOL_SOCKET, name, &v, &l) ? -errno : v;
}
static int outq(int fd) {
  int v = -1;
  return ioctl(fd, SIOCOUTQ, &v) ? -errno : v;
}
static int inq(int fd) {
  int v = -1;
  return ioctl(fd, SIOCINQ, &v) ? -errno : v;
}
static int signals;
static void on_pipe(int s) { (void)s, signals++; }

static const char *type_name(int t) {
  return t == SOCK_STREAM ? "stream" : t == SOCK_DGRAM ? "dgram" : "seqpacket";
}

static void states(int type) {
  struct sockaddr_un a;
  socklen_t n = abstract(&a, "state");
  char b[64];
  int s[2];
  say("-- states of %s", type_name(type));
  int l = NEED(socket(AF_UNIX, type, 0));
  say_events("fresh", l);
  TRY(recv(l, b, 1, MSG_DONTWAIT));
  TRY(send(l, b, 1, MSG_NOSIGNAL));
  TRY(shutdown(l, SHUT_RD));
  say_events("shut for reading", l);
  close(l);
  l = NEED(socket(AF_UNIX, type, 0));
  NEED(bind(l, (void *)&a, n));
  TRY(listen(l, 3));
  say_events("listening", l);
  TRY(recv(l, b, 1, MSG_DONTWAIT));
  TRY(send(l, b, 1, MSG_NOSIGNAL));
  say("inq %d outq %d", inq(l), outq(l));
  if (type != SOCK_DGRAM) {
    TRY(connect(l, (void *)&a, n));
    int c = NEED(socket(AF_UNIX, type, 0));
    TRY(connect(c, (void *)&a, n));
    say_events("connected", c);
    say_events("listener with one waiting", l);
    TRY(shutdown(l, SHUT_RD));
    int d = NEED(socket(AF_UNIX, type, 0));
    TRY(connect(d, (void *)&a, n));
    int k = accept(l, NULL, NULL);
    YES(k >= 0);
    TRY(accept(l, NULL, NULL));
    say_events("listener shut", l);
    close(k), close(d);
    say_events("peer closed before anything", c);
    TRY(recv(c, b, 1, 0));
    close(c);
  }
  close(l);
  NEED(socketpair(AF_UNIX, type, 0, s));
  say_events("pair", s[0]);
  TRY(send(s[0], "abc", 3, 0));
  say_events("pair with data", s[1]);
  say("inq %d outq %d", inq(s[1]), outq(s[0]));
  TRY(shutdown(s[0], SHUT_WR));
  say_events("own write end shut", s[0]);
  say_events("peer's write end shut", s[1]);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  TRY(recv(s[1], b, 10, MSG_DONTWAIT));
  TRY(recv(s[1], b, 10, MSG_DONTWAIT));
  TRY(shutdown(s[1], SHUT_RD));
  TRY(shutdown(s[1], SHUT_WR));
  say_events("both ends shut", s[1]);
  say_events("both ends shut, the other", s[0]);
  close(s[0]), close(s[1]);
  NEED(socketpair(AF_UNIX, type, 0, s));
  send(s[0], "unread", 6, 0);
  close(s[1]);
  say_events("peer closed with data unread", s[0]);
  say("error %d", option(s[0], SO_ERROR));
  say_events("after SO_ERROR", s[0]);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  TRY(recv(s[0], b, 1, MSG_DONTWAIT));
  close(s[0]);
  NEED(socketpair(AF_UNIX, type, 0, s));
  send(s[0], "unread", 6, 0);
  send(s[1], "mine", 4, 0);
  close(s[1]);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  TRY(recv(s[0], b, 10, MSG_DONTWAIT));
  TRY(recv(s[0], b, 10, MSG_DONTWAIT));
  TRY(recv(s[0], b, 10, MSG_DONTWAIT));
  close(s[0]);
  NEED(socketpair(AF_UNIX, type, 0, s));
  close(s[1]);
  signals = 0;
  TRY(write(s[0], "x", 1));
  say("signals %d", signals);
  TRY(send(s[0], "x", 1, 0));
  say("signals %d", signals);
  TRY(send(s[0], "x", 1, MSG_NOSIGNAL));
  say("signals %d", signals);
  close(s[0]);
}

static void buffers(int type) {
  say("-- buffers of %s", type_name(type));
  static const int sizes[] = {1, 192, 193, 448, 704, 705, 1728, 3776, 3777, 7872, 7873, 16064, 16065, 36544, 36545, 65536, 100000};
  static char big[1 << 20];
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int s[2], messages = 0, n;
    NEED(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
    n = write(s[0], big, sizes[i]);
    int first = outq(s[0]);
    do messages++;
    while ((n = write(s[0], big, sizes[i])) > 0);
    say("%d bytes: %d, %d messages, then %s", sizes[i], first, messages, errno_name(errno));
    if (i == 0) {
      say_events("full", s[0]);
      int read_ = 0;
      struct pollfd p = {s[0], POLLOUT, 0};
      while (poll(&p, 1, 0) == 0 && recv(s[1], big, 1, 0) == 1) read_++;
      say("writable after %d reads", read_);
    }
    close(s[0]), close(s[1]);
  }
  int s[2], v, got;
  NEED(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
  for (v = 0; v <= 1 << 16; v = v ? v * 16 : 1) {
    setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v);
    setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &v, sizeof v);
    say("set %d: send %d receive %d", v, option(s[0], SO_SNDBUF), option(s[0], SO_RCVBUF));
  }
  v = 8192;
  setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v);
  got = write(s[0], big, sizeof big);
  say("a large write into a small buffer: %d %s", got, got < 0 ? errno_name(errno) : "");
  got = write(s[0], big, 20000);
  say("another: %d %s", got, got < 0 ? errno_name(errno) : "");
  close(s[0]), close(s[1]);
}

static ssize_t control_send(int fd, const char *text, int level, int type, const void *data, size_t n, size_t claim) {
  char c[512] = "";
  struct iovec io = {(void *)text, strlen(text)};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(n)};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = level, h->cmsg_type = type, h->cmsg_len = claim ? claim : CMSG_LEN(n);
  memcpy(CMSG_DATA(h), data, n);
  return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void control_receive(int fd, size_t room, int flags) {
  char b[64] = "", c[512];
  memset(c, 0xee, sizeof c);
  struct iovec io = {b, sizeof b - 1};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = c, .msg_controllen = room};
  ssize_t n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
  if (n < 0) {
    say("recvmsg with room %zu: %s", room, errno_name(errno));
    return;
  }
  say("recvmsg with room %zu: %zd \"%s\", control %zu, flags %x", room, n, b, m.msg_controllen, m.msg_flags);
  size_t at = 0;
  while (at + sizeof(struct cmsghdr) <= m.msg_controllen) {
    struct cmsghdr *h = (void *)(c + at);
    say("  cmsg level %d type %d length %zu", h->cmsg_level, h->cmsg_type, (size_t)h->cmsg_len);
    if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
      for (size_t i = 0; i < (h->cmsg_len - sizeof *h) / 4; i++) {
        int got = ((int *)CMSG_DATA(h))[i];
        say("  a descriptor, cloexec %d", fcntl(got, F_GETFD));
        close(got);
      }
    if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_CREDENTIALS && h->cmsg_len >= CMSG_LEN(12)) {
      struct ucred *u = (void *)CMSG_DATA(h);
      say("  pid %s uid %d gid %d", u->pid == getpid() ? "mine" : u->pid == 0 ? "0" : "other", u->uid, u->gid);
    }
    if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == 4) close(*(int *)CMSG_DATA(h));
    at += CMSG_ALIGN(h->cmsg_len);
  }
}

static void control(int type) {
  say("-- control messages of %s", type_name(type));
  int s[2], p[2], yes = 1, no = 0, many[300];
  NEED(socketpair(AF_UNIX, type, 0, s));
  NEED(pipe(p));
  for (int i = 0; i < 300; i++) many[i] = p[0];
  TRY(control_send(s[0], "one", SOL_SOCKET, SCM_RIGHTS, p, 4, 0));
  control_receive(s[1], 100, 0);
  TRY(control_send(s[0], "two", SOL_SOCKET, SCM_RIGHTS, p, 8, 0));
  control_receive(s[1], 100, MSG_CMSG_CLOEXEC);
  size_t rooms[] = {0, 8, 16, 19, 20, 23, 24, 27, 28, 31, 32};
  for (unsigned i = 0; i < sizeof rooms / sizeof *rooms; i++) {
    control_send(s[0], "rights", SOL_SOCKET, SCM_RIGHTS, (int[]){p[0], p[1], p[0]}, 12, 0);
    control_receive(s[1], rooms[i], 0);
  }
  TRY(control_send(s[0], "", SOL_SOCKET, SCM_RIGHTS, p, 4, 0));
  control_receive(s[1], 100, 0);
  TRY(control_send(s[0], "odd", SOL_SOCKET, SCM_RIGHTS, p, 6, 0));
  control_receive(s[1], 100, 0);
  TRY(control_send(s[0], "none", SOL_SOCKET, SCM_RIGHTS, p, 0, 0));
  control_receive(s[1], 100, 0);
  TRY(control_send(s[0], "bad", SOL_SOCKET, SCM_RIGHTS, (int[]){-1}, 4, 0));
  TRY(control_send(s[0], "short", SOL_SOCKET, SCM_RIGHTS, p, 4, 8));
  TRY(control_send(s[0], "long", SOL_SOCKET, SCM_RIGHTS, p, 4, 400));
  TRY(control_send(s[0], "kind", SOL_SOCKET, 99, p, 4, 0));
  TRY(control_send(s[0], "level", 99, SCM_RIGHTS, p, 4, 0));
  control_receive(s[1], 100, 0);
  TRY(control_send(s[0], "creds", SOL_SOCKET, SCM_CREDENTIALS, p, 4, 0));
  struct iovec io = {"x", 1};
  static char c[2048];
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(254 * 4)};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(254 * 4);
  memcpy(CMSG_DATA(h), many, 254 * 4);
  TRY(sendmsg(s[0], &m, MSG_DONTWAIT));
  h->cmsg_len = CMSG_LEN(253 * 4), m.msg_controllen = CMSG_SPACE(253 * 4);
  TRY(sendmsg(s[0], &m, MSG_DONTWAIT));
  control_receive(s[1], 24, 0);
  m.msg_control = BAD;
  TRY(sendmsg(s[0], &m, MSG_DONTWAIT));
  m.msg_control = c, m.msg_iovlen = 1025;
  TRY(sendmsg(s[0], &m, MSG_DONTWAIT));
  m.msg_iovlen = 1, m.msg_controllen = 1 << 20;
  TRY(sendmsg(s[0], &m, MSG_DONTWAIT));
  TRY(sendmsg(s[0], BAD, 0));
  TRY(recvmsg(s[0], BAD, 0));
  say("-- credentials");
  TRY(send(s[0], "before", 6, 0));
  NEED(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &yes, 4));
  TRY(send(s[0], "after", 5, 0));
  TRY(control_send(s[0], "both", SOL_SOCKET, SCM_RIGHTS, p, 4, 0));
  control_receive(s[1], 100, 0);
  control_receive(s[1], 100, 0);
  control_receive(s[1], 100, 0);
  send(s[0], "cut", 3, 0);
  control_receive(s[1], 20, 0);
  send(s[0], "cut", 3, 0);
  control_receive(s[1], 0, 0);
  struct ucred own = {getpid(), getuid(), getgid()};
  TRY(control_send(s[0], "own", SOL_SOCKET, SCM_CREDENTIALS, &own, sizeof own, 0));
  control_receive(s[1], 100, 0);
  own.pid = 1 << 22;
  TRY(control_send(s[0], "nobody's", SOL_SOCKET, SCM_CREDENTIALS, &own, sizeof own, 0));
  NEED(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &no, 4));
  send(s[0], "off", 3, 0);
  control_receive(s[1], 100, 0);
  close(s[0]), close(s[1]);
}

static void waits(void) {
  say("-- waiting");
  int s[2];
  char b[16];
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  struct timeval t = {0, 50000}, got;
  socklen_t l = sizeof got;
  NEED(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
  NEED(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &l));
  say("timeout %ld.%06ld", (long)got.tv_sec, (long)got.tv_usec);
  int64_t before = now_ns();
  TRY(recv(s[0], b, 1, 0));
  YES(now_ns() - before >= 40000000 && now_ns() - before < 2000000000);
  TRY(read(s[0], b, 1));
  write(s[1], "abc", 3);
  TRY(recv(s[0], b, 10, MSG_WAITALL));
  t.tv_usec = 2000000;
  TRY(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
  TRY(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, 4));
  t = (struct timeval){0, 50000};
  NEED(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
  static char big[1 << 20];
  long n = write(s[0], big, sizeof big);
  say("write stopped by its timeout: %ld", n);
  TRY(write(s[0], big, 1));
  close(s[0]), close(s[1]);
  struct sockaddr_un a;
  socklen_t len = abstract(&a, "backlog");
  int lis = NEED(socket(AF_UNIX, SOCK_STREAM, 0)), c[8], made = 0;
  NEED(bind(lis, (void *)&a, len));
  NEED(listen(lis, 2));
  for (int i = 0; i < 8; i++) {
    c[i] = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    if (connect(c[i], (void *)&a, len) == 0) made++;
    else if (i == made) say("after %d: %s", made, errno_name(errno));
  }
  int late = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  NEED(setsockopt(late, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
  TRY(connect(late, (void *)&a, len));
  NEED(setsockopt(lis, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
  int k;
  for (k = 0; accept(lis, NULL, NULL) >= 0; k++) {}
  say("accepted %d, then %s", k, errno_name(errno));
  TRY(accept4(lis, NULL, NULL, 1));
  TRY(accept(lis, (void *)&a, BAD));
  TRY(listen(lis, -1));
  NEED(connect(late, (void *)&a, len));
  TRY(accept(lis, (void *)&a, BAD));
  TRY(recv(late, b, 1, 0));
}

static void peeks(void) {
  say("-- peek offset, zero lengths, vectors");
  int s[2], off = 2;
  char b[32] = "", e[32] = "";
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  TRY(setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &off, 4));
  write(s[0], "abcdef", 6);
  TRY(recv(s[1], b, 2, MSG_PEEK));
  say("\"%.2s\" offset %d", b, option(s[1], SO_PEEK_OFF));
  TRY(recv(s[1], b, 1, 0));
  say("\"%.1s\" offset %d", b, option(s[1], SO_PEEK_OFF));
  TRY(recv(s[1], b, 10, MSG_PEEK));
  say("\"%.2s\" offset %d", b, option(s[1], SO_PEEK_OFF));
  TRY(recv(s[1], b, 10, MSG_PEEK | MSG_DONTWAIT));
  TRY(recv(s[1], b, 10, 0));
  TRY(recv(s[1], b, 0, MSG_DONTWAIT));
  TRY(send(s[0], b, 0, 0));
  TRY(recv(s[1], b, 1, MSG_DONTWAIT));
  write(s[0], "vector", 6);
  struct iovec io[3] = {{b, 2}, {NULL, 0}, {e, 10}};
  TRY(readv(s[1], io, 3));
  say("\"%.2s\" \"%.4s\"", b, e);
  write(s[0], "fault", 5);
  io[2].iov_base = BAD;
  TRY(readv(s[1], io, 3));
  TRY(read(s[1], b, 10));
  TRY(send(s[0], BAD, 5, 0));
  TRY(recv(s[1], b, 5, MSG_DONTWAIT));
  TRY(recvfrom(s[1], b, 5, MSG_DONTWAIT, (void *)e, BAD));
  write(s[0], "q", 1);
  TRY(recvfrom(s[1], b, 5, MSG_DONTWAIT, (void *)e, BAD));
  TRY(recv(s[1], b, 1, MSG_DONTWAIT | MSG_OOB));
  close(s[0]), close(s[1]);
}

static void urgent(void) {
  say("-- urgent data");
  int s[2], mark, yes = 1;
  char b[32] = "";
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
#define MARK() (mark = -1, ioctl(s[1], SIOCATMARK, &mark), say("at mark %d, inq %d", mark, inq(s[1])))
#define GET(n, flags) (memset(b, 0, sizeof b), TRY(recv(s[1], b, n, (flags) | MSG_DONTWAIT)), say("\"%s\"", b))
  GET(1, MSG_OOB);
  TRY(send(s[0], "", 0, MSG_OOB));
  TRY(send(s[0], "abc", 3, 0));
  TRY(send(s[0], "dX", 2, MSG_OOB));
  TRY(send(s[0], "efg", 3, 0));
  say_events("urgent", s[1]);
  MARK();
  GET(1, MSG_OOB | MSG_PEEK);
  GET(20, MSG_PEEK);
  GET(20, 0);
  MARK();
  GET(20, MSG_PEEK);
  GET(20, MSG_OOB);
  say_events("taken", s[1]);
  GET(20, MSG_OOB);
  MARK();
  GET(20, MSG_PEEK);
  GET(20, 0);
  MARK();
  say("-- passed over");
  send(s[0], "12", 2, 0);
  send(s[0], "Y", 1, MSG_OOB);
  send(s[0], "34", 2, 0);
  GET(20, 0);
  GET(20, 0);
  GET(20, MSG_OOB);
  say("-- replaced");
  send(s[0], "aP", 2, MSG_OOB);
  send(s[0], "bQ", 2, MSG_OOB);
  send(s[0], "c", 1, 0);
  GET(20, MSG_OOB);
  GET(20, 0);
  GET(20, 0);
  GET(20, 0);
  say("-- inline");
  NEED(setsockopt(s[1], SOL_SOCKET, SO_OOBINLINE, &yes, sizeof yes));
  send(s[0], "ab", 2, 0);
  send(s[0], "Z", 1, MSG_OOB);
  send(s[0], "cd", 2, 0);
  GET(20, MSG_OOB);
  GET(20, 0);
  mark = -1, ioctl(s[1], SIOCATMARK, &mark), say("at mark %d", mark);
  GET(20, 0);
  send(s[0], "W", 1, MSG_OOB);
  close(s[1]);
  TRY(recv(s[0], b, 1, MSG_DONTWAIT));
  close(s[0]);
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  send(s[0], "V", 1, MSG_OOB);
  GET(1, MSG_OOB);
  close(s[1]);
  TRY(recv(s[0], b, 1, MSG_DONTWAIT));
  TRY(send(s[0], "x", 1, MSG_OOB | MSG_NOSIGNAL));
}

static volatile int alarms;
static void on_alarm(int s) { (void)s, alarms++; }

/* A signal comes after 30 ms; what is waited for after 150 ms. */
static void interrupted(const char *what, int flags, int limit) {
  struct sigaction act = {.sa_handler = on_alarm, .sa_flags = flags};
  sigaction(SIGALRM, &act, NULL);
  struct timeval t = {5, 0};
  struct itimerval it = {{0, 0}, {0, 30000}};
  struct sockaddr_un a;
  socklen_t n = abstract(&a, what);
  char b[16];
  int s[2], l = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  NEED(bind(l, (void *)&a, n));
  NEED(listen(l, 0));
  if (limit) {
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  }
  say("-- interrupted: %s", what);
  for (int kind = 0; kind < 4; kind++) {
    pid_t kid = fork();
    if (kid == 0) {
      sleep_ms(150);
      if (kind == 1) NEED(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, n));
      else if (kind == 3) while (recv(s[1], b, sizeof b, 0) > 0) {}
      else write(s[1], "ab", 2), kind == 2 && (sleep_ms(20), write(s[1], "cd", 2));
      _exit(0);
    }
    alarms = 0;
    setitimer(ITIMER_REAL, &it, NULL);
    errno = 0;
    static char big[1 << 20];
    long r = kind == 0 ? recv(s[0], b, 2, 0) : kind == 1 ? accept(l, NULL, NULL)
           : kind == 2 ? recv(s[0], b, 4, MSG_WAITALL) : send(s[0], big, sizeof big, 0);
    int e = errno;
    static const char *kinds[] = {"recv", "accept", "recv all", "send"};
    say("%s: %s %s, signals %d", kinds[kind], r < 0 ? "-1" : kind == 1 ? "ok" : r == 2 ? "2" : r == 4 ? "4" : r == sizeof big ? "all" : "part",
        r < 0 ? errno_name(e) : "", alarms);
    if (kind == 1 && r >= 0) close(r);
    if (kind == 2 && r < 0) recv(s[0], b, 4, 0);
    if (kind == 2 || kind == 3) kill(kid, SIGKILL);
    while (waitpid(kid, NULL, 0) < 0) {}
    if (kind == 0 && r < 0) recv(s[0], b, 2, 0);
    if (kind == 1 && r < 0) close(accept(l, NULL, NULL));
    while (recv(s[0], b, sizeof b, MSG_DONTWAIT) > 0) {}
  }
  close(l), close(s[0]), close(s[1]);
}

int main(void) {
  begin_for(30);
  signal(SIGPIPE, on_pipe);
  static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
  for (int i = 0; i < 3; i++) states(types[i]);
  buffers(SOCK_STREAM);
  buffers(SOCK_DGRAM);
  buffers(SOCK_SEQPACKET);
  control(SOCK_STREAM);
  control(SOCK_DGRAM);
  control(SOCK_SEQPACKET);
  waits();
  peeks();
  urgent();
  interrupted("plain", 0, 0);
  interrupted("restart", SA_RESTART, 0);
  interrupted("restart with limits", SA_RESTART, 1);
  return 0;
}
