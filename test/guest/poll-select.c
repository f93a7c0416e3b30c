/* poll and select: what each kind of file reports, time-outs, closed descriptors, errors. */
#include "guest.h"
#include <sys/select.h>

static void show(const char *what, int fd, short events) {
  struct pollfd pf = {fd, events, 0};
  int n = poll(&pf, 1, 0);
  say("%s: %d revents %x", what, n, pf.revents);
}

static void sel(const char *what, int fd) {
  fd_set r, w, e;
  FD_ZERO(&r); FD_ZERO(&w); FD_ZERO(&e);
  FD_SET(fd, &r); FD_SET(fd, &w); FD_SET(fd, &e);
  struct timeval none = {0, 0};
  int n = select(fd + 1, &r, &w, &e, &none);
  if (n < 0) say("%s: %s", what, errno_name(errno));
  else say("%s: %d, r %d w %d e %d", what, n, !!FD_ISSET(fd, &r), !!FD_ISSET(fd, &w), !!FD_ISSET(fd, &e));
}

int main(void) {
  begin();
  int p[2], s[2];
  const short all = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;
  NEED(pipe(p));
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  int file = open("f", O_CREAT | O_RDWR, 0600), dir = open(".", O_RDONLY), null = open("/dev/null", O_RDWR);
  show("file", file, all);
  sel("file", file);
  show("directory", dir, all);
  show("null", null, all);
  show("closed", 40, all);
  show("negative", -1, all);
  sel("closed", 40); /* below 64: beyond its table, whose size differs, Linux does not look */
  show("pipe reader", p[0], all);
  show("pipe writer", p[1], all);
  sel("pipe reader", p[0]);
  sel("pipe writer", p[1]);
  write(p[1], "x", 1);
  show("pipe with data", p[0], all);
  show("asking for nothing", p[0], 0);
  sel("pipe with data", p[0]);
  close(p[1]);
  show("writer gone, data left", p[0], all);
  char b[8];
  read(p[0], b, 1);
  show("writer gone", p[0], all);
  sel("writer gone", p[0]);
  NEED(pipe(p));
  close(p[0]);
  show("reader gone", p[1], all);
  sel("reader gone", p[1]);
  show("socket", s[0], all);
  write(s[1], "x", 1);
  show("socket with data", s[0], all);
  shutdown(s[1], SHUT_WR);
  show("half closed", s[0], all);
  show("its other side", s[1], all);
  close(s[1]);
  show("closed", s[0], all);
  sel("closed socket", s[0]);
  int l = socket(AF_UNIX, SOCK_STREAM, 0);
  show("unconnected socket", l, all);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "l"};
  NEED(bind(l, (void *)&name, sizeof name));
  NEED(listen(l, 3));
  show("listening", l, all);
  int c = socket(AF_UNIX, SOCK_STREAM, 0);
  NEED(connect(c, (void *)&name, sizeof name));
  show("a connection waits", l, all);

  say("-- several, counted");
  NEED(pipe(p));
  write(p[1], "x", 1);
  struct pollfd three[] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {-5, POLLIN, 99}, {77, POLLIN, 0}};
  TRY(poll(three, 4, 0));
  say("%x %x %x %x", three[0].revents, three[1].revents, three[2].revents, three[3].revents);
  fd_set r, w;
  FD_ZERO(&r); FD_ZERO(&w);
  FD_SET(p[0], &r); FD_SET(p[1], &w); FD_SET(p[1], &r);
  struct timeval tv = {5, 0};
  TRY(select(p[1] + 1, &r, &w, NULL, &tv));
  YES(tv.tv_sec >= 4); /* Linux writes back the time left */

  say("-- time");
  int64_t t = now_ns();
  TRY(poll(NULL, 0, 20));
  YES(now_ns() - t >= 20000000);
  tv = (struct timeval){0, 20000};
  t = now_ns();
  TRY(select(0, NULL, NULL, NULL, &tv));
  YES(now_ns() - t >= 20000000);
  YES(tv.tv_sec == 0 && tv.tv_usec == 0);
  read(p[0], b, 1);
  struct pollfd pf = {p[0], POLLIN, 0};
  t = now_ns();
  TRY(poll(&pf, 1, 25));
  YES(now_ns() - t >= 25000000);
  TRY(poll(&pf, 1, 0));
  pid_t me = getpid(), kid = fork();
  if (!kid) { until_blocked(me, me); write(p[1], "x", 1); _exit(0); }
  TRY(poll(&pf, 1, -1));
  reap("writer", kid);
  read(p[0], b, 1);
  kid = fork();
  if (!kid) { until_blocked(me, me); write(p[1], "x", 1); _exit(0); }
  FD_ZERO(&r);
  FD_SET(p[0], &r);
  TRY(select(p[0] + 1, &r, NULL, NULL, NULL));
  reap("writer", kid);

  say("-- errors");
  TRY(poll(BAD, 1, 0));
  TRY(select(-1, NULL, NULL, NULL, &tv));
  tv = (struct timeval){-1, 0};
  TRY(select(0, NULL, NULL, NULL, &tv));
  tv = (struct timeval){0, 0};
  TRY(select(1, BAD, NULL, NULL, &tv));
  TRY(syscall(SYS_select, 0, NULL, NULL, NULL, BAD));
  TRY(syscall(SYS_poll, &pf, 10000000, 0));
  return 0;
}
