/* pidfd_open, pidfd_send_signal, pidfd_getfd, waitid(P_PIDFD), poll. */
#include "guest.h"

static int pidfd_open_(pid_t pid, unsigned flags) { return syscall(SYS_pidfd_open, pid, flags); }
static int pidfd_kill(int fd, int sig) { return syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0); }

int main(void) {
  begin();
  pid_t kid = fork();
  if (!kid) for (;;) pause();
  int fd = OK(pidfd_open_(kid, 0));
  TRY(fcntl(fd, F_GETFD));
  struct pollfd pf = {fd, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  TRY(pidfd_kill(fd, 0));
  TRY(pidfd_kill(fd, 65));
  siginfo_t si;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  TRY(waitid(P_PIDFD, fd, &si, WEXITED));
  fcntl(fd, F_SETFL, 0);
  memset(&si, 0, sizeof si);
  TRY(waitid(P_PIDFD, fd, &si, WEXITED | WNOHANG));
  TRY(si.si_pid);
  TRY(pidfd_kill(fd, SIGTERM));
  TRY(poll(&pf, 1, 2000));
  TRY(pf.revents);
  TRY(waitid(P_PIDFD, fd, &si, WEXITED));
  say("%s status %d", si.si_code == CLD_KILLED ? "killed" : "?", si.si_status);
  TRY(pidfd_kill(fd, SIGTERM));
  TRY(waitid(P_PIDFD, fd, &si, WEXITED));
  TRY(pidfd_open_(kid, 0));
  TRY(pidfd_open_(-1, 0));
  TRY(pidfd_open_(0, 0));
  TRY(pidfd_open_(getpid(), 1));
  OK(pidfd_open_(getpid(), O_NONBLOCK));
  TRY(pidfd_kill(1, 0));
  TRY(pidfd_kill(77, 0));
  TRY(waitid(P_PIDFD, 1, &si, WEXITED));

  say("-- taking a descriptor");
  put_file("f", "0123456789", 0600);
  int p[2];
  char c;
  NEED(pipe(p));
  kid = fork();
  if (!kid) {
    int own = open("f", O_RDONLY);
    dup2(own, 60);
    lseek(own, 4, SEEK_SET);
    write(p[1], "r", 1);
    for (;;) pause();
  }
  read(p[0], &c, 1);
  fd = NEED(pidfd_open_(kid, 0));
  int taken = OK(syscall(SYS_pidfd_getfd, fd, 60, 0));
  TRY(fcntl(taken, F_GETFD));
  TRY(lseek(taken, 0, SEEK_CUR));
  TRY(syscall(SYS_pidfd_getfd, fd, 99, 0));
  TRY(syscall(SYS_pidfd_getfd, fd, 60, 1));
  pidfd_kill(fd, SIGKILL);
  reap("victim", kid);
  TRY(syscall(SYS_pidfd_getfd, fd, 60, 0));
  return 0;
}
