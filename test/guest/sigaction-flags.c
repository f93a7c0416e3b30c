/* sigaction(2): masks while a handler runs, NODEFER, RESETHAND, NOCLDSTOP, what may not be caught, exec and fork. */
#include "guest.h"

static volatile int depth, deepest, hits;
static sigset_t inside;

static void nest(int n) {
  hits++;
  if (++depth > deepest) deepest = depth;
  if (depth < 3 && hits < 5) raise(n);
  sigprocmask(SIG_BLOCK, NULL, &inside);
  depth--;
}

static void count(int n) { (void)n; hits++; }

static void run(const char *what, int flags, int also) {
  struct sigaction a = {.sa_handler = nest, .sa_flags = flags};
  sigemptyset(&a.sa_mask);
  if (also) sigaddset(&a.sa_mask, also);
  sigaction(SIGUSR1, &a, NULL);
  depth = deepest = hits = 0;
  raise(SIGUSR1);
  say("%s: hits %d depth %d, inside USR1 %d USR2 %d", what, hits, deepest, sigismember(&inside, SIGUSR1), sigismember(&inside, SIGUSR2));
}

/* The parent may see the child's state before its own SIGCHLD. */
static int within(int from, int ms) {
  for (int i = 0; i < ms && hits == from; i++) sleep_ms(1);
  return hits - from;
}

int main(void) {
  begin();
  struct sigaction a = {0}, old;
  run("plain", 0, 0);
  run("nodefer", SA_NODEFER, 0);
  run("mask", 0, SIGUSR2);
  run("nodefer and mask", SA_NODEFER, SIGUSR2);
  run("mask with KILL", 0, SIGKILL);
  YES(!sigismember(&inside, SIGKILL));
  handle(SIGUSR1, count, SA_RESETHAND);
  hits = 0;
  raise(SIGUSR1);
  sigaction(SIGUSR1, NULL, &old);
  YES(hits == 1 && old.sa_handler == SIG_DFL);
  CHILD("resethand twice", { handle(SIGUSR1, count, SA_RESETHAND); raise(SIGUSR1); raise(SIGUSR1); });
  a.sa_handler = count;
  TRY(sigaction(SIGKILL, &a, NULL));
  TRY(sigaction(SIGSTOP, &a, NULL));
  TRY(sigaction(SIGKILL, NULL, &old));
  TRY(sigaction(0, &a, NULL));
  TRY(sigaction(65, &a, NULL));
  TRY(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, 8));
  TRY(syscall(SYS_rt_sigaction, SIGUSR1, NULL, BAD, 8));
  TRY(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16));
  TRY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8));
  TRY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, BAD, 8));
  TRY(syscall(SYS_rt_sigprocmask, 9, &inside, NULL, 8));
  TRY(syscall(SYS_rt_sigprocmask, 9, NULL, NULL, 8));
  TRY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &inside, NULL, 4));
  TRY(syscall(SYS_rt_sigpending, BAD, 8));
  TRY(syscall(SYS_rt_sigsuspend, BAD, 8));
  TRY(syscall(SYS_rt_sigsuspend, &inside, 4));

  say("-- the mask cannot hold KILL and STOP");
  sigset_t set;
  sigfillset(&set);
  sigdelset(&set, SIGALRM);
  sigprocmask(SIG_SETMASK, &set, NULL);
  sigprocmask(SIG_BLOCK, NULL, &set);
  say("KILL %d STOP %d USR1 %d", sigismember(&set, SIGKILL), sigismember(&set, SIGSTOP), sigismember(&set, SIGUSR1));

  say("-- ignoring discards what is pending");
  raise(SIGUSR1);
  signal(SIGUSR1, SIG_IGN);
  sigpending(&set);
  YES(!sigismember(&set, SIGUSR1));
  raise(SIGUSR1);
  sigpending(&set);
  say("ignored while blocked: pending %d", sigismember(&set, SIGUSR1));
  signal(SIGCHLD, SIG_DFL);
  raise(SIGCHLD);
  sigpending(&set);
  say("default-ignored while blocked: pending %d", sigismember(&set, SIGCHLD));
  sigemptyset(&set);
  sigprocmask(SIG_SETMASK, &set, NULL);

  say("-- sigsuspend");
  handle(SIGUSR1, count, 0);
  sigset_t blocked, empty;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigemptyset(&empty);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  hits = 0;
  raise(SIGUSR1);
  YES(hits == 0);
  TRY(sigsuspend(&empty));
  YES(hits == 1);
  sigprocmask(SIG_BLOCK, NULL, &set);
  YES(sigismember(&set, SIGUSR1));

  say("-- SIGCHLD for stops, and without");
  for (int flag = 0; flag < 2; flag++) {
    handle(SIGCHLD, count, SA_RESTART | (flag ? SA_NOCLDSTOP : 0));
    hits = 0;
    pid_t kid = fork();
    if (!kid) for (;;) pause();
    kill(kid, SIGSTOP);
    waitpid(kid, NULL, WUNTRACED);
    int stop = within(0, flag ? 30 : 2000);
    kill(kid, SIGCONT);
    waitpid(kid, NULL, WCONTINUED);
    int cont = within(stop, flag ? 30 : 2000);
    kill(kid, SIGKILL);
    waitpid(kid, NULL, 0);
    say("NOCLDSTOP %d: stop %d continue %d exit %d", flag, stop, cont, within(stop + cont, 2000));
  }

  say("-- default actions");
  static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE,
    SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGURG, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS, 40, 64};
  sigprocmask(SIG_SETMASK, &empty, NULL);
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    pid_t kid = fork();
    if (!kid) { signal(signals[i], SIG_DFL); kill(getpid(), signals[i]); _exit(0); }
    reap(signal_name(signals[i]), kid);
  }
  static const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
  for (int i = 0; i < 4; i++) {
    pid_t kid = fork();
    if (!kid) { setpgid(0, 0); signal(stops[i], SIG_DFL); kill(getpid(), stops[i]); _exit(0); }
    int status;
    waitpid(kid, &status, WUNTRACED);
    say_status(signal_name(stops[i]), status);
    kill(kid, SIGCONT);
    if (WIFSTOPPED(status)) waitpid(kid, &status, 0);
  }
  return 0;
}
