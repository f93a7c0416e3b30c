/* sigwaitinfo, sigtimedwait, sigwait: taking pending signals, waiting, time-outs, other signals meanwhile. */
#include "guest.h"

static volatile int hits;
static void on_signal(int n) { (void)n; hits++; }

int main(void) {
  begin();
  sigset_t set, other;
  siginfo_t si;
  struct timespec none = {0, 0}, some = {0, 30000000}, bad = {0, 1000000000}, longer = {5, 0};
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 1);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  TRY(sigtimedwait(&set, &si, &none));
  int64_t t = now_ns();
  TRY(sigtimedwait(&set, &si, &some));
  YES(now_ns() - t >= 30000000);
  TRY(sigtimedwait(&set, &si, &bad));
  sigqueue(getpid(), SIGRTMIN + 1, (union sigval){11});
  sigqueue(getpid(), SIGRTMIN + 1, (union sigval){12});
  kill(getpid(), SIGUSR1);
  YES(sigtimedwait(&set, &si, &none) == SIGUSR1);
  YES(si.si_code == SI_USER && si.si_pid == getpid());
  YES(sigwaitinfo(&set, &si) == SIGRTMIN + 1);
  TRY(si.si_value.sival_int);
  YES(sigwaitinfo(&set, NULL) == SIGRTMIN + 1);
  TRY(sigtimedwait(&set, &si, &none));
  int got;
  kill(getpid(), SIGUSR1);
  ERR(sigwait(&set, &got));
  say("%s", signal_name(got));

  say("-- waiting for it");
  int p[2];
  NEED(pipe(p));
  pid_t parent = getpid(), kid = fork();
  if (!kid) {
    until_blocked(parent, parent);
    sigqueue(parent, SIGRTMIN + 1, (union sigval){77});
    read(p[0], &si, 1);
    _exit(3);
  }
  YES(sigtimedwait(&set, &si, &longer) == SIGRTMIN + 1);
  YES(si.si_pid == kid && si.si_value.sival_int == 77);
  write(p[1], "x", 1);
  YES(sigtimedwait(&set, &si, &longer) == SIGCHLD);
  say("status %d code %d", si.si_status, si.si_code);
  waitpid(kid, NULL, 0);

  say("-- a signal outside the set with a handler ends the wait");
  handle(SIGUSR2, on_signal, SA_RESTART);
  kid = fork();
  if (!kid) {
    until_blocked(parent, parent);
    kill(parent, SIGUSR2);
    _exit(0);
  }
  sigdelset(&set, SIGCHLD);
  TRY(sigtimedwait(&set, &si, &longer));
  TRY(hits);
  waitpid(kid, NULL, 0);

  say("-- an ignored or unblocked one does not");
  signal(SIGUSR2, SIG_IGN);
  kid = fork();
  if (!kid) {
    until_blocked(parent, parent);
    kill(parent, SIGUSR2);
    sleep_ms(20);
    kill(parent, SIGUSR1);
    _exit(0);
  }
  TRY(sigtimedwait(&set, &si, &longer));
  waitpid(kid, NULL, 0);
  sigemptyset(&other);
  sigaddset(&other, SIGUSR1);
  handle(SIGUSR1, on_signal, 0);
  hits = 0;
  sigprocmask(SIG_UNBLOCK, &other, NULL);
  raise(SIGUSR1);
  TRY(hits);
  TRY(syscall(SYS_rt_sigtimedwait, BAD, &si, &none, 8));
  TRY(syscall(SYS_rt_sigtimedwait, &set, &si, BAD, 8));
  TRY(syscall(SYS_rt_sigtimedwait, &set, &si, &none, 4));
  sigprocmask(SIG_BLOCK, &other, NULL);
  raise(SIGUSR1);
  TRY(syscall(SYS_rt_sigtimedwait, &set, BAD, &none, 8));
  TRY(sigtimedwait(&set, &si, &none)); /* it was taken, and lost */
  return 0;
}
