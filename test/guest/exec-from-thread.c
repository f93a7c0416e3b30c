/* execve from a thread that is not the leader: the others end, the caller becomes the leader and keeps the pid. */
#include "guest.h"

static char *self;

static void *waits(void *unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}

static void *spins(void *unused) {
  (void)unused;
  for (volatile long i = 0;; i++) {}
  return NULL;
}

static void *execs(void *pid) {
  char *argv[] = {self, "second", pid, NULL}, *env[] = {"MARK=kept", NULL};
  signal(SIGUSR1, SIG_IGN);
  handle(SIGUSR2, ignore, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_kill(pthread_self(), SIGTERM);
  execve("/proc/self/exe", argv, env);
  say("exec failed %s", errno_name(errno));
  return NULL;
}

static int threads(void) {
  DIR *d = opendir("/proc/self/task");
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  return n;
}

int main(int argc, char **argv) {
  if (argc == 3) {
    YES(getpid() == atoi(argv[2]));
    YES(gettid() == getpid());
    TRY(threads());
    say("MARK=%s", getenv("MARK"));
    sigset_t set;
    sigpending(&set);
    YES(sigismember(&set, SIGTERM));
    sigprocmask(SIG_BLOCK, NULL, &set);
    YES(sigismember(&set, SIGTERM));
    struct sigaction sa;
    sigaction(SIGUSR1, NULL, &sa);
    YES(sa.sa_handler == SIG_IGN);
    sigaction(SIGUSR2, NULL, &sa);
    YES(sa.sa_handler == SIG_DFL);
    YES(fcntl(50, F_GETFD) == 0);
    YES(fcntl(51, F_GETFD) == -1);
    stack_t ss;
    sigaltstack(NULL, &ss);
    YES(ss.ss_flags == SS_DISABLE);
    _exit(42);
  }
  begin();
  self = argv[0];
  pid_t pid = fork();
  if (!pid) {
    char text[16];
    sprintf(text, "%d", getpid());
    dup2(1, 50);
    dup3(1, 51, O_CLOEXEC);
    char stack[16384];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&ss, NULL);
    pthread_t t[5], e;
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, waits, NULL);
    for (int i = 3; i < 5; i++) pthread_create(&t[i], NULL, spins, NULL);
    pthread_create(&e, NULL, execs, text);
    for (;;) pause();
  }
  reap("exec from a thread", pid);
  pid = fork();
  if (!pid) {
    char text[16];
    sprintf(text, "%d", getpid());
    pthread_t t;
    for (int i = 0; i < 3; i++) pthread_create(&t, NULL, waits, NULL);
    execs(text);
  }
  reap("exec from the leader", pid);
  return 0;
}
