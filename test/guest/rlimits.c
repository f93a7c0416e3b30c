/* getrlimit, setrlimit, prlimit: soft and hard, raising and lowering, inheritance, other processes, errors. */
#include "guest.h"
#include <sys/resource.h>

static void show(int what, const char *name) {
  struct rlimit r;
  if (getrlimit(what, &r)) { say("%s: %s", name, errno_name(errno)); return; }
  char soft[32], hard[32];
  sprintf(soft, "%lu", (unsigned long)r.rlim_cur);
  sprintf(hard, "%lu", (unsigned long)r.rlim_max);
  say("%s: %s %s", name, r.rlim_cur == RLIM_INFINITY ? "unlimited" : soft, r.rlim_max == RLIM_INFINITY ? "unlimited" : hard);
}

static long set(int what, rlim_t soft, rlim_t hard) { return setrlimit(what, &(struct rlimit){soft, hard}); }

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    show(RLIMIT_NOFILE, "after exec");
    _exit(0);
  }
  begin();
  static const struct { int n; const char *name; } all[] = {{RLIMIT_CPU, "CPU"}, {RLIMIT_FSIZE, "FSIZE"}, {RLIMIT_DATA, "DATA"}, {RLIMIT_AS, "AS"}, {RLIMIT_LOCKS, "LOCKS"}, {RLIMIT_RTTIME, "RTTIME"}};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) show(all[i].n, all[i].name);
  TRY(set(RLIMIT_NOFILE, 100, 200));
  show(RLIMIT_NOFILE, "NOFILE");
  TRY(set(RLIMIT_NOFILE, 201, 200));
  TRY(set(RLIMIT_NOFILE, 200, 200));
  TRY(set(RLIMIT_NOFILE, 150, 190));
  show(RLIMIT_NOFILE, "NOFILE");
  CHILD("inherited", {
    show(RLIMIT_NOFILE, "child");
    execl("/proc/self/exe", "self", "x", NULL);
  });
  CHILD("nobody", {
    NEED(setresuid(65534, 65534, 65534));
    TRY(set(RLIMIT_NOFILE, 190, 190));
    TRY(set(RLIMIT_NOFILE, 190, 191));
    TRY(set(RLIMIT_NOFILE, 10, 20));
    TRY(set(RLIMIT_NOFILE, 10, 21));
    struct rlimit r;
    TRY(prlimit(getppid(), RLIMIT_NOFILE, NULL, &r));
  });
  say("-- prlimit");
  struct rlimit old, new = {120, 180};
  pid_t kid = fork();
  if (!kid) for (;;) pause();
  TRY(prlimit(kid, RLIMIT_NOFILE, &new, &old));
  say("was %lu %lu", (unsigned long)old.rlim_cur, (unsigned long)old.rlim_max);
  TRY(prlimit(kid, RLIMIT_NOFILE, NULL, &old));
  say("is %lu %lu", (unsigned long)old.rlim_cur, (unsigned long)old.rlim_max);
  show(RLIMIT_NOFILE, "ours");
  kill(kid, SIGKILL);
  waitpid(kid, NULL, 0);
  TRY(prlimit(kid, RLIMIT_NOFILE, NULL, &old));
  TRY(prlimit(0, RLIMIT_NOFILE, NULL, NULL));
  TRY(prlimit(-1, RLIMIT_NOFILE, NULL, &old));
  say("-- errors");
  TRY(getrlimit(99, &old));
  TRY(set(99, 1, 1));
  TRY(syscall(SYS_getrlimit, RLIMIT_CPU, BAD));
  TRY(syscall(SYS_setrlimit, RLIMIT_CPU, BAD));
  TRY(syscall(SYS_prlimit64, 0, RLIMIT_CPU, BAD, NULL));
  TRY(set(RLIMIT_CORE, 0, 0));
  show(RLIMIT_CORE, "CORE");
  TRY(set(RLIMIT_STACK, 1 << 20, 2 << 20));
  show(RLIMIT_STACK, "STACK");
  say("-- priorities");
  TRY(getpriority(PRIO_PROCESS, 0));
  TRY(nice(5));
  TRY(getpriority(PRIO_PROCESS, 0));
  CHILD("nice is inherited", { TRY(getpriority(PRIO_PROCESS, 0)); });
  TRY(setpriority(PRIO_PROCESS, 0, 30));
  TRY(getpriority(PRIO_PROCESS, 0));
  TRY(getpriority(99, 0));
  TRY(getpriority(PRIO_PROCESS, 99999999));
  TRY(setpriority(PRIO_PROCESS, getpid(), 10));
  CHILD("nobody", { setresuid(65534, 65534, 65534); TRY(setpriority(PRIO_PROCESS, 0, 5)); TRY(setpriority(PRIO_PROCESS, 0, 15)); });
  return 0;
}
