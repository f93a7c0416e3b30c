/* signalfd(2): reading signals from a descriptor. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/signalfd.h>

int main(void) {
  begin();
  sigset_t set, usr2;
  struct signalfd_siginfo si[4];
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 2);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int fd = OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  TRY(fcntl(fd, F_GETFD));
  TRY(read(fd, si, sizeof si));
  struct pollfd pf = {fd, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  sigqueue(getpid(), SIGRTMIN + 2, (union sigval){5});
  sigqueue(getpid(), SIGRTMIN + 2, (union sigval){6});
  kill(getpid(), SIGUSR1);
  TRY(poll(&pf, 1, 0));
  TRY(pf.revents);
  TRY(read(fd, si, 10));
  YES(sizeof *si == 128);
  TRY(read(fd, si, sizeof *si + 5));
  YES(si->ssi_signo == SIGUSR1 && (pid_t)si->ssi_pid == getpid() && si->ssi_code == SI_USER);
  TRY(read(fd, si, sizeof si));
  say("values %d %d", si[0].ssi_int, si[1].ssi_int);
  TRY(read(fd, si, sizeof si));
  TRY(write(fd, si, sizeof si));

  say("-- the mask can change");
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  sigprocmask(SIG_BLOCK, &usr2, NULL);
  kill(getpid(), SIGUSR2);
  TRY(read(fd, si, sizeof si));
  YES(signalfd(fd, &usr2, 0) == fd);
  TRY(read(fd, si, sizeof si));
  YES(si->ssi_signo == SIGUSR2);
  signalfd(fd, &set, 0);

  say("-- a blocking read, and SIGCHLD");
  fcntl(fd, F_SETFL, 0);
  pid_t me = getpid(), kid = fork();
  if (!kid) { until_blocked(me, me); _exit(9); }
  TRY(read(fd, si, sizeof si));
  YES(si->ssi_signo == SIGCHLD && (pid_t)si->ssi_pid == kid && si->ssi_status == 9 && si->ssi_code == CLD_EXITED);
  waitpid(kid, NULL, 0);

  say("-- the reader's signals, not the maker's");
  fcntl(fd, F_SETFL, O_NONBLOCK);
  kill(getpid(), SIGUSR1);
  CHILD("child", {
    TRY(read(fd, si, sizeof si));
    kill(getpid(), SIGUSR1);
    TRY(read(fd, si, sizeof si));
  });
  TRY(read(fd, si, sizeof si));

  say("-- epoll");
  int ep = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
  while (read(fd, si, sizeof si) > 0) {}
  TRY(epoll_wait(ep, &ev, 1, 0));
  kill(getpid(), SIGUSR1);
  TRY(epoll_wait(ep, &ev, 1, 1000));

  say("-- errors");
  TRY(signalfd(-1, &set, 1));
  TRY(signalfd(77, &set, 0));
  TRY(signalfd(1, &set, 0));
  TRY(syscall(SYS_signalfd4, -1, BAD, 8, 0));
  TRY(syscall(SYS_signalfd4, -1, &set, 7, 0));
  TRY(read(fd, BAD, sizeof si));
  return 0;
}
