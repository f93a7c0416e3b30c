/* A TCP connection between two hosts: how it begins, who is who, and every way in which it ends. */
#include "hosts.h"

static void beginnings(int family) {
  char c;
  int s = joined(family);
  say_names(server ? "accepted" : "connected", s);
  say_events("idle", s);
  meet("looked");
  if (server) {
    TRY(send(s, "a", 1, 0));
  } else {
    TRY(recv(s, &c, 1, 0));
    struct sockaddr_in6 again;
    socklen_t size = sizeof again;
    NEED(getpeername(s, (void *)&again, &size));
    TRY(connect(s, (void *)&again, size));
  }
  meet("said");
  close(s);
}

static void refusals(void) {
  if (server) return;
  struct sockaddr_in a = at(other4, 9);
  struct sockaddr_in6 a6 = at6(other6, 9);
  int s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  TRY(connect(s, (void *)&a, sizeof a));
  say_events("refused", s);
  say_names("refused", s);
  TRY(connect(s, (void *)&a, sizeof a));
  TRY(send(s, "x", 1, MSG_NOSIGNAL));
  close(s);
  s = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  TRY(connect(s, (void *)&a6, sizeof a6));
  close(s);
  const char *far_[] = {NOWHERE, UNREACHABLE, PROHIBITED};
  for (int i = 0; i < 3; i++) {
    s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    a = at(far_[i], 9);
    say("to %s", far_[i]);
    TRY(connect(s, (void *)&a, sizeof a));
    close(s);
  }
  a6 = at6("2001:db8::1", 9);
  s = NEED(socket(AF_INET6, SOCK_STREAM, 0));
  TRY(connect(s, (void *)&a6, sizeof a6));
  close(s);
  say("to a broadcast address");
  a = at("10.77.0.255", 9);
  s = NEED(socket(AF_INET, SOCK_STREAM, 0));
  YES(connect(s, (void *)&a, sizeof a) == -1 && (errno == ENETUNREACH || errno == EACCES));
  close(s);
}

