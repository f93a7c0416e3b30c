/* rtnetlink and interface ioctls, as far as the loopback device shows: what getifaddrs(3) and its kin ask for. */
#include "guest.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

int main(void) {
  begin();
  say("-- getifaddrs");
  struct ifaddrs *all, *i;
  NEED(getifaddrs(&all));
  for (i = all; i; i = i->ifa_next) {
    if (strcmp(i->ifa_name, "lo") || !i->ifa_addr) continue;
    char ip[64] = "", mask[64] = "";
    int f = i->ifa_addr->sa_family;
    if (f == AF_INET) {
      inet_ntop(f, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, ip, sizeof ip);
      inet_ntop(f, &((struct sockaddr_in *)i->ifa_netmask)->sin_addr, mask, sizeof mask);
    } else if (f == AF_INET6) {
      inet_ntop(f, &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, ip, sizeof ip);
      inet_ntop(f, &((struct sockaddr_in6 *)i->ifa_netmask)->sin6_addr, mask, sizeof mask);
    }
    say("family %d flags %x %s %s", f, i->ifa_flags, ip, mask);
  }
  freeifaddrs(all);
  say("-- names and indices");
  say("lo is %u", if_nametoindex("lo"));
  char name[IF_NAMESIZE] = "";
  say("1 is %s", if_indextoname(1, name) ? name : errno_name(errno));
  say("no such: %u %s", if_nametoindex("nosuch0"), errno_name(errno));
  say("-- ioctls");
  int s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  struct ifreq r;
#define ASK(request) (memset(&r, 0, sizeof r), strcpy(r.ifr_name, "lo"), TRY(ioctl(s, request, &r)))
  ASK(SIOCGIFFLAGS);
  say("flags %x", r.ifr_flags);
  ASK(SIOCGIFADDR);
  say("address %s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
  ASK(SIOCGIFNETMASK);
  say("mask %s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
  ASK(SIOCGIFBRDADDR);
  say("broadcast %s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
  ASK(SIOCGIFMTU);
  say("mtu %d", r.ifr_mtu);
  ASK(SIOCGIFHWADDR);
  say("hardware %d %02x", r.ifr_hwaddr.sa_family, (unsigned char)r.ifr_hwaddr.sa_data[0]);
  ASK(SIOCGIFINDEX);
  say("index %d", r.ifr_ifindex);
  ASK(SIOCGIFTXQLEN);
  ASK(SIOCGIFMETRIC);
  strcpy(r.ifr_name, "nosuch0");
  TRY(ioctl(s, SIOCGIFFLAGS, &r));
  TRY(ioctl(s, SIOCGIFFLAGS, BAD));
  TRY(ioctl(s, 0x89ff, &r));
  char room[400];
  struct ifconf conf = {.ifc_len = sizeof room, .ifc_buf = room};
  TRY(ioctl(s, SIOCGIFCONF, &conf));
  struct ifreq *first = (void *)room;
  YES(conf.ifc_len >= (int)sizeof *first && !strcmp(first->ifr_name, "lo"));
  conf.ifc_buf = NULL;
  TRY(ioctl(s, SIOCGIFCONF, &conf));
  YES(conf.ifc_len >= (int)sizeof *first);
  conf.ifc_len = 10, conf.ifc_buf = room;
  TRY(ioctl(s, SIOCGIFCONF, &conf));
  say("length %d", conf.ifc_len);
  say("-- sockets");
  TRY(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
  TRY(socket(AF_NETLINK, SOCK_RAW, 31));
  int n = NEED(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)), m2 = NEED(socket(AF_NETLINK, SOCK_DGRAM, 0));
  struct sockaddr_nl a = {.nl_family = AF_NETLINK}, got;
  socklen_t l = sizeof got;
  TRY(bind(n, (void *)&a, sizeof a - 1));
  TRY(bind(n, (void *)&a, sizeof a));
  TRY(getsockname(n, (void *)&got, &l));
  YES(l == 12 && got.nl_pid == (unsigned)getpid());
  TRY(bind(m2, (void *)&got, l));
  TRY(bind(m2, (void *)&a, sizeof a));
  TRY(getsockname(m2, (void *)&got, &l));
  YES(got.nl_pid != (unsigned)getpid() && got.nl_pid != 0);
  TRY(getpeername(n, (void *)&got, &l));
  say("peer %u", got.nl_pid);
  char b[8192];
  TRY(recv(n, b, sizeof b, MSG_DONTWAIT));
  say("-- errors and acknowledgements");
  struct {
    struct nlmsghdr h;
    struct ifinfomsg i;
  } q = {{sizeof q, RTM_GETLINK, NLM_F_REQUEST, 7, 0}, {.ifi_index = 999}};
  TRY(send(n, &q, sizeof q, 0));
  TRY(recv(n, b, sizeof b, MSG_TRUNC | MSG_PEEK | MSG_DONTWAIT));
  TRY(recv(n, b, 10, MSG_TRUNC | MSG_DONTWAIT));
  q.i.ifi_index = 1;
  q.h.nlmsg_seq = 8;
  TRY(send(n, &q, sizeof q, 0));
  l = sizeof got;
  long len = recvfrom(n, b, sizeof b, MSG_DONTWAIT, (void *)&got, &l);
  struct nlmsghdr *h = (void *)b;
  YES(len > 0 && h->nlmsg_type == RTM_NEWLINK && h->nlmsg_seq == 8 && h->nlmsg_pid == (unsigned)getpid() && h->nlmsg_flags == 0);
  YES(l == 12 && got.nl_pid == 0);
  q.h.nlmsg_type = NLMSG_NOOP, q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  TRY(send(n, &q, sizeof q, 0));
  TRY(recv(n, b, sizeof b, MSG_DONTWAIT));
  struct nlmsgerr *e = NLMSG_DATA(h);
  say("type %d error %d", h->nlmsg_type, e->error);
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    q.h.nlmsg_type = RTM_DELLINK, q.h.nlmsg_flags = NLM_F_REQUEST;
    TRY(send(n, &q, sizeof q, 0));
    TRY(recv(n, b, sizeof b, MSG_DONTWAIT) > 0);
    say("type %d error %d", h->nlmsg_type, e->error);
  });
  q.h.nlmsg_type = RTM_GETLINK, q.h.nlmsg_flags = 0;
  TRY(send(n, &q, sizeof q, 0));
  TRY(recv(n, b, sizeof b, MSG_DONTWAIT));
  say("-- a dump ends");
  q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, q.i.ifi_index = 0;
  TRY(send(n, &q, sizeof q, 0));
  bool done = false, lo = false;
  for (int turn = 0; turn < 20 && !done; turn++) {
    len = recv(n, b, sizeof b, MSG_DONTWAIT);
    for (h = (void *)b; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
      if (h->nlmsg_type == NLMSG_DONE) done = true;
      if (h->nlmsg_type == RTM_NEWLINK && ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_type == ARPHRD_LOOPBACK) lo = true;
    }
  }
  YES(done && lo);
  return 0;
}
