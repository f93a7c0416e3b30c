/* Orphans go to init or the nearest subreaper; zombies stay until waited for; PR_SET_PDEATHSIG. */
#include "guest.h"
#include <sys/prctl.h>

int main(void) {
  begin();
  int p[2];
  char c;
  NEED(pipe(p));
  pid_t pid = fork();
  if (!pid) _exit(4);
  siginfo_t si;
  waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
  say("a zombie's state %c", task_state(pid, pid));
  TRY(kill(pid, 0));
  TRY(kill(pid, SIGKILL));
  YES(getpgid(pid) == getpgrp());
  char path[64], text[64];
  sprintf(path, "/proc/%d/cmdline", pid);
  int fd = open(path, O_RDONLY);
  TRY(read(fd, text, sizeof text));
  sprintf(path, "/proc/%d/fd", pid);
  reap("zombie", pid);
  TRY(kill(pid, 0));
  sprintf(path, "/proc/%d", pid);
  TRY(access(path, F_OK));

  say("-- subreaper");
  TRY(prctl(PR_SET_CHILD_SUBREAPER, 1));
  int v = 0;
  TRY(prctl(PR_GET_CHILD_SUBREAPER, &v));
  TRY(v);
  pid = fork();
  if (!pid) {
    pid_t grand = fork();
    if (!grand) {
      pid_t old = getppid();
      write(p[1], "r", 1);
      while (getppid() == old) sleep_ms(1);
      write(p[1], "o", 1);
      _exit(8);
    }
    char x;
    read(p[0], &x, 1);
    _exit(1);
  }
  reap("father", pid);
  read(p[0], &c, 1);
  YES(c == 'o');
  int status;
  YES(wait(&status) > 0);
  say_status("grandchild came to us", status);
  TRY(wait(&status));
  TRY(prctl(PR_SET_CHILD_SUBREAPER, 0));

  say("-- death signal");
  TRY(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid = fork();
  if (!pid) {
    pid_t grand = fork();
    if (!grand) {
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      int sig = 0;
      prctl(PR_GET_PDEATHSIG, &sig);
      say("PDEATHSIG %s", signal_name(sig));
      write(p[1], "r", 1);
      for (;;) pause();
    }
    char x;
    read(p[0], &x, 1);
    _exit(1);
  }
  reap("father", pid);
  wait(&status);
  say_status("grandchild", status);

  say("-- many zombies at once");
  for (int i = 0; i < 50; i++)
    if (!fork()) _exit(i);
  int sum = 0, n = 0;
  while (wait(&status) > 0) sum += WEXITSTATUS(status), n++;
  say("%d reaped, sum %d", n, sum);
  return 0;
}
