/* AF_UNIX stream sockets: bind, listen, connect, accept, shutdown, options, backlog, errors. */
#include "guest.h"

static struct sockaddr_un name_of(const char *path) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(a.sun_path, path);
  return a;
}

static int option(int fd, int name) {
  int v = -1;
  socklen_t n = sizeof v;
  return getsockopt(fd, SOL_SOCKET, name, &v, &n) ? -errno : v;
}

int main(void) {
  begin();
  char b[4096] = "";
  struct sockaddr_un a = name_of("sock"), got;
  socklen_t len = sizeof got;
  int l = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), c = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  TRY(fcntl(l, F_GETFD));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(listen(l, 5));
  TRY(bind(l, (void *)&a, sizeof a));
  struct stat st;
  TRY(stat("sock", &st));
  YES(S_ISSOCK(st.st_mode));
  say("mode %o", st.st_mode & 07777);
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(bind(l, (void *)&a, sizeof a));
  int other = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  TRY(bind(other, (void *)&a, sizeof a));
  TRY(accept(l, NULL, NULL));
  TRY(listen(l, 2));
  TRY(option(l, SO_ACCEPTCONN));
  TRY(option(c, SO_ACCEPTCONN));
  TRY(option(l, SO_TYPE));
  TRY(option(l, SO_DOMAIN));
  TRY(option(l, SO_PROTOCOL));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(connect(c, (void *)&a, sizeof a));
  TRY(write(c, "before accept", 13));
  int s = OK(accept(l, (void *)&got, &len));
  say("peer's address length %d", (int)len);
  len = sizeof got;
  TRY(getsockname(s, (void *)&got, &len));
  say("\"%s\" %d", got.sun_path, (int)len);
  len = sizeof got;
  TRY(getpeername(c, (void *)&got, &len));
  say("\"%s\" %d", got.sun_path, (int)len);
  len = 4;
  TRY(getpeername(c, (void *)&got, &len));
  TRY(len);
  len = sizeof got;
  TRY(getpeername(l, (void *)&got, &len));
  TRY(read(s, b, 5));
  TRY(read(s, b, 100));
  say("\"%.8s\"", b);
  struct ucred cred;
  len = sizeof cred;
  TRY(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len));
  YES(cred.pid == getpid() && cred.uid == 0 && cred.gid == 0);

  say("-- peek, waitall, dontwait");
  write(c, "0123456789", 10);
  TRY(recv(s, b, 4, MSG_PEEK));
  TRY(recv(s, b, 4, 0));
  TRY(recv(s, b, 100, MSG_PEEK | MSG_DONTWAIT));
  pid_t kid = fork();
  if (!kid) { sleep_ms(20); write(c, "abcd", 4); _exit(0); }
  TRY(recv(s, b, 10, MSG_WAITALL));
  reap("writer", kid);
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  TRY(recv(s, b, 1, MSG_OOB));
  TRY(send(s, b, 0, 0));

  say("-- shutdown");
  TRY(shutdown(c, SHUT_WR));
  TRY(read(s, b, 10));
  CHILD("write after shutdown", { write(c, "x", 1); });
  TRY(send(c, "x", 1, MSG_NOSIGNAL));
  TRY(write(s, "still", 5));
  TRY(read(c, b, 10));
  TRY(shutdown(s, SHUT_RD));
  TRY(shutdown(c, 9));
  TRY(shutdown(other, SHUT_RD));
  close(c);
  TRY(send(s, "x", 1, MSG_NOSIGNAL));
  TRY(read(s, b, 10));
  close(s);

  say("-- unread data at close is a reset");
  c = socket(AF_UNIX, SOCK_STREAM, 0);
  NEED(connect(c, (void *)&a, sizeof a));
  s = NEED(accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
  TRY(fcntl(s, F_GETFD));
  YES((fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
  write(c, "unread", 6);
  close(s);
  TRY(read(c, b, 10));
  TRY(option(c, SO_ERROR));
  close(c);

  say("-- backlog");
  int n = 0, e = 0, many[10];
  for (; n < 10; n++) {
    many[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(many[n], (void *)&a, sizeof a)) { e = errno; break; }
  }
  say("%d connections wait, then %s", n, errno_name(e));
  close(l);
  TRY(read(many[0], b, 1));
  for (int i = 0; i <= n; i++) close(many[i]);
  c = socket(AF_UNIX, SOCK_STREAM, 0);
  TRY(connect(c, (void *)&a, sizeof a));
  unlink("sock");
  TRY(connect(c, (void *)&a, sizeof a));
  put_file("plain", "", 0600);
  struct sockaddr_un plain = name_of("plain");
  TRY(connect(c, (void *)&plain, sizeof plain));

  say("-- permission to connect is permission to write");
  l = socket(AF_UNIX, SOCK_STREAM, 0);
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, 5));
  chmod("sock", 0555);
  CHILD("nobody", { setresuid(65534, 65534, 65534); TRY(connect(c, (void *)&a, sizeof a)); });
  chmod("sock", 0222);
  CHILD("nobody", { setresuid(65534, 65534, 65534); TRY(connect(c, (void *)&a, sizeof a)); });

  say("-- a full buffer");
  int p[2];
  NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
  long total = 0, r;
  while ((r = write(p[0], b, sizeof b)) > 0) total += r;
  YES(total > 65536 && r == -1 && errno == EAGAIN);
  long back = 0;
  while ((r = read(p[1], b, sizeof b)) > 0) back += r;
  YES(back == total);
  YES(option(p[0], SO_SNDBUF) > 4096);
  int v = 16384;
  TRY(setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
  TRY(option(p[0], SO_SNDBUF));
  struct timeval tv = {0, 20000};
  TRY(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
  fcntl(p[0], F_SETFL, 0);
  int64_t t = now_ns();
  TRY(read(p[0], b, 1));
  YES(now_ns() - t >= 15000000);

  say("-- errors");
  TRY(socket(99, SOCK_STREAM, 0));
  TRY(socket(AF_UNIX, 99, 0));
  TRY(socket(AF_UNIX, SOCK_STREAM, 77));
  TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD));
  struct sockaddr wrong = {.sa_family = AF_INET};
  TRY(bind(other, &wrong, sizeof wrong));
  TRY(bind(other, (void *)&a, 1));
  TRY(bind(other, (void *)&a, 200));
  TRY(bind(other, BAD, sizeof a));
  struct sockaddr_un deep = name_of("missing/sock");
  TRY(bind(other, (void *)&deep, sizeof deep));
  TRY(connect(other, BAD, sizeof a));
  int file = NEED(open("plain", O_RDWR));
  TRY(connect(file, (void *)&a, sizeof a));
  TRY(bind(77, (void *)&a, sizeof a));
  TRY(write(other, "x", 1));
  TRY(read(other, b, 1));
  TRY(send(file, "x", 1, 0));
  len = sizeof v;
  TRY(getsockopt(other, SOL_SOCKET, 9999, &v, &len));
  TRY(getsockopt(other, 77, 1, &v, &len));
  TRY(setsockopt(other, SOL_SOCKET, SO_SNDBUF, BAD, 4));
  TRY(setsockopt(other, SOL_SOCKET, SO_SNDBUF, &v, 1));
  TRY(lseek(other, 0, SEEK_SET));
  return 0;
}
