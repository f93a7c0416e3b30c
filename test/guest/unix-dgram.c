/* AF_UNIX datagram and seqpacket sockets: boundaries, truncation, addresses, connect, limits. */
#include "guest.h"

static struct sockaddr_un name_of(const char *path) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(a.sun_path, path);
  return a;
}

int main(void) {
  begin();
  char b[512] = "";
  struct sockaddr_un a = name_of("a"), c = name_of("c"), from;
  socklen_t len = sizeof from;
  int s = NEED(socket(AF_UNIX, SOCK_DGRAM, 0)), k = NEED(socket(AF_UNIX, SOCK_DGRAM, 0));
  NEED(bind(s, (void *)&a, sizeof a));
  TRY(sendto(k, "one", 3, 0, (void *)&a, sizeof a));
  TRY(sendto(k, "", 0, 0, (void *)&a, sizeof a));
  TRY(sendto(k, "three!", 6, 0, (void *)&a, sizeof a));
  TRY(recvfrom(s, b, sizeof b, 0, (void *)&from, &len));
  say("sender's address length %d", (int)len);
  TRY(recv(s, b, sizeof b, 0));
  TRY(recv(s, b, 3, MSG_TRUNC));
  TRY(recv(s, b, 3, MSG_DONTWAIT));
  NEED(bind(k, (void *)&c, sizeof c));
  TRY(sendto(k, "x", 1, 0, (void *)&a, sizeof a));
  len = sizeof from;
  TRY(recvfrom(s, b, 10, 0, (void *)&from, &len));
  say("from \"%s\"", from.sun_path);
  TRY(sendto(s, "back", 4, 0, (void *)&from, len));
  TRY(read(k, b, 10));
  TRY(write(k, "x", 1));
  TRY(connect(k, (void *)&a, sizeof a));
  TRY(write(k, "connected", 9));
  TRY(read(s, b, 2));
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  struct iovec io = {b, 2};
  struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
  write(k, "truncated", 9);
  TRY(recvmsg(s, &m, 0));
  YES((m.msg_flags & MSG_TRUNC) != 0);
  write(k, "peeked", 6);
  TRY(recv(s, b, 1, MSG_PEEK));
  TRY(recv(s, b, 10, 0));
  int n = 7;
  TRY(ioctl(s, FIONREAD, &n));
  TRY(n);

  say("-- only the peer may send to a connected socket");
  int third = NEED(socket(AF_UNIX, SOCK_DGRAM, 0));
  TRY(connect(s, (void *)&c, sizeof c));
  TRY(sendto(third, "x", 1, 0, (void *)&a, sizeof a));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  TRY(connect(s, &none, sizeof none));
  TRY(sendto(third, "x", 1, 0, (void *)&a, sizeof a));
  recv(s, b, 10, 0);

  say("-- the receiver goes away");
  close(s);
  TRY(write(k, "x", 1));
  TRY(sendto(third, "x", 1, 0, (void *)&a, sizeof a));
  unlink("a");
  TRY(sendto(third, "x", 1, 0, (void *)&a, sizeof a));
  TRY(listen(third, 1));
  TRY(accept(third, NULL, NULL));

  say("-- pairs, boundaries, a full queue");
  int p[2];
  NEED(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p));
  n = 0;
  while (send(p[0], b, 100, 0) == 100) n++;
  say("%s, then %s", n >= 10 ? "ten or more" : "few", errno_name(errno));
  int back = 0;
  while (recv(p[1], b, sizeof b, 0) == 100) back++;
  YES(back == n);
  char *big = calloc(1, 1 << 20);
  TRY(send(p[0], big, 1 << 20, 0));
  close(p[1]);
  TRY(send(p[0], b, 1, MSG_NOSIGNAL));
  TRY(recv(p[0], b, 1, 0));

  say("-- seqpacket");
  NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
  TRY(write(p[0], "one", 3));
  TRY(write(p[0], "three", 5));
  TRY(read(p[1], b, 2));
  TRY(read(p[1], b, 10));
  io.iov_len = 10;
  write(p[0], "end", 3);
  TRY(recvmsg(p[1], &m, 0));
  say("flags %x", m.msg_flags);
  close(p[0]);
  TRY(read(p[1], b, 10));
  TRY(send(p[1], b, 1, MSG_NOSIGNAL));

  say("-- sendmmsg and recvmmsg");
  NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
  struct iovec out[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
  struct mmsghdr mm[3] = {0};
  for (int i = 0; i < 3; i++) mm[i].msg_hdr.msg_iov = &out[i], mm[i].msg_hdr.msg_iovlen = 1;
  TRY(sendmmsg(p[0], mm, 3, 0));
  say("%u %u %u", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
  char in[3][8];
  struct iovec into[3] = {{in[0], 8}, {in[1], 8}, {in[2], 8}};
  for (int i = 0; i < 3; i++) mm[i].msg_hdr.msg_iov = &into[i], mm[i].msg_len = 0;
  TRY(recvmmsg(p[1], mm, 3, MSG_DONTWAIT, NULL));
  say("%u %u %u", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
  TRY(recvmmsg(p[1], mm, 3, MSG_DONTWAIT, NULL));

  say("-- errors");
  TRY(sendto(p[0], BAD, 4, 0, NULL, 0));
  TRY(recvfrom(p[0], b, 4, MSG_DONTWAIT, BAD, &len));
  TRY(sendmsg(p[0], BAD, 0));
  TRY(recvmsg(p[0], BAD, 0));
  TRY(sendto(third, "x", 1, 0, BAD, sizeof a));
  return 0;
}
