/* setsid, setpgid, getpgid, getsid: the rules between parent, child, exec and session. */
#include "guest.h"

int main(int argc, char **argv) {
  if (argc > 1) { /* exec'ed child: report and wait to be told to go */
    char c;
    write(atoi(argv[1]), "x", 1);
    read(atoi(argv[2]), &c, 1);
    _exit(0);
  }
  begin();
  CHILD("new session", {
    pid_t me = getpid();
    YES(getpgrp() == getpgid(getppid()));
    YES(getsid(0) == getsid(getppid()));
    YES(setsid() == me);
    YES(getpgrp() == me && getsid(0) == me);
    TRY(setsid());
    TRY(setpgid(0, 0));
    TRY(setpgid(0, getppid()));
    TRY(open("/dev/tty", O_RDWR));
    CHILD("its child", {
      YES(getpgrp() == getppid());
      YES(getsid(0) == getppid());
      TRY(setpgid(0, 0));
      YES(getpgrp() == getpid());
      YES(setsid() == -1 && errno == EPERM);
      TRY(setpgid(0, getppid()));
      YES(getpgrp() == getppid());
      TRY(setpgid(0, 999999));
      TRY(setpgid(0, -1));
      TRY(setpgid(-1, 0));
      TRY(setpgid(999999, 0));
      TRY(setpgid(getppid(), 0));
      YES(setsid() == getpid());
    });
    int to[2];
    int from[2];
    NEED(pipe(to));
    NEED(pipe(from));
    pid_t kid = fork();
    if (!kid) {
      char a[8];
      char b[8];
      sprintf(a, "%d", from[1]);
      sprintf(b, "%d", to[0]);
      execl("/proc/self/exe", "self", a, b, NULL);
      _exit(9);
    }
    char c;
    read(from[0], &c, 1);
    TRY(setpgid(kid, kid)); /* it has exec'ed: too late */
    write(to[1], "x", 1);
    reap("exec'ed", kid);
    kid = fork();
    if (!kid) for (;;) pause();
    TRY(setpgid(kid, kid));
    YES(getpgid(kid) == kid);
    YES(getsid(kid) == me);
    pid_t other = fork();
    if (!other) { setsid(); write(from[1], "x", 1); for (;;) pause(); }
    read(from[0], &c, 1);
    TRY(setpgid(other, kid));
    TRY(setpgid(0, other));
    kill(other, SIGKILL);
    reap("other session", other);
    TRY(kill(-kid, SIGTERM));
    reap("group", kid);
    TRY(kill(-kid, SIGTERM));
    TRY(getpgid(999999));
    TRY(getsid(999999));
    TRY(getpgid(-1));
    TRY(kill(0, 0));
    TRY(kill(-999999, 0));
    TRY(kill(999999, 0));
    TRY(kill(getpid(), 65));
    TRY(kill(getpid(), -1));
  });
  return 0;
}
