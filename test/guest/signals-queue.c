/* Queued signals: real-time order and values, standard signals collapse, limits, sender information. */
#include "guest.h"
#include <sys/resource.h>

static volatile int n;
static struct { int sig, code, value, pid_ok, uid; } seen[64];

static void record(int sig, siginfo_t *si, void *uc) {
  (void)uc;
  if (n < 64) {
    seen[n].sig = sig, seen[n].code = si->si_code, seen[n].value = si->si_value.sival_int;
    seen[n].pid_ok = si->si_pid == getpid(), seen[n].uid = si->si_uid;
    n++;
  }
}

static const char *code(int c) {
  return c == SI_USER ? "USER" : c == SI_QUEUE ? "QUEUE" : c == SI_TKILL ? "TKILL" : c == SI_KERNEL ? "KERNEL" : c == SI_TIMER ? "TIMER" : "?";
}

static void dump(const char *what) {
  say("%s:", what);
  for (int i = 0; i < n; i++)
    say("  %s %s value %d pid %s uid %d", signal_name(seen[i].sig), code(seen[i].code),
        seen[i].code == SI_QUEUE ? seen[i].value : 0, seen[i].pid_ok ? "ours" : "other", seen[i].uid);
  n = 0;
}

int main(void) {
  begin();
  sigset_t all, none;
  sigfillset(&all);
  sigdelset(&all, SIGALRM);
  sigemptyset(&none);
  for (int s = SIGRTMIN; s <= SIGRTMIN + 5; s++) handle_info(s, record, 0);
  handle_info(SIGUSR1, record, 0);
  handle_info(SIGUSR2, record, 0);
  handle_info(SIGTERM, record, 0);
  pid_t me = getpid();
  sigprocmask(SIG_BLOCK, &all, NULL);
  TRY(sigqueue(me, SIGRTMIN + 3, (union sigval){1}));
  sigqueue(me, SIGRTMIN + 1, (union sigval){2});
  sigqueue(me, SIGRTMIN + 3, (union sigval){3});
  sigqueue(me, SIGRTMIN + 1, (union sigval){4});
  sigqueue(me, SIGUSR2, (union sigval){5});
  sigqueue(me, SIGUSR2, (union sigval){6});
  kill(me, SIGUSR1);
  kill(me, SIGUSR1);
  sigqueue(me, SIGRTMIN + 3, (union sigval){7});
  kill(me, SIGRTMIN + 2);
  kill(me, SIGRTMIN + 2);
  tgkill(me, gettid(), SIGRTMIN + 4);
  sigset_t pending;
  sigpending(&pending);
  char text[200] = "";
  for (int s = 1; s <= SIGRTMIN + 5; s++)
    if (sigismember(&pending, s) == 1) strcat(strcat(text, " "), signal_name(s));
  say("pending%s", text);
  /* Linux delivers the lowest number of those unblocked at once, but each handler starts before the next, so with an
     empty handler mask the last delivered runs first: take them one by one instead. */
  for (int s = 1; s <= SIGRTMIN + 5; s++) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, s);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
  }
  dump("one signal after the other");

  say("-- all at once: handlers with a full mask run in the order of delivery");
  for (int s = SIGRTMIN; s <= SIGRTMIN + 5; s++) {
    struct sigaction a = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
    a.sa_mask = all;
    sigaction(s, &a, NULL);
    sigaction(SIGUSR1, &a, NULL);
  }
  sigprocmask(SIG_BLOCK, &all, NULL);
  for (int i = 0; i < 3; i++)
    for (int s = 5; s >= 0; s -= 2) sigqueue(me, SIGRTMIN + s, (union sigval){i * 10 + s});
  kill(me, SIGUSR1);
  sigprocmask(SIG_SETMASK, &none, NULL);
  dump("delivered");

  say("-- thread-directed before process-directed");
  sigprocmask(SIG_BLOCK, &all, NULL);
  sigqueue(me, SIGRTMIN, (union sigval){1});
  syscall(SYS_rt_tgsigqueueinfo, me, gettid(), SIGRTMIN + 1, &(siginfo_t){.si_code = SI_QUEUE, .si_pid = me, .si_value = {2}});
  sigprocmask(SIG_SETMASK, &none, NULL);
  dump("delivered");

  say("-- limits and errors");
  TRY(sigqueue(me, 0, (union sigval){0}));
  TRY(sigqueue(me, 65, (union sigval){0}));
  TRY(sigqueue(me, -1, (union sigval){0}));
  siginfo_t forged = {.si_code = SI_USER};
  pid_t kid = fork();
  if (!kid) for (;;) pause();
  TRY(syscall(SYS_rt_sigqueueinfo, kid, SIGUSR1, &forged));
  forged.si_code = SI_TKILL;
  TRY(syscall(SYS_rt_sigqueueinfo, kid, SIGUSR1, &forged));
  forged.si_code = SI_QUEUE;
  TRY(syscall(SYS_rt_sigqueueinfo, kid, 0, &forged));
  TRY(syscall(SYS_rt_sigqueueinfo, kid, SIGUSR1, BAD));
  TRY(syscall(SYS_rt_sigqueueinfo, 999999999, SIGUSR1, &forged));
  kill(kid, SIGKILL);
  waitpid(kid, NULL, 0);
  CHILD("RLIMIT_SIGPENDING", {
    uid_t own = 200000 + getpid(); /* a user nobody else runs as: the limit counts per user */
    NEED(setresuid(own, own, own));
    struct rlimit few;
    getrlimit(RLIMIT_SIGPENDING, &few);
    few.rlim_cur = 10;
    NEED(setrlimit(RLIMIT_SIGPENDING, &few));
    sigprocmask(SIG_BLOCK, &all, NULL);
    int ok = 0;
    pid_t self = getpid();
    while (ok < 100 && sigqueue(self, SIGRTMIN, (union sigval){ok}) == 0) ok++;
    say("%d queued, then %s", ok, errno_name(errno));
    TRY(kill(self, SIGUSR1));
    TRY(sigqueue(self, SIGUSR2, (union sigval){0}));
    TRY(kill(self, SIGRTMIN + 1));
    sigpending(&pending);
    say("pending USR1 %d USR2 %d RT1 %d", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2), sigismember(&pending, SIGRTMIN + 1));
  });
  return 0;
}