static void not_waiting(void) {
  char c;
  int port = 0, l = -1;
  if (server) tell(port_of(l = listens4("0.0.0.0", 0)));
  else port = hear();
  if (!server) {
    struct sockaddr_in a = at(other4, port);
    int s = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    TRY(connect(s, (void *)&a, sizeof a));
    await("connecting", s, POLLOUT, 5000);
    say("error %d", option(s, SOL_SOCKET, SO_ERROR));
    TRY(connect(s, (void *)&a, sizeof a));
    TRY(recv(s, &c, 1, 0));
    close(s);
    a = at(other4, 9);
    s = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    TRY(connect(s, (void *)&a, sizeof a));
    await("refused", s, POLLOUT | POLLIN | POLLRDHUP, 5000);
    say("error %s", errno_name(option(s, SOL_SOCKET, SO_ERROR)));
    say("then %d", option(s, SOL_SOCKET, SO_ERROR));
    close(s);
    /* Whoever waits for the refusal by sending has it from there. */
    s = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    connect(s, (void *)&a, sizeof a);
    await("refused", s, POLLOUT, 5000);
    TRY(send(s, "x", 1, MSG_NOSIGNAL));
    TRY(send(s, "x", 1, MSG_NOSIGNAL));
    close(s);
    a = at(SILENT, 9);
    s = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    TRY(connect(s, (void *)&a, sizeof a));
    TRY(connect(s, (void *)&a, sizeof a));
    await("nobody answers", s, POLLOUT | POLLIN | POLLRDHUP, 100);
    TRY(send(s, "x", 1, MSG_NOSIGNAL));
    TRY(shutdown(s, SHUT_RDWR));
    say_events("given up", s);
    close(s);
    s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    struct timeval soon = {0, 100000};
    NEED(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
    TRY(connect(s, (void *)&a, sizeof a));
    close(s);
    CHILD("interrupted", {
      s = NEED(socket(AF_INET, SOCK_STREAM, 0));
      handle(SIGALRM, ignore, 0);
      struct itimerval t = {{0, 0}, {0, 100000}};
      setitimer(ITIMER_REAL, &t, NULL);
      TRY(connect(s, (void *)&a, sizeof a));
    });
  }
  meet("all tried");
  if (server) {
    int k = NEED(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    say("flags %x %x", fcntl(k, F_GETFL) & O_NONBLOCK, fcntl(k, F_GETFD));
    await("closed meanwhile", k, POLLIN | POLLRDHUP, 1000);
    TRY(recv(k, &c, 1, 0));
    fcntl(l, F_SETFL, O_NONBLOCK);
    TRY(accept(l, NULL, NULL));
    close(k), close(l);
  }
}

/* Each way in turn: who = 0 is the client. */
static void half_closed(int who) {
  char b[8] = "";
  int s = joined(AF_INET);
  bool mine = server == who;
  if (mine) {
    TRY(send(s, "last", 4, 0));
    TRY(shutdown(s, SHUT_WR));
    TRY(send(s, "x", 1, MSG_NOSIGNAL));
  }
  meet("half closed");
  say_events("half closed", s);
  meet("looked");
  if (!mine) {
    TRY(recv(s, b, 8, 0));
    TRY(recv(s, b, 8, 0));
    TRY(send(s, "still", 5, 0));
  }
  meet("said");
  if (mine) TRY(recv(s, b, 8, 0));
  if (!mine) TRY(shutdown(s, SHUT_WR));
  meet("both closed");
  say_events("both closed", s);
  if (mine) TRY(recv(s, b, 8, 0));
  TRY(shutdown(s, SHUT_WR));
  close(s);
}

static void shut_for_reading(int who) {
  char b[8] = "";
  int s = joined(AF_INET);
  if (server == who) {
    TRY(shutdown(s, SHUT_RD));
    say_events("shut for reading", s);
    TRY(recv(s, b, 8, 0));
  }
  meet("shut");
  if (server != who) TRY(send(s, "more", 4, MSG_NOSIGNAL));
  meet("sent");
  if (server == who) {
    TRY(recv(s, b, 8, 0));
    TRY(recv(s, b, 8, 0));
    TRY(send(s, "y", 1, 0));
  }
  meet("sent back");
  if (server != who) TRY(recv(s, b, 8, 0));
  close(s);
}

enum { BY_LINGER, BY_UNREAD, BY_CLOSE, BY_FORGETTING };

static void resets(int who, int how) {
  char b[16];
  int s = joined(AF_INET);
  bool mine = server == who;
  if (!mine) TRY(send(s, "unread", 6, 0));
  if (mine && how == BY_LINGER) {
    meet("sent");
    struct linger now = {1, 0};
    TRY(recv(s, b, 16, 0));
    TRY(setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(s);
  } else if (mine && how == BY_UNREAD) {
    meet("sent");
    TRY(send(s, "mine", 4, 0));
    close(s);
  } else if (mine && how == BY_CLOSE) {
    meet("sent");
    TRY(recv(s, b, 16, 0));
    close(s);
  } else if (mine) {
    /* AF_UNSPEC forgets the connection. */
    meet("sent");
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    TRY(recv(s, b, 16, 0));
    TRY(connect(s, &none, sizeof none));
    say_names("forgotten", s);
    say_events("forgotten", s);
    TRY(send(s, "x", 1, MSG_NOSIGNAL));
  } else {
    meet("sent");
  }
  meet("ended");
  if (!mine) {
    say_events("ended", s);
    broken_pipes = 0;
    if (how == BY_CLOSE) {
      TRY(send(s, "x", 1, 0));
      sleep_ms(50);
      say_events("after sending", s);
      TRY(send(s, "x", 1, 0));
    } else if (how == BY_UNREAD) {
      TRY(recv(s, b, 16, 0));
      TRY(recv(s, b, 16, 0));
      TRY(send(s, "x", 1, 0));
    } else {
      say("error %d", option(s, SOL_SOCKET, SO_ERROR));
      TRY(recv(s, b, 16, 0));
      TRY(send(s, "x", 1, 0));
    }
    say("broken pipes %d", broken_pipes);
    say_names("ended", s);
    close(s);
  } else if (how == BY_FORGETTING) {
    close(s);
  }
}

static void waiting_when_it_ends(int who, bool reset) {
  char b[16];
  int s = joined(AF_INET);
  if (server == who) {
    sleep_ms(100);
    if (reset) {
      struct linger now = {1, 0};
      NEED(setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    }
    close(s);
  } else {
    TRY(recv(s, b, 16, 0));
    close(s);
  }
  meet("woken");
}

static void listener_ends(void) {
  char b;
  int l = -1, s = -1;
  if (server) tell(port_of(l = listens4("0.0.0.0", 0)));
  else s = connects4(hear());
  meet("in the queue");
  if (server) {
    say_events("queue", l);
    close(l);
  }
  meet("listener gone");
  if (!server) {
    TRY(recv(s, &b, 1, 0));
    close(s);
  }
  if (server) {
    l = listens4("0.0.0.0", 0);
    tell(port_of(l));
    TRY(shutdown(l, SHUT_RDWR));
    say_events("shut listener", l);
    TRY(accept(l, NULL, NULL));
    close(l);
    meet("shut");
  } else {
    struct sockaddr_in a = at(other4, hear());
    meet("shut");
    s = NEED(socket(AF_INET, SOCK_STREAM, 0));
    TRY(connect(s, (void *)&a, sizeof a));
    close(s);
  }
}

static void many_wait(void) {
  enum { COUNT = 40 };
  int l = -1, s[COUNT], port = 0, in_order = 0;
  if (server) tell(port_of(l = listens4("0.0.0.0", 0)));
  else port = hear();
  if (!server)
    for (int i = 0; i < COUNT; i++) {
      s[i] = connects4(port);
      NEED(send(s[i], &i, 4, 0));
    }
  meet("all connected");
  if (server)
    for (int i = 0; i < COUNT; i++) {
      int number = -1;
      s[i] = NEED(accept(l, NULL, NULL));
      NEED(recv(s[i], &number, 4, 0));
      in_order += number == i;
    }
  if (server) say("%d of %d in the order of their connecting", in_order, COUNT);
  for (int i = 0; i < COUNT; i++) close(s[i]);
  if (server) close(l);
  meet("closed");
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("IPv4");
  beginnings(AF_INET);
  PART("IPv6");
  beginnings(AF_INET6);
  PART("refusals");
  refusals();
  PART("not waiting");
  not_waiting();
  for (int who = 0; who < 2; who++) {
    PART("half closed");
    half_closed(who);
    PART("shut for reading");
    shut_for_reading(who);
    for (int how = BY_LINGER; how <= BY_FORGETTING; how++) {
      PART("resets");
      say("way %d", how);
      resets(who, how);
    }
    PART("waiting when it ends");
    waiting_when_it_ends(who, false);
    waiting_when_it_ends(who, true);
  }
  PART("the listener ends");
  listener_ends();
  PART("many wait");
  many_wait();
  return 0;
}
