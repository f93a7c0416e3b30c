/* What is sent and received over TCP between two hosts: each flag, urgent data, counts, time limits, vectors. */
#include "hosts.h"

static void flags(int family) {
  char b[64] = "";
  int s = joined(family), n = -1;
  if (server) {
    meet("empty");
    TRY(send(s, "hello, other", 12, 0));
    meet("sent");
    meet("peeked");
    TRY(send(s, "abc", 3, MSG_MORE));
    TRY(send(s, "def", 3, 0));
    meet("sent more");
    meet("looked");
    TRY(send(s, "first", 5, 0));
    sleep_ms(60);
    TRY(send(s, "second", 6, 0));
    meet("sent twice");
    TRY(send(s, "", 0, 0));
    TRY(send(s, "0123456789", 10, 0));
    meet("sent ten");
    meet("thrown away");
    TRY(send(s, "end", 3, 0));
    close(s);
    meet("ended");
    return;
  }
  TRY(recv(s, b, 64, MSG_DONTWAIT));
  meet("empty");
  meet("sent");
  TRY(ioctl(s, SIOCINQ, &n));
  say("waiting %d", n);
  TRY(recv(s, b, 5, MSG_PEEK));
  say("\"%.5s\"", b);
  TRY(recv(s, b, 64, MSG_PEEK));
  TRY(recv(s, b, 5, 0));
  TRY(ioctl(s, FIONREAD, &n));
  say("waiting %d", n);
  TRY(recv(s, b, 0, 0));
  TRY(recv(s, b, 64, MSG_TRUNC));
  TRY(recv(s, BAD, 4, MSG_DONTWAIT));
  meet("peeked");
  meet("sent more");
  TRY(recv(s, b, 64, 0));
  say("\"%.6s\"", b);
  meet("looked");
  TRY(recv(s, b, 11, MSG_WAITALL));
  say("\"%.11s\"", b);
  meet("sent twice");
  meet("sent ten");
  TRY(recv(s, BAD, 4, 0));
  TRY(recv(s, NULL, 4, MSG_TRUNC));
  struct iovec v[3] = {{b, 1}, {b + 20, 0}, {b + 30, 2}};
  TRY(readv(s, v, 3));
  say("\"%.1s\" \"%.2s\"", b, b + 30);
  struct sockaddr_in6 from;
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = v, .msg_iovlen = 3};
  TRY(recvmsg(s, &m, 0));
  say("\"%.1s\" \"%.2s\" flags %x, name of %d bytes", b, b + 30, m.msg_flags, m.msg_namelen);
  meet("thrown away");
  meet("ended");
  TRY(recv(s, b, 64, MSG_WAITALL));
  TRY(recv(s, b, 64, MSG_WAITALL));
  close(s);
}

static void urgent(void) {
  char b[32] = "";
  int s = joined(AF_INET), mark = -1, yes = 1;
  if (server) {
    meet("ready");
    TRY(send(s, "abc", 3, 0));
    TRY(send(s, "dX", 2, MSG_OOB));
    TRY(send(s, "efg", 3, 0));
    meet("sent");
    meet("read");
    send(s, "ab", 2, 0);
    send(s, "Y", 1, MSG_OOB);
    meet("sent again");
    meet("read again");
    close(s);
    return;
  }
  handle(SIGURG, on_urgent, SA_RESTART);
  NEED(fcntl(s, F_SETOWN, getpid()));
  TRY(recv(s, b, 1, MSG_OOB | MSG_DONTWAIT));
  meet("ready");
  meet("sent");
  sleep_ms(50);
  say("signals %d", urgent_signals);
  say_events("urgent", s);
  TRY(ioctl(s, SIOCATMARK, &mark));
  say("at mark %d", mark);
  TRY(recv(s, b, 20, 0));
  say("\"%.4s\"", b);
  TRY(ioctl(s, SIOCATMARK, &mark));
  say("at mark %d", mark);
  TRY(recv(s, b, 20, MSG_OOB));
  say("\"%.1s\"", b);
  TRY(recv(s, b, 20, MSG_OOB));
  TRY(recv(s, b, 20, 0));
  say("\"%.3s\"", b);
  say_events("all read", s);
  NEED(setsockopt(s, SOL_SOCKET, SO_OOBINLINE, &yes, sizeof yes));
  meet("read");
  meet("sent again");
  sleep_ms(30);
  TRY(recv(s, b, 20, MSG_OOB));
  TRY(recv(s, b, 20, 0));
  TRY(ioctl(s, SIOCATMARK, &mark));
  say("at mark %d", mark);
  TRY(recv(s, b, 20, 0));
  say("\"%.1s\"", b);
  meet("read again");
  close(s);
}

