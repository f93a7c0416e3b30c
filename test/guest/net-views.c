/* What programs look at of the network: groups and options of netlink, strict requests, sock_diag, /proc/net, /sys/class/net. */
#include "guest.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <netinet/tcp.h>

static char room[16384];

static int nl_socket(int protocol) {
  struct timeval limit = {5, 0};
  int s = NEED(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return s;
}
static void nl_option(int s, int name, int value) {
  int r = setsockopt(s, SOL_NETLINK, name, &value, sizeof value);
  say("option %d %d: %s", name, value, r ? errno_name(errno) : "ok");
}

/* Sends a request and hands every message of the answer to `take`; the end is told. */
static void ask(int s, void *request, int length, void (*take)(struct nlmsghdr *)) {
  struct nlmsghdr *h = request;
  h->nlmsg_len = length;
  NEED(send(s, request, length, 0));
  for (;;) {
    int n = NEED(recv(s, room, sizeof room, 0));
    for (h = (void *)room; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
      if (h->nlmsg_type == NLMSG_DONE) {
        int e = *(int *)NLMSG_DATA(h);
        say("done %s", e ? errno_name(-e) : "");
        return;
      }
      if (h->nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr *e = NLMSG_DATA(h);
        say("error %s capped %d", e->error ? errno_name(-e->error) : "none", !!(h->nlmsg_flags & NLM_F_CAPPED));
        return;
      }
      take(h);
      if (!(h->nlmsg_flags & NLM_F_MULTI)) return;
    }
  }
}
static void nothing(struct nlmsghdr *h) { (void)h; }
static void *attribute(struct nlmsghdr *h, int header, int type, int *length) {
  struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(header));
  int n = h->nlmsg_len - NLMSG_SPACE(header);
  for (; RTA_OK(a, n); a = RTA_NEXT(a, n))
    if ((a->rta_type & NLA_TYPE_MASK) == type) {
      if (length) *length = RTA_PAYLOAD(a);
      return RTA_DATA(a);
    }
  return NULL;
}

static void show_link(struct nlmsghdr *h) {
  struct ifinfomsg *i = NLMSG_DATA(h);
  if (i->ifi_index == 1)
    say("link %s type %d mtu %u stats %d", (char *)attribute(h, sizeof *i, IFLA_IFNAME, NULL), i->ifi_type,
        *(unsigned *)attribute(h, sizeof *i, IFLA_MTU, NULL), attribute(h, sizeof *i, IFLA_STATS64, NULL) != NULL);
}
static void show_rule(struct nlmsghdr *h) {
  struct rtmsg *r = NLMSG_DATA(h);
  unsigned *priority = attribute(h, sizeof *r, 6, NULL);
  say("rule %u table %u", priority ? *priority : 0, *(unsigned *)attribute(h, sizeof *r, RTA_TABLE, NULL));
}
static void show_route(struct nlmsghdr *h) {
  struct rtmsg *r = NLMSG_DATA(h);
  unsigned char *source = attribute(h, sizeof *r, RTA_PREFSRC, NULL);
  say("route type %d length %d by %d source %s flags %x table %d", r->rtm_type, r->rtm_dst_len,
      *(int *)attribute(h, sizeof *r, RTA_OIF, NULL), source && r->rtm_family == AF_INET ? inet_ntoa(*(struct in_addr *)source) : "-",
      r->rtm_flags, r->rtm_table);
}

