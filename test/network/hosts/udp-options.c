/* What a datagram between two hosts carries along, what is sent to many, and echo requests. */
#include "hosts.h"
#include <net/if.h>

#define GROUP4 "239.77.1.2"
#define GROUP6 "ff15::77"

static int bound(int family, int port) {
  int s = NEED(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)), yes = 1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in a = at("0.0.0.0", port);
  struct sockaddr_in6 b = at6("::", port);
  if (family == AF_INET) NEED(bind(s, (void *)&a, sizeof a));
  else NEED(bind(s, (void *)&b, sizeof b));
  struct timeval t = {0, 400000};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  return s;
}

static void shows(const char *what, int s, int flags) {
  char b[64], c[512];
  struct sockaddr_in6 from;
  struct iovec v = {b, sizeof b};
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c,
                     .msg_controllen = sizeof c};
  ssize_t n = recvmsg(s, &m, flags);
  say("%s: %ld %s, flags %x", what, (long)n, n < 0 ? errno_name(errno) : m.msg_namelen ? whose(&from) : "no name", n < 0 ? 0 : m.msg_flags);
  if (n < 0) return;
  for (struct cmsghdr *k = CMSG_FIRSTHDR(&m); k; k = CMSG_NXTHDR(&m, k)) {
    int value;
    memcpy(&value, CMSG_DATA(k), sizeof value);
    if (k->cmsg_level == IPPROTO_IP && k->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo *i = (void *)CMSG_DATA(k);
      struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = i->ipi_addr}, l = {.sin_family = AF_INET, .sin_addr = i->ipi_spec_dst};
      char name[IF_NAMESIZE] = "?";
      if_indextoname(i->ipi_ifindex, name);
      say("  to %s, here %s, by %s", whose(&a), whose(&l), name);
    } else if (k->cmsg_level == IPPROTO_IPV6 && k->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo *i = (void *)CMSG_DATA(k);
      struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = i->ipi6_addr};
      char name[IF_NAMESIZE] = "?";
      if_indextoname(i->ipi6_ifindex, name);
      say("  to %s, by %s", whose(&a), name);
    } else if (k->cmsg_level == SOL_SOCKET && k->cmsg_type == SO_TIMESTAMP) {
      struct timeval *t = (void *)CMSG_DATA(k);
      say("  a time near now: %d", labs((long)(t->tv_sec - time(NULL))) < 20);
    } else if ((k->cmsg_level == IPPROTO_IP && k->cmsg_type == IP_RECVERR) ||
               (k->cmsg_level == IPPROTO_IPV6 && k->cmsg_type == IPV6_RECVERR)) {
      struct sock_extended_err *e = (void *)CMSG_DATA(k);
      say("  %s, origin %d, type %d, code %d, from %s", errno_name(e->ee_errno), e->ee_origin, e->ee_type, e->ee_code,
          whose(SO_EE_OFFENDER(e)));
    } else if (k->cmsg_level == IPPROTO_IP && k->cmsg_type == IP_TOS) {
      say("  type of service %d", *(unsigned char *)CMSG_DATA(k));
    } else {
      say("  level %d type %d: %d", k->cmsg_level, k->cmsg_type, value);
    }
  }
}