static void limits_in_time(void) {
  char b[8];
  int s = joined(AF_INET);
  struct timeval soon = {0, 80000};
  NEED(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
  int64_t before = now_ns();
  TRY(recv(s, b, 8, 0));
  YES(now_ns() - before > 60000000 && now_ns() - before < 3000000000);
  socklen_t size = sizeof soon;
  NEED(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &soon, &size));
  YES(soon.tv_sec == 0 && soon.tv_usec >= 80000 && soon.tv_usec < 90000);
  meet("late");
  /* Nobody reads: what there is room for goes, then it is late. */
  if (server) {
    static char big[1 << 16];
    NEED(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
    ssize_t n, total = 0;
    while ((n = send(s, big, sizeof big, 0)) > 0) total += n;
    say("%s, more than 64 KiB %d", errno_name(errno), total > 65536);
    await("full", s, POLLOUT, 0);
    int queued = 0;
    TRY(ioctl(s, SIOCOUTQ, &queued));
    YES(queued > 0);
    TRY(send(s, "x", 1, MSG_DONTWAIT));
    meet("full");
    tell(total);
    await("drained", s, POLLOUT, 5000);
    meet("drained");
    TRY(ioctl(s, SIOCOUTQ, &queued));
    say("queued %d", queued);
  } else {
    static char big[1 << 16];
    meet("full");
    ssize_t total = hear(), got = 0, n;
    while (got < total && (n = recv(s, big, sizeof big, 0)) > 0) got += n;
    YES(got == total);
    meet("drained");
  }
  close(s);
}

static void low_water(void) {
  char b[32];
  int s = joined(AF_INET);
  if (server) {
    meet("ready");
    TRY(send(s, "123", 3, 0));
    meet("three");
    meet("looked");
    TRY(send(s, "45678", 5, 0));
    meet("eight");
  } else {
    SET(s, SOL_SOCKET, SO_RCVLOWAT, 6);
    meet("ready");
    meet("three");
    await("three", s, POLLIN, 50);
    meet("looked");
    meet("eight");
    await("eight", s, POLLIN, 1000);
    TRY(recv(s, b, 32, 0));
  }
  close(s);
}

static void corked(void) {
  char b[32];
  int s = joined(AF_INET);
  if (server) {
    SET(s, IPPROTO_TCP, TCP_CORK, 1);
    TRY(write(s, "one", 3));
    TRY(write(s, "two", 3));
    meet("corked");
    meet("looked");
    SET(s, IPPROTO_TCP, TCP_CORK, 0);
    meet("uncorked");
  } else {
    meet("corked");
    TRY(recv(s, b, 32, MSG_DONTWAIT));
    meet("looked");
    meet("uncorked");
    TRY(recv(s, b, 32, 0));
  }
  close(s);
}

static void vectors(void) {
  int s = joined(AF_INET);
  enum { COUNT = 64, EACH = 1000 };
  static char bytes[COUNT][EACH];
  struct iovec v[COUNT];
  for (int i = 0; i < COUNT; i++) {
    memset(bytes[i], server ? 'a' + i % 26 : 0, EACH);
    v[i] = (struct iovec){bytes[i], EACH};
  }
  if (server) {
    struct msghdr m = {.msg_iov = v, .msg_iovlen = COUNT};
    TRY(sendmsg(s, &m, 0));
    TRY(writev(s, v, 3));
    v[1].iov_base = BAD;
    TRY(writev(s, v, 3));
    TRY(write(s, BAD, 10));
    TRY(send(s, "x", 1, MSG_OOB | MSG_DONTROUTE));
  } else {
    struct msghdr m = {.msg_iov = v, .msg_iovlen = COUNT};
    TRY(recvmsg(s, &m, MSG_WAITALL));
    bool right = true;
    for (int i = 0; i < COUNT; i++) right &= bytes[i][0] == 'a' + i % 26 && bytes[i][EACH - 1] == 'a' + i % 26;
    YES(right);
    TRY(recv(s, bytes, 3000, MSG_WAITALL));
  }
  meet("done");
  close(s);
}

/* What two processes and two threads do with one socket. */
static void shared(void) {
  char b[8] = "";
  int s = joined(AF_INET);
  if (server) {
    CHILD("a child sends", TRY(send(s, "child", 5, 0)));
    TRY(send(s, "!", 1, 0));
    int copy = dup(s);
    close(s);
    meet("closed one");
    TRY(send(copy, "copy", 4, 0));
    close(copy);
  } else {
    TRY(recv(s, b, 6, MSG_WAITALL));
    say("\"%.6s\"", b);
    meet("closed one");
    TRY(recv(s, b, 4, MSG_WAITALL));
    TRY(recv(s, b, 4, 0));
    close(s);
  }
  meet("done");
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("flags");
  flags(AF_INET);
  PART("flags, IPv6");
  flags(AF_INET6);
  PART("urgent data");
  urgent();
  PART("limits in time");
  limits_in_time();
  PART("low water");
  low_water();
  PART("corked");
  corked();
  PART("vectors");
  vectors();
  PART("shared");
  shared();
  return 0;
}
