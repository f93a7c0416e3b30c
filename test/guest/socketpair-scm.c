/* SCM_RIGHTS and SCM_CREDENTIALS over AF_UNIX: passing descriptors, boundaries, truncation, credentials, cycles. */
#include "guest.h"

static int send_fds(int s, const void *data, size_t n, const int *fds, int count) {
  char control[CMSG_SPACE(sizeof(int) * 300)];
  struct iovec io = {(void *)data, n};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
  if (count) {
    m.msg_control = control;
    m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
  }
  return sendmsg(s, &m, MSG_NOSIGNAL);
}

static int got[300], got_n, got_flags;
static int recv_fds(int s, void *data, size_t n, size_t room, int flags) {
  char control[4096];
  struct iovec io = {data, n};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
  int r = recvmsg(s, &m, flags);
  int e = errno;
  got_n = 0, got_flags = m.msg_flags;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); r >= 0 && c; c = CMSG_NXTHDR(&m, c))
    if (c->cmsg_type == SCM_RIGHTS) {
      int k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      memcpy(got + got_n, CMSG_DATA(c), k * sizeof(int));
      got_n += k;
    }
  errno = e;
  return r;
}

static int open_fds(void) {
  int n = 0;
  for (int i = 0; i < 600; i++) n += fcntl(i, F_GETFD) >= 0;
  return n;
}

