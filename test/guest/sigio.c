/* O_ASYNC: signals for readiness, their owner, F_SETSIG's details. */
#include "guest.h"
#include <sys/ioctl.h>

static volatile sig_atomic_t hits, code, fd_seen, band, last;
static void on_info(int s, siginfo_t *i, void *c) {
  (void)c;
  hits++;
  last = s;
  code = i->si_code;
  fd_seen = i->si_fd;
  band = i->si_band;
}
static void settle(void) {
  for (int i = 0; i < 20 && !hits; i++) sleep_ms(2);
}

int main(void) {
  begin();
  handle_info(SIGIO, on_info, 0);
  handle_info(SIGUSR1, on_info, 0);
  handle_info(SIGRTMIN, on_info, 0);
  int s[2];
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  TRY(fcntl(s[0], F_GETOWN));
  TRY(fcntl(s[0], F_SETOWN, getpid()));
  YES(fcntl(s[0], F_GETOWN) == getpid());
  struct f_owner_ex ex;
  TRY(fcntl(s[0], F_GETOWN_EX, &ex));
  YES(ex.type == F_OWNER_PID && ex.pid == getpid());
  TRY(fcntl(s[0], F_SETFL, O_ASYNC | O_NONBLOCK));
  YES((fcntl(s[0], F_GETFL) & (O_ASYNC | O_NONBLOCK)) == (O_ASYNC | O_NONBLOCK));
  write(s[1], "x", 1);
  settle();
  YES(hits >= 1);
  YES(last == SIGIO);
  char c[8];
  read(s[0], c, 8);

  say("-- a pipe, with F_SETSIG");
  int p[2];
  NEED(pipe(p));
  TRY(fcntl(p[0], F_SETSIG, SIGRTMIN));
  YES(fcntl(p[0], F_GETSIG) == SIGRTMIN);
  TRY(fcntl(p[0], F_SETSIG, 200));
  ex = (struct f_owner_ex){F_OWNER_TID, gettid()};
  TRY(fcntl(p[0], F_SETOWN_EX, &ex));
  TRY(fcntl(p[0], F_SETFL, O_ASYNC));
  hits = 0;
  write(p[1], "y", 1);
  settle();
  YES(hits >= 1 && last == SIGRTMIN);
  YES(fd_seen == p[0]);
  YES(code == POLL_IN);
  YES((band & POLLIN) != 0);
  hits = 0;
  read(p[0], c, 1);
  TRY(fcntl(p[0], F_SETFL, 0));
  write(p[1], "z", 1);
  sleep_ms(20);
  say("switched off: hits %d", hits);

  say("-- FIOASYNC, errors");
  int on = 1;
  TRY(ioctl(p[0], FIOASYNC, &on));
  YES((fcntl(p[0], F_GETFL) & O_ASYNC) != 0);
  on = 0;
  TRY(ioctl(p[0], FIOASYNC, &on));
  TRY(ioctl(p[0], FIOASYNC, BAD));
  TRY(fcntl(p[0], F_SETOWN, 1 << 28));
  ex.type = 9;
  TRY(fcntl(p[0], F_SETOWN_EX, &ex));
  TRY(fcntl(p[0], F_SETOWN_EX, BAD));
  TRY(fcntl(p[0], F_SETOWN, 0));
  TRY(fcntl(p[0], F_GETOWN));
  int queued;
  TRY(ioctl(p[0], FIONREAD, &queued));
  say("queued %d", queued);
  on = 1;
  TRY(ioctl(p[0], FIONBIO, &on));
  read(p[0], c, 1);
  TRY(read(p[0], c, 1));
  TRY(ioctl(p[0], FIOCLEX));
  YES(fcntl(p[0], F_GETFD) == 1);
  TRY(ioctl(p[0], FIONCLEX));
  YES(fcntl(p[0], F_GETFD) == 0);
  TRY(ioctl(p[0], TIOCGWINSZ, &on));
  TRY(ioctl(77, FIONREAD, &on));
  return 0;
}