static void carried(int family) {
  int s = bound(family, 0);
  tell(port_of(s));
  int port = hear();
  struct sockaddr_in a = at(other4, port);
  struct sockaddr_in6 b = at6(other6, port);
  struct sockaddr *to = family == AF_INET ? (void *)&a : (void *)&b;
  socklen_t size = family == AF_INET ? sizeof a : sizeof b;
  if (server) {
    if (family == AF_INET) {
      SET(s, IPPROTO_IP, IP_PKTINFO, 1);
      SET(s, IPPROTO_IP, IP_RECVTTL, 1);
      SET(s, IPPROTO_IP, IP_RECVTOS, 1);
    } else {
      SET(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
      SET(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
      SET(s, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    }
    SET(s, SOL_SOCKET, SO_TIMESTAMP, 1);
    meet("ready");
    meet("sent");
    shows("as it is", s, 0);
    shows("with options", s, 0);
    meet("shown");
  } else {
    meet("ready");
    TRY(sendto(s, "plain", 5, 0, to, size));
    if (family == AF_INET) {
      SET(s, IPPROTO_IP, IP_TTL, 17);
      SET(s, IPPROTO_IP, IP_TOS, 8);
    } else {
      SET(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 17);
      SET(s, IPPROTO_IPV6, IPV6_TCLASS, 8);
    }
    TRY(sendto(s, "options", 7, 0, to, size));
    meet("sent");
    meet("shown");
  }
  close(s);
}

static void errors_in_a_queue(int family) {
  int s = bound(family, 0);
  struct sockaddr_in a = at(other4, 9);
  struct sockaddr_in6 b = at6(other6, 9);
  struct sockaddr *to = family == AF_INET ? (void *)&a : (void *)&b;
  if (family == AF_INET) SET(s, IPPROTO_IP, IP_RECVERR, 1);
  else SET(s, IPPROTO_IPV6, IPV6_RECVERR, 1);
  shows("nothing", s, MSG_ERRQUEUE);
  TRY(sendto(s, "lost", 4, 0, to, family == AF_INET ? sizeof a : sizeof b));
  await("lost", s, POLLIN, 1000);
  shows("lost", s, MSG_ERRQUEUE);
  say_events("taken", s);
  TRY(sendto(s, "lost", 4, 0, to, family == AF_INET ? sizeof a : sizeof b));
  sleep_ms(50);
  char c;
  TRY(recv(s, &c, 1, MSG_DONTWAIT));
  shows("lost", s, MSG_ERRQUEUE | MSG_DONTWAIT);
  close(s);
  meet("done");
}

static void broadcast(void) {
  int s = bound(AF_INET, 7100);
  meet("bound");
  struct sockaddr_in a = at("10.77.0.255", 7100);
  char b[16];
  if (!server) {
    TRY(sendto(s, "all", 3, 0, (void *)&a, sizeof a));
    SET(s, SOL_SOCKET, SO_BROADCAST, 1);
    TRY(sendto(s, "all", 3, 0, (void *)&a, sizeof a));
    TRY(recv(s, b, 16, 0));
  }
  meet("sent");
  if (server) {
    set(s, IPPROTO_IP, IP_PKTINFO, 1);
    TRY(recv(s, b, 16, 0));
    TRY(recv(s, b, 16, MSG_DONTWAIT));
  }
  meet("read");
  close(s);
}

static void multicast4(void) {
  int s = bound(AF_INET, 7101);
  struct ip_mreqn join = {.imr_ifindex = if_nametoindex("eth0")};
  inet_pton(AF_INET, GROUP4, &join.imr_multiaddr);
  struct sockaddr_in a = at(GROUP4, 7101);
  char b[16];
  if (server) TRY(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
  if (server) TRY(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
  meet("joined");
  if (!server) {
    TRY(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &join, sizeof join));
    SET(s, IPPROTO_IP, IP_MULTICAST_TTL, 3);
    SET(s, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    TRY(sendto(s, "group", 5, 0, (void *)&a, sizeof a));
    TRY(recv(s, b, 16, 0));
  }
  meet("sent");
  if (server) {
    set(s, IPPROTO_IP, IP_RECVTTL, 1);
    TRY(recv(s, b, 16, 0));
    TRY(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
    TRY(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
  }
  meet("left");
  if (!server) TRY(sendto(s, "again", 5, 0, (void *)&a, sizeof a));
  meet("sent again");
  if (server) TRY(recv(s, b, 16, 0));
  meet("done");
  close(s);
}

static void multicast6(void) {
  int s = bound(AF_INET6, 7102);
  struct ipv6_mreq join = {.ipv6mr_interface = if_nametoindex("eth0")};
  inet_pton(AF_INET6, GROUP6, &join.ipv6mr_multiaddr);
  struct sockaddr_in6 a = at6(GROUP6, 7102);
  char b[16];
  if (server) TRY(setsockopt(s, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &join, sizeof join));
  meet("joined");
  if (!server) {
    int device = if_nametoindex("eth0");
    TRY(setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &device, sizeof device));
    SET(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 3);
    TRY(sendto(s, "group", 5, 0, (void *)&a, sizeof a));
  }
  meet("sent");
  if (server) {
    TRY(recv(s, b, 16, 0));
    TRY(setsockopt(s, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &join, sizeof join));
  }
  meet("done");
  close(s);
}

static void shared_port(void) {
  enum { COUNT = 40 };
  if (!server) {
    struct sockaddr_in a = at(other4, hear());
    for (int i = 0; i < COUNT; i++) {
      int s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
      NEED(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
      close(s);
    }
    meet("sent");
    return;
  }
  int s[2], seen[2] = {0, 0};
  struct sockaddr_in a = at("0.0.0.0", 0);
  for (int i = 0; i < 2; i++) {
    s[i] = NEED(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    set(s[i], SOL_SOCKET, SO_REUSEPORT, 1);
    TRY(bind(s[i], (void *)&a, sizeof a));
    a.sin_port = htons(port_of(s[i]));
  }
  tell(port_of(s[0]));
  meet("sent");
  char c;
  for (int i = 0; i < 2; i++)
    while (recv(s[i], &c, 1, 0) == 1) seen[i]++;
  say("%d in all, each got some: %s", seen[0] + seen[1], seen[0] && seen[1] ? "yes" : "no");
  close(s[0]), close(s[1]);
}

static uint16_t sum16(const void *bytes, int size) {
  uint32_t sum = 0;
  for (const uint16_t *p = bytes; size > 1; size -= 2) sum += *p++;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

/* Echo requests, by a socket that only does that and by a raw one. */
static void echo(int family, int type) {
  if (server) {
    meet("echo");
    return;
  }
  char b[256];
  int s = socket(family, type, family == AF_INET ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
  say("socket: %s", s < 0 ? errno_name(errno) : "ok");
  if (s >= 0) {
    struct { struct icmphdr head; char text[8]; } ask = {{.type = family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST}, "payload"};
    ask.head.un.echo.id = htons(77), ask.head.un.echo.sequence = htons(5);
    ask.head.checksum = sum16(&ask, sizeof ask);
    struct sockaddr_in a = at(other4, 0);
    struct sockaddr_in6 c = at6(other6, 0), from;
    struct timeval t = {2, 0};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    TRY(sendto(s, &ask, sizeof ask, 0, family == AF_INET ? (void *)&a : (void *)&c, family == AF_INET ? sizeof a : sizeof c));
    for (int i = 0; i < 20; i++) {
      socklen_t size = sizeof from;
      ssize_t n = recvfrom(s, b, sizeof b, 0, (void *)&from, &size);
      if (n < 0) { say("no answer: %s", errno_name(errno)); break; }
      int skip = family == AF_INET && type == SOCK_RAW ? (b[0] & 15) * 4 : 0;
      struct icmphdr *got = (void *)(b + skip);
      if (got->type != (family == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY)) continue;
      say("%ld bytes from %s, type %d, sequence %d, \"%s\"", (long)n - skip, whose(&from), got->type,
          ntohs(got->un.echo.sequence), b + skip + 8);
      break;
    }
    close(s);
  }
  meet("echo");
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("carried along, IPv4");
  carried(AF_INET);
  PART("carried along, IPv6");
  carried(AF_INET6);
  PART("errors in a queue, IPv4");
  errors_in_a_queue(AF_INET);
  PART("errors in a queue, IPv6");
  errors_in_a_queue(AF_INET6);
  PART("broadcast");
  broadcast();
  PART("multicast, IPv4");
  multicast4();
  PART("multicast, IPv6");
  multicast6();
  PART("a shared port");
  shared_port();
  PART("echo requests");
  echo(AF_INET, SOCK_DGRAM);
  echo(AF_INET6, SOCK_DGRAM);
  PART("echo requests, raw");
  echo(AF_INET, SOCK_RAW);
  echo(AF_INET6, SOCK_RAW);
  return 0;
}
