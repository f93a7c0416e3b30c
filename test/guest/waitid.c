/* wait4, waitpid, waitid: what each state change reports, options, groups, WNOWAIT, errors, rusage. */
#include "guest.h"
#include <sys/resource.h>

static void show(const char *label, siginfo_t *si, pid_t expect) {
  const char *code = si->si_code == CLD_EXITED ? "EXITED" : si->si_code == CLD_KILLED ? "KILLED" : si->si_code == CLD_DUMPED ? "DUMPED"
    : si->si_code == CLD_STOPPED ? "STOPPED" : si->si_code == CLD_CONTINUED ? "CONTINUED" : "?";
  say("%s: %s code %s status %d pid %s uid %d", label, signal_name(si->si_signo), code, si->si_status,
      si->si_pid == expect ? "right" : "wrong", si->si_uid);
}

static pid_t sleeper(void) {
  pid_t pid = fork();
  if (!pid) for (;;) pause();
  return pid;
}

int main(void) {
  begin();
  siginfo_t si;
  int status;
  TRY(waitpid(-1, &status, 0));
  TRY(waitpid(-1, &status, WNOHANG));
  TRY(waitid(P_ALL, 0, &si, WEXITED));
  pid_t pid = fork();
  if (!pid) _exit(300);
  memset(&si, 0, sizeof si);
  TRY(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  show("looked", &si, pid);
  YES(waitpid(-1, &status, 0) == pid);
  say_status("status", status);
  TRY(waitpid(pid, &status, 0));

  pid = sleeper();
  TRY(waitpid(pid, &status, WNOHANG));
  memset(&si, 7, sizeof si);
  TRY(waitid(P_PID, pid, &si, WEXITED | WNOHANG));
  TRY(si.si_pid);
  TRY(si.si_signo);
  kill(pid, SIGSTOP);
  TRY(waitid(P_PID, pid, &si, WSTOPPED));
  show("stopped", &si, pid);
  TRY(waitid(P_PID, pid, &si, WSTOPPED | WNOHANG));
  TRY(si.si_pid);
  kill(pid, SIGCONT);
  TRY(waitid(P_PID, pid, &si, WCONTINUED));
  show("continued", &si, pid);
  kill(pid, SIGSTOP);
  YES(waitpid(pid, &status, WUNTRACED) == pid);
  say_status("untraced", status);
  kill(pid, SIGCONT);
  YES(waitpid(pid, &status, WCONTINUED) == pid);
  say_status("continued", status);
  kill(pid, SIGTERM);
  TRY(waitid(P_PID, pid, &si, WEXITED));
  show("killed", &si, pid);
  pid = sleeper();
  kill(pid, SIGSTOP);
  waitpid(pid, &status, WUNTRACED);
  kill(pid, SIGKILL);
  YES(waitpid(pid, &status, 0) == pid);
  say_status("killed while stopped", status);

  say("-- groups and classes");
  pid_t a = sleeper(), b = sleeper();
  setpgid(a, a);
  setpgid(b, a);
  TRY(waitpid(0, &status, WNOHANG));
  TRY(waitpid(-a, &status, WNOHANG));
  kill(-a, SIGKILL);
  pid_t first = waitpid(-a, &status, 0), second = waitid(P_PGID, a, &si, WEXITED) ? -1 : si.si_pid;
  YES((first == a && second == b) || (first == b && second == a));
  TRY(waitpid(-a, &status, 0));
  TRY(waitpid(INT_MIN, &status, 0));
  TRY(waitid(P_PID, 0, &si, WEXITED));
  TRY(waitid(P_PID, getpid(), &si, 0));
  TRY(waitid(P_PID, getpid(), &si, 0x8));
  TRY(waitid(99, 0, &si, WEXITED));
  TRY(waitid(P_PID, -5, &si, WEXITED));
  TRY(waitpid(-1, &status, 0x100));

  say("-- pointers");
  pid = fork();
  if (!pid) _exit(5);
  TRY(waitid(P_PID, pid, NULL, WEXITED | WNOWAIT));
  TRY(waitid(P_PID, pid, BAD, WEXITED | WNOWAIT));
  TRY(syscall(SYS_wait4, pid, BAD, 0, NULL));
  TRY(waitpid(pid, &status, 0));
  pid = fork();
  if (!pid) _exit(6);
  YES(waitpid(pid, NULL, 0) == pid);

  say("-- rusage");
  struct rusage ru;
  pid = fork();
  if (!pid) {
    memset(malloc(16 << 20), 1, 16 << 20);
    for (int64_t end = now_ns() + 30000000; now_ns() < end;) {}
    _exit(0);
  }
  memset(&ru, 0, sizeof ru);
  YES(wait4(pid, &status, 0, &ru) == pid);
  YES(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec > 5000);
  YES(ru.ru_maxrss > 8192);
  TRY(getrusage(RUSAGE_CHILDREN, &ru));
  YES(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec > 5000);
  TRY(getrusage(RUSAGE_SELF, &ru));
  TRY(getrusage(77, &ru));
  TRY(getrusage(RUSAGE_SELF, BAD));

  say("-- SIGCHLD ignored: no zombies");
  signal(SIGCHLD, SIG_IGN);
  pid = fork();
  if (!pid) _exit(9);
  TRY(waitpid(pid, &status, 0));
  struct sigaction sa = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
  sigaction(SIGCHLD, &sa, NULL);
  pid = fork();
  if (!pid) _exit(9);
  TRY(waitpid(-1, &status, 0));
  signal(SIGCHLD, SIG_DFL);
  CHILD("abort", {
    signal(SIGABRT, SIG_DFL);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    abort();
  });
  return 0;
}