static unsigned short wanted_port;
static void show_inet(struct nlmsghdr *h) {
  struct inet_diag_msg *d = NLMSG_DATA(h);
  if (ntohs(d->id.idiag_sport) != wanted_port && ntohs(d->id.idiag_dport) != wanted_port) return;
  struct tcp_info *info = attribute(h, sizeof *d, INET_DIAG_INFO, NULL);
  unsigned char *down = attribute(h, sizeof *d, INET_DIAG_SHUTDOWN, NULL);
  say("family %d state %d from us %d rqueue %u info %d memory %d shutdown %d", d->idiag_family, d->idiag_state,
      ntohs(d->id.idiag_sport) == wanted_port, d->idiag_rqueue, info ? info->tcpi_state : -1,
      attribute(h, sizeof *d, INET_DIAG_SKMEMINFO, NULL) != NULL, down ? *down : -1);
}
static void show_unix(struct nlmsghdr *h) {
  struct unix_diag_msg *d = NLMSG_DATA(h);
  int length = 0;
  char *name = attribute(h, sizeof *d, UNIX_DIAG_NAME, &length);
  if (!name || length < 10 || memcmp(name + 1, "net-views", 9)) return;
  unsigned *queue = attribute(h, sizeof *d, UNIX_DIAG_RQLEN, NULL);
  say("unix type %d state %d name %d icons %d queue %u %u", d->udiag_type, d->udiag_state, length,
      attribute(h, sizeof *d, UNIX_DIAG_ICONS, NULL) != NULL, queue[0], queue[1]);
}

static void diag_inet(int s, int family, int protocol, unsigned states, const void *program, int length) {
  struct {
    struct nlmsghdr h;
    struct inet_diag_req_v2 r;
    char more[64];
  } q = {{0, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states}, ""};
  q.r.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
  int size = NLMSG_LENGTH(sizeof q.r);
  if (program) {
    struct rtattr *a = (void *)((char *)&q + NLMSG_ALIGN(size));
    a->rta_type = INET_DIAG_REQ_BYTECODE, a->rta_len = RTA_LENGTH(length);
    memcpy(RTA_DATA(a), program, length);
    size = NLMSG_ALIGN(size) + RTA_SPACE(length);
  }
  ask(s, &q, size, show_inet);
}

static void row(const char *path, const char *local) {
  FILE *f = fopen(path, "r");
  if (!f) return say("%s: %s", path, errno_name(errno)), (void)0;
  char line[512], own[64], other[64];
  for (unsigned n, state; fgets(line, sizeof line, f);)
    if (sscanf(line, "%u: %63s %63s %x", &n, own, other, &state) == 4 && !strcmp(own, local))
      say("%s: %s state %X, %zu long, ends %d", path, strchr(own, ':') ? "found" : "?", state, strlen(line), line[strlen(line) - 1]);
  fclose(f);
}
static void file(const char *path) {
  char text[256];
  int f = open(path, O_RDONLY);
  if (f < 0) return say("%s: %s", path, errno_name(errno)), (void)0;
  int n = read(f, text, sizeof text - 1);
  text[n < 0 ? 0 : n] = 0;
  say("%s: %s%s", path, n < 0 ? errno_name(errno) : text, n > 0 && text[n - 1] == '\n' ? "" : "(no line)");
  close(f);
}
static void lines(const char *path, const char *start) {
  FILE *f = fopen(path, "r");
  if (!f) return say("%s: %s", path, errno_name(errno)), (void)0;
  char line[2048];
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, start, strlen(start))) {
      int fields = 1;
      for (char *c = line; *c; c++) fields += *c == ' ';
      say("%s: %s of %d", path, start, fields > 12 ? 12 : fields);
    }
  fclose(f);
}