int main(void) {
  begin();
  int s[2], p[2];
  char b[64] = "";
  const size_t one = CMSG_SPACE(sizeof(int)), two = CMSG_SPACE(2 * sizeof(int));
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  NEED(pipe(p));
  TRY(send_fds(s[0], "x", 1, p, 2));
  TRY(recv_fds(s[1], b, 10, two, 0));
  say("%d descriptors, new numbers %d", got_n, got[0] != p[0] && got[1] != p[1]);
  write(got[1], "through", 7);
  TRY(read(p[0], b, 10));
  TRY(fcntl(got[0], F_GETFD));
  close(got[0]);
  close(got[1]);
  TRY(send_fds(s[0], "y", 1, p, 1));
  TRY(recv_fds(s[1], b, 10, one, MSG_CMSG_CLOEXEC));
  TRY(fcntl(got[0], F_GETFD));
  close(got[0]);

  say("-- they share the open file");
  put_file("f", "0123456789", 0600);
  int f = NEED(open("f", O_RDONLY));
  send_fds(s[0], "f", 1, &f, 1);
  recv_fds(s[1], b, 1, one, 0);
  TRY(read(got[0], b, 4));
  TRY(lseek(f, 0, SEEK_CUR));
  close(got[0]);
  pid_t kid = fork();
  if (!kid) {
    int own = open("f", O_RDONLY);
    lseek(own, 7, SEEK_SET);
    send_fds(s[0], "k", 1, &own, 1);
    _exit(0);
  }
  recv_fds(s[1], b, 1, one, 0);
  reap("child", kid);
  TRY(read(got[0], b, 10));
  close(got[0]);

  say("-- a stream read stops at a message with descriptors");
  write(s[0], "aa", 2);
  send_fds(s[0], "bb", 2, &f, 1);
  write(s[0], "cc", 2);
  send_fds(s[0], "dd", 2, &f, 1);
  TRY(recv_fds(s[1], b, 64, one, 0));
  say("\"%.2s\" fds %d", b, got_n);
  TRY(recv_fds(s[1], b, 64, one, 0));
  say("\"%.4s\" fds %d", b, got_n);
  if (got_n) close(got[0]);
  TRY(recv_fds(s[1], b, 64, one, MSG_DONTWAIT));
  say("\"%.4s\" fds %d", b, got_n);
  if (got_n) close(got[0]);

  say("-- too little room: closed and told");
  int before = open_fds();
  send_fds(s[0], "x", 1, p, 2);
  TRY(recv_fds(s[1], b, 1, CMSG_LEN(sizeof(int)), 0));
  say("fds %d truncated %d", got_n, !!(got_flags & MSG_CTRUNC));
  for (int i = 0; i < got_n; i++) close(got[i]);
  send_fds(s[0], "x", 1, p, 2);
  TRY(read(s[1], b, 1));
  YES(open_fds() == before);
  send_fds(s[0], "x", 1, p, 2);
  TRY(recv_fds(s[1], b, 1, two, MSG_PEEK));
  say("peek gives fds %d", got_n);
  for (int i = 0; i < got_n; i++) close(got[i]);
  TRY(recv_fds(s[1], b, 1, two, 0));
  for (int i = 0; i < got_n; i++) close(got[i]);
  YES(open_fds() == before);

  say("-- a pipe end in flight keeps the pipe alive");
  int q[2];
  NEED(pipe(q));
  send_fds(s[0], "x", 1, q + 1, 1);
  close(q[1]);
  fcntl(q[0], F_SETFL, O_NONBLOCK);
  TRY(read(q[0], b, 1));
  recv_fds(s[1], b, 1, one, 0);
  close(got[0]);
  TRY(read(q[0], b, 1));
  NEED(pipe2(q, O_NONBLOCK));
  int t[2];
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
  send_fds(t[0], "x", 1, q + 1, 1);
  close(q[1]);
  close(t[0]);
  close(t[1]); /* the message is never received */
  TRY(read(q[0], b, 1));

  say("-- a socket sent over itself");
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, t));
  TRY(send_fds(t[0], "x", 1, t + 1, 1));
  close(t[0]);
  close(t[1]);

  say("-- credentials");
  int yes = 1;
  TRY(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes));
  write(s[0], "c", 1);
  char control[256];
  struct iovec io = {b, 10};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  TRY(recvmsg(s[1], &m, 0));
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  YES(c && c->cmsg_type == SCM_CREDENTIALS);
  struct ucred *u = (void *)CMSG_DATA(c);
  YES(u->pid == getpid() && u->uid == 0 && u->gid == 0);
  kid = fork();
  if (!kid) {
    setresuid(65534, 65534, 65534);
    struct ucred forged = {getpid(), 0, 0};
    char cc[CMSG_SPACE(sizeof forged)] = {0};
    struct iovec o = {"n", 1};
    struct msghdr mm = {.msg_iov = &o, .msg_iovlen = 1, .msg_control = cc, .msg_controllen = sizeof cc};
    struct cmsghdr *h = CMSG_FIRSTHDR(&mm);
    h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_CREDENTIALS, h->cmsg_len = CMSG_LEN(sizeof forged);
    memcpy(CMSG_DATA(h), &forged, sizeof forged);
    TRY(sendmsg(s[0], &mm, 0));
    forged.uid = 65534;
    memcpy(CMSG_DATA(h), &forged, sizeof forged);
    TRY(sendmsg(s[0], &mm, 0));
    _exit(0);
  }
  reap("nobody", kid);
  m.msg_controllen = sizeof control;
  TRY(recvmsg(s[1], &m, 0));
  u = (void *)CMSG_DATA(CMSG_FIRSTHDR(&m));
  YES(u->pid == kid && u->uid == 65534 && u->gid == 0);

  say("-- errors");
  int bad = 77;
  TRY(send_fds(s[0], "x", 1, &bad, 1));
  int lots[300];
  for (int i = 0; i < 300; i++) lots[i] = f;
  TRY(send_fds(s[0], "x", 1, lots, 254));
  TRY(send_fds(s[0], "x", 1, lots, 253));
  TRY(recv_fds(s[1], b, 1, 4096, 0));
  TRY(got_n);
  for (int i = 0; i < got_n; i++) close(got[i]);
  struct msghdr none = {0};
  TRY(sendmsg(s[0], &none, 0));
  none.msg_iov = BAD;
  none.msg_iovlen = 1;
  TRY(sendmsg(s[0], &none, 0));
  none.msg_iov = &io;
  none.msg_control = BAD;
  none.msg_controllen = 32;
  TRY(sendmsg(s[0], &none, 0));
  none.msg_iovlen = 2000;
  TRY(sendmsg(s[0], &none, 0));
  return 0;
}
