/* UDP over loopback: names, connect, refusal, truncation, limits, control messages, several receivers. */
#include "guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static struct sockaddr_in at(const char *ip, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, ip, &a.sin_addr);
  return a;
}
static int port_of(int fd) {
  struct sockaddr_in6 a;
  socklen_t l = sizeof a;
  NEED(getsockname(fd, (void *)&a, &l));
  return ntohs(a.sin6_port);
}
static void masks(const char *what, int fd) {
  struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLWRBAND, 0};
  poll(&p, 1, 0);
  say("%s: %x", what, p.revents);
}
static void show(const char *what, int fd, bool peer, int known) {
  struct sockaddr_in a = {0};
  socklen_t l = sizeof a;
  char ip[64] = "";
  if (peer ? getpeername(fd, (void *)&a, &l) : getsockname(fd, (void *)&a, &l)) {
    say("%s: %s", what, errno_name(errno));
    return;
  }
  inet_ntop(AF_INET, &a.sin_addr, ip, sizeof ip);
  int port = ntohs(a.sin_port);
  say("%s: %s port %s", what, ip, port == 0 ? "0" : port == known ? "known" : "other");
}

int main(void) {
  begin();
  char b[70000] = "";
  int yes = 1, n;
  int r = NEED(socket(AF_INET, SOCK_DGRAM, 0)), s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  masks("fresh", r);
  show("fresh", r, false, 0);
  TRY(send(s, "x", 1, 0));
  TRY(recv(s, b, 1, MSG_DONTWAIT));
  TRY(listen(s, 1));
  TRY(accept(s, NULL, NULL));
  TRY(shutdown(s, SHUT_WR));
  close(s);
  s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in a = at("127.0.0.1", 0), from;
  NEED(bind(r, (void *)&a, sizeof a));
  TRY(bind(r, (void *)&a, sizeof a));
  int port = port_of(r);
  a = at("127.0.0.1", port);
  TRY(sendto(s, "hello", 5, 0, (void *)&a, sizeof a));
  show("sender", s, false, port);
  socklen_t l = sizeof from;
  TRY(recvfrom(r, b, 100, 0, (void *)&from, &l));
  YES(l == 16 && ntohs(from.sin_port) == port_of(s) && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  TRY(sendto(s, "", 0, 0, (void *)&a, sizeof a));
  masks("an empty one", r);
  TRY(recv(r, b, 10, MSG_DONTWAIT));
  TRY(sendto(s, "truncated", 9, 0, (void *)&a, sizeof a));
  ioctl(r, FIONREAD, &n);
  say("next %d", n);
  TRY(recv(r, b, 4, MSG_PEEK));
  TRY(recv(r, b, 4, MSG_TRUNC));
  TRY(recv(r, b, 4, MSG_DONTWAIT));
  TRY(sendto(s, b, 65507, 0, (void *)&a, sizeof a));
  TRY(recv(r, b, sizeof b, 0));
  TRY(sendto(s, b, 65508, 0, (void *)&a, sizeof a));
  TRY(sendto(s, b, 65536, 0, (void *)&a, sizeof a));
  TRY(sendto(s, "x", 1, 0, (void *)&a, 15));
  TRY(sendto(s, BAD, 1, 0, (void *)&a, sizeof a));
  TRY(sendto(s, "x", 1, 0, BAD, sizeof a));
  struct sockaddr_in zero = at("127.0.0.1", 0), wrong = {.sin_family = AF_INET6}, bcast = at("255.255.255.255", 9);
  TRY(sendto(s, "x", 1, 0, (void *)&zero, sizeof zero));
  TRY(sendto(s, "x", 1, 0, (void *)&wrong, sizeof wrong));
  TRY(sendto(s, "x", 1, MSG_OOB, (void *)&a, sizeof a));
  (void)bcast;
  say("-- connected");
  TRY(connect(s, (void *)&a, sizeof a));
  show("own", s, false, port);
  show("peer", s, true, port);
  TRY(send(s, "one", 3, 0));
  TRY(sendto(s, "two", 3, 0, (void *)&a, sizeof a));
  TRY(recv(r, b, 10, 0));
  TRY(recv(r, b, 10, 0));
  int stranger = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in back = at("127.0.0.1", port_of(s));
  TRY(sendto(stranger, "no", 2, 0, (void *)&back, sizeof back));
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  TRY(sendto(r, "yes", 3, 0, (void *)&back, sizeof back));
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  close(r);
  TRY(send(s, "gone", 4, 0));
  sleep_ms(20);
  masks("refused", s);
  TRY(send(s, "gone", 4, 0));
  sleep_ms(20);
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  TRY(recv(s, b, 10, MSG_DONTWAIT));
  TRY(sendto(stranger, "gone", 4, 0, (void *)&a, sizeof a));
  TRY(recv(stranger, b, 10, MSG_DONTWAIT));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  TRY(connect(s, &none, sizeof none));
  show("own", s, false, port);
  show("peer", s, true, port);
  TRY(send(s, "x", 1, 0));
  TRY(connect(s, (void *)&a, sizeof a));
  TRY(shutdown(s, SHUT_RD));
  masks("shut for reading", s);
  TRY(recv(s, b, 1, MSG_DONTWAIT));
  TRY(recv(s, b, 1, 0));
  TRY(shutdown(s, SHUT_WR));
  masks("shut", s);
  signal(SIGPIPE, SIG_DFL);
  TRY(send(s, "x", 1, 0));
  say("-- several receivers");
  int d[3];
  for (int i = 0; i < 3; i++) d[i] = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  a = at("0.0.0.0", 0);
  NEED(bind(d[0], (void *)&a, sizeof a));
  port = port_of(d[0]);
  a = at("127.0.0.1", port);
  TRY(bind(d[1], (void *)&a, sizeof a));
  setsockopt(d[1], SOL_SOCKET, SO_REUSEADDR, &yes, 4);
  TRY(bind(d[1], (void *)&a, sizeof a));
  setsockopt(d[0], SOL_SOCKET, SO_REUSEADDR, &yes, 4);
  TRY(bind(d[1], (void *)&a, sizeof a));
  TRY(sendto(stranger, "exact", 5, 0, (void *)&a, sizeof a));
  TRY(recv(d[0], b, 10, MSG_DONTWAIT));
  TRY(recv(d[1], b, 10, MSG_DONTWAIT));
  a = at("127.0.0.5", port);
  TRY(sendto(stranger, "any", 3, 0, (void *)&a, sizeof a));
  TRY(recv(d[0], b, 10, MSG_DONTWAIT));
  say("-- control messages");
  setsockopt(d[0], IPPROTO_IP, IP_PKTINFO, &yes, 4);
  setsockopt(d[0], IPPROTO_IP, IP_RECVTTL, &yes, 4);
  setsockopt(d[0], IPPROTO_IP, IP_RECVTOS, &yes, 4);
  int ttl = 33, tos = 16;
  setsockopt(stranger, IPPROTO_IP, IP_TTL, &ttl, 4);
  setsockopt(stranger, IPPROTO_IP, IP_TOS, &tos, 4);
  TRY(sendto(stranger, "info", 4, 0, (void *)&a, sizeof a));
  char c[256];
  struct iovec io = {b, 2};
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &io, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
  TRY(recvmsg(d[0], &m, 0));
  say("flags %x name %d control %zu", m.msg_flags, m.msg_namelen, m.msg_controllen);
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
    say("level %d type %d length %zu", h->cmsg_level, h->cmsg_type, (size_t)h->cmsg_len);
    if (h->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo *p = (void *)CMSG_DATA(h);
      say("  to %x spec %x", ntohl(p->ipi_addr.s_addr), ntohl(p->ipi_spec_dst.s_addr));
    } else if (h->cmsg_type == IP_TTL) say("  %d", *(int *)CMSG_DATA(h));
    else say("  %d", *CMSG_DATA(h));
  }
  say("-- a full receiver loses datagrams");
  int sent = 0, got = 0;
  static char block[1000];
  for (int i = 0; i < 2000; i++) sent += sendto(stranger, block, sizeof block, 0, (void *)&a, sizeof a) == sizeof block;
  while (recv(d[0], b, sizeof b, MSG_DONTWAIT) == sizeof block) got++;
  say("sent %d, some lost %d, a hundred or more kept %d", sent, got < sent, got >= 80);
  say("-- IPv6");
  int six = NEED(socket(AF_INET6, SOCK_DGRAM, 0));
  struct sockaddr_in6 a6 = {.sin6_family = AF_INET6}, from6;
  NEED(bind(six, (void *)&a6, sizeof a6));
  a = at("127.0.0.1", port_of(six));
  TRY(sendto(stranger, "four", 4, 0, (void *)&a, sizeof a));
  l = sizeof from6;
  TRY(recvfrom(six, b, 10, 0, (void *)&from6, &l));
  char ip[64];
  inet_ntop(AF_INET6, &from6.sin6_addr, ip, sizeof ip);
  say("from %s length %d", ip, l);
  TRY(sendto(six, "back", 4, 0, (void *)&from6, l));
  TRY(recv(stranger, b, 10, MSG_DONTWAIT));
  a6.sin6_addr = in6addr_loopback;
  a6.sin6_port = htons(port_of(six));
  TRY(sendto(six, "self", 4, 0, (void *)&a6, sizeof a6));
  TRY(recvfrom(six, b, 10, MSG_DONTWAIT, (void *)&from6, &l));
  inet_ntop(AF_INET6, &from6.sin6_addr, ip, sizeof ip);
  say("from %s", ip);
  return 0;
}
