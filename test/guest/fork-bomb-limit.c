/* RLIMIT_NPROC: fork and thread creation end with EAGAIN, counted per user; root with the capability is exempt. */
#include "guest.h"
#include <sys/resource.h>

static void *thread(void *unused) {
  (void)unused;
  pause();
  return NULL;
}

int main(void) {
  begin();
  CHILD("processes", {
    struct rlimit few = {20, 20};
    NEED(setrlimit(RLIMIT_NPROC, &few));
    uid_t own = 200000 + getpid(); /* a user nobody else runs as */
    NEED(setresuid(own, own, own));
    int n = 0;
    int e = 0;
    pid_t kids[100];
    while (n < 100) {
      pid_t pid = fork();
      if (pid == 0) { for (;;) pause(); }
      if (pid < 0) { e = errno; break; }
      kids[n++] = pid;
    }
    say("%d children, then %s", n, errno_name(e));
    kill(kids[0], SIGKILL);
    waitpid(kids[0], NULL, 0);
    pid_t one = fork();
    if (one == 0) _exit(0);
    YES(one > 0);
    YES(waitpid(one, NULL, 0) == one);
    for (int i = 1; i < n; i++) kill(kids[i], SIGKILL);
    for (int i = 1; i < n; i++) waitpid(kids[i], NULL, 0);
  });
  CHILD("threads", {
    struct rlimit few = {10, 10};
    NEED(setrlimit(RLIMIT_NPROC, &few));
    uid_t own = 200000 + getpid(); /* a user nobody else runs as */
    NEED(setresuid(own, own, own));
    int n = 0;
    int e = 0;
    pthread_t t;
    while (n < 50 && !(e = pthread_create(&t, NULL, thread, NULL))) n++;
    say("%d threads, then %s", n, errno_name(e));
  });
  CHILD("a bomb of generations", {
    struct rlimit few = {30, 30};
    NEED(setrlimit(RLIMIT_NPROC, &few));
    NEED(setsid());
    uid_t own = 200000 + getpid();
    NEED(setresuid(own, own, own));
    int p[2];
    int gate[2];
    NEED(pipe(p));
    NEED(pipe(gate));
    pid_t first = fork();
    if (first == 0) {
      for (int depth = 0; depth < 7; depth++)
        if (fork() < 0) write(p[1], &errno, sizeof errno);
      close(p[1]);
      close(gate[1]);
      char c;
      read(gate[0], &c, 1); /* all stay until the gate opens: 128 of them would be too many */
      _exit(0);
    }
    close(p[1]);
    int e = 0;
    bool only = true;
    int n = 0;
    if (read(p[0], &e, sizeof e) == sizeof e) only = e == EAGAIN, n++;
    close(gate[1]);
    while (read(p[0], &e, sizeof e) == sizeof e) only = only && e == EAGAIN, n++;
    say("refused some %d, always EAGAIN %d", n > 0, only);
    while (wait(NULL) > 0) {}
  });
  CHILD("root is exempt", {
    struct rlimit few = {1, 1};
    NEED(setrlimit(RLIMIT_NPROC, &few));
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    YES(pid > 0);
    waitpid(pid, NULL, 0);
  });
  return 0;
}