int main(void) {
  begin();
  /* Held to the end, also by one that goes on elsewhere. */
  int link = open("/sys/class/net/lo", O_PATH | O_NOFOLLOW);
  say("a device by its link: %s", link >= 0 ? "open" : errno_name(errno));
  say("-- options and groups");
  int s = nl_socket(NETLINK_ROUTE);
  nl_option(s, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK);
  nl_option(s, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_IFADDR);
  nl_option(s, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP);
  nl_option(s, NETLINK_ADD_MEMBERSHIP, 0);
  nl_option(s, NETLINK_ADD_MEMBERSHIP, 1000);
  unsigned groups[4] = {0};
  socklen_t l = 8;
  TRY(getsockopt(s, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &l));
  say("member of %x %x", groups[0], groups[1]);
  nl_option(s, NETLINK_DROP_MEMBERSHIP, RTNLGRP_LINK);
  struct sockaddr_nl a = {.nl_family = AF_NETLINK}, got;
  l = sizeof got;
  TRY(getsockname(s, (void *)&got, &l));
  say("groups %x", got.nl_groups);
  a.nl_groups = RTMGRP_LINK | RTMGRP_IPV6_ROUTE;
  TRY(bind(s, (void *)&a, sizeof a));
  TRY(getsockname(s, (void *)&got, &l));
  say("groups %x", got.nl_groups);
  TRY(recv(s, room, sizeof room, MSG_DONTWAIT));
  close(s);

  say("-- requests");
  s = nl_socket(NETLINK_ROUTE);
  struct {
    struct nlmsghdr h;
    union {
      struct ifinfomsg i;
      struct ifaddrmsg a;
      struct rtmsg r;
      struct ndmsg n;
      char c[16];
    } b;
    char more[64];
  } q;
#define FRESH(type, flags) (memset(&q, 0, sizeof q), q.h.nlmsg_type = (type), q.h.nlmsg_flags = NLM_F_REQUEST | (flags))
  FRESH(RTM_GETLINK, NLM_F_DUMP);
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i), show_link);
  FRESH(RTM_GETLINK, 0);
  struct rtattr *name = (void *)((char *)&q + NLMSG_LENGTH(sizeof q.b.i));
  name->rta_type = IFLA_IFNAME, name->rta_len = RTA_LENGTH(3);
  strcpy(RTA_DATA(name), "lo");
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i) + RTA_SPACE(3), show_link);
  strcpy(RTA_DATA(name), "xx");
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i) + RTA_SPACE(3), show_link);
  nl_option(s, NETLINK_CAP_ACK, 1);
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i) + RTA_SPACE(3), show_link);
  FRESH(RTM_GETLINK, 0);
  q.b.i.ifi_index = -1;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i), show_link);
  FRESH(RTM_GETRULE, NLM_F_DUMP);
  q.b.r.rtm_family = AF_INET;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.r), show_rule);
  for (const char *const *to = (const char *[]){"127.0.0.1", "127.1.2.3", NULL}; *to; to++) {
    FRESH(RTM_GETROUTE, 0);
    q.b.r.rtm_family = AF_INET, q.b.r.rtm_dst_len = 32;
    struct rtattr *dst = (void *)((char *)&q + NLMSG_LENGTH(sizeof q.b.r));
    dst->rta_type = RTA_DST, dst->rta_len = RTA_LENGTH(4);
    inet_pton(AF_INET, *to, RTA_DATA(dst));
    ask(s, &q, NLMSG_LENGTH(sizeof q.b.r) + RTA_SPACE(4), show_route);
  }
  FRESH(RTM_GETADDR, 0);
  q.b.a.ifa_family = AF_INET;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.a), nothing);
  FRESH(RTM_GETNEIGH, 0);
  q.b.n.ndm_family = AF_INET;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.n), nothing);
  say("-- strict requests");
  nl_option(s, NETLINK_GET_STRICT_CHK, 1);
  FRESH(RTM_GETLINK, NLM_F_DUMP);
  q.b.i.ifi_type = 5;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i), nothing);
  FRESH(RTM_GETLINK, NLM_F_DUMP);
  q.b.i.ifi_index = 1;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.i), nothing);
  FRESH(RTM_GETADDR, NLM_F_DUMP);
  q.b.a.ifa_index = 99999;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.a), nothing);
  FRESH(RTM_GETADDR, NLM_F_DUMP);
  q.b.a.ifa_prefixlen = 9;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.a), nothing);
  FRESH(RTM_GETROUTE, NLM_F_DUMP);
  q.b.r.rtm_family = AF_INET, q.b.r.rtm_table = 77;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.r), nothing);
  FRESH(RTM_GETROUTE, NLM_F_DUMP);
  q.b.r.rtm_family = AF_INET, q.b.r.rtm_dst_len = 8;
  ask(s, &q, NLMSG_LENGTH(sizeof q.b.r), nothing);
  close(s);

  say("-- sockets");
  int listener = NEED(socket(AF_INET, SOCK_STREAM, 0)), client = NEED(socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  NEED(bind(listener, (void *)&in, sizeof in));
  l = sizeof in;
  NEED(getsockname(listener, (void *)&in, &l));
  wanted_port = ntohs(in.sin_port);
  NEED(listen(listener, 4));
  NEED(connect(client, (void *)&in, sizeof in));
  NEED(write(client, "hello", 5));
  int server = NEED(accept(listener, NULL, NULL));
  int udp = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  NEED(bind(udp, (void *)&in, sizeof in));
  char probe[1];
  NEED(recv(server, probe, 1, MSG_PEEK));
  s = nl_socket(NETLINK_SOCK_DIAG);
  diag_inet(s, AF_INET, IPPROTO_TCP, 1 << TCP_LISTEN, NULL, 0);
  struct inet_diag_bc_op op[] = {{INET_DIAG_BC_S_GE, 8, 20}, {0, 0, wanted_port}, {INET_DIAG_BC_S_LE, 8, 12}, {0, 0, wanted_port}};
  diag_inet(s, AF_INET, IPPROTO_TCP, -1u, op, sizeof op);
  op[0].code = INET_DIAG_BC_D_GE, op[2].code = INET_DIAG_BC_D_LE;
  diag_inet(s, AF_INET, IPPROTO_TCP, -1u, op, sizeof op);
  op[0].no = 2;
  diag_inet(s, AF_INET, IPPROTO_TCP, -1u, op, sizeof op);
  diag_inet(s, AF_INET, IPPROTO_UDP, -1u, NULL, 0);
  diag_inet(s, AF_INET, 99, -1u, NULL, 0);
  struct {
    struct nlmsghdr h;
    struct unix_diag_req r;
  } u = {{0, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.sdiag_family = AF_UNIX, .udiag_states = -1u, .udiag_show = -1u}};
  u.r.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_PEER;
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  snprintf(un.sun_path + 1, 40, "net-views%010d", getpid());
  int ux = NEED(socket(AF_UNIX, SOCK_STREAM, 0)), uc = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  NEED(bind(ux, (void *)&un, 2 + 1 + 19));
  NEED(listen(ux, 6));
  NEED(connect(uc, (void *)&un, 2 + 1 + 19));
  ask(s, &u, sizeof u, show_unix);
  u.r.sdiag_family = 200;
  ask(s, &u, sizeof u, nothing);
  close(s);

  say("-- /proc/net");
  char local[32];
  snprintf(local, sizeof local, "0100007F:%04X", wanted_port);
  row("/proc/net/tcp", local);
  row("/proc/net/udp", local);
  lines("/proc/net/snmp", "Tcp: Rto");
  lines("/proc/net/snmp", "Udp: InD");
  lines("/proc/net/netstat", "IpExt: InNo");
  lines("/proc/net/igmp", "1\tlo");
  lines("/proc/net/if_inet6", "0000000000000000000000000000000");
  lines("/proc/net/protocols", "protocol");
  lines("/proc/net/protocols", "TCP ");
  lines("/proc/net/sockstat", "TCP: inuse");
  lines("/proc/net/netlink", "sk ");
  file("/proc/net/wireless");
  say("-- /sys/class/net");
  chdir("/sys/class/net/lo");
  for (const char *const *at = (const char *[]){"address", "addr_len", "broadcast", "carrier", "dev_id", "flags", "ifindex", "iflink", "mtu", "operstate", "speed", "tx_queue_len", "type", "statistics/collisions", "statistics/nosuch", "nosuch", "subsystem/lo/ifindex", NULL}; *at; at++)
    file(*at);
  file("/sys/class/net/nosuch0/mtu");
  /* Held while others read on. */
  int held[] = {NEED(open(".", O_RDONLY | O_DIRECTORY)), NEED(open("statistics", O_RDONLY)), NEED(open("mtu", O_RDONLY)), NEED(open("/sys/class/net", O_RDONLY))};
  struct stat st;
  NEED(lstat("/sys/class/net/lo", &st));
  YES(S_ISLNK(st.st_mode));
  NEED(fstatat(held[1], "rx_bytes", &st, 0));
  YES(S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0444);
  TRY(read(held[2], room, 3));
  TRY(open("mtu", O_WRONLY | O_CREAT | O_EXCL, 0644));
  char target[256] = "";
  TRY(readlinkat(link, "", target, sizeof target - 1));
  say("and it leads to %s", target);
  return 0;
}
