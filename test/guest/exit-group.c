/* exit and exit_group: which ends what, status bits, atexit, threads blocked in calls, the leader last. */
#include "guest.h"

static int p[2];

static void *blocked(void *what) {
  char c;
  struct timespec t = {100, 0};
  switch ((int)(intptr_t)what) {
    case 0: read(p[0], &c, 1); break;
    case 1: nanosleep(&t, NULL); break;
    case 2: for (volatile long i = 0;; i++) {}
    case 3: poll(NULL, 0, -1); break;
    case 4: waitpid(-1, NULL, 0); break;
  }
  return NULL;
}

static void *last(void *unused) {
  (void)unused;
  sleep_ms(250); /* far longer than "two exit at once" takes, also on a busy machine */
  say("the last thread goes");
  syscall(SYS_exit, 9);
  return NULL;
}

static volatile int waiting, go;
static void *quits(void *unused) {
  __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
  while (!go) {}
  _exit(6);
  return unused;
}

static void at_exit(void) { say("atexit ran"); }

int main(void) {
  begin();
  NEED(pipe(p));
  pthread_t t;
  static const int codes[] = {0, 1, 127, 128, 255, 256, 511, -1};
  for (int i = 0; i < 8; i++) CHILD("code", { _exit(codes[i]); });
  CHILD("exit_group ends blocked and spinning threads", {
    for (int i = 0; i < 4; i++) pthread_create(&t, NULL, blocked, (void *)(intptr_t)i);
    sleep_ms(20);
    _exit(3);
  });
  CHILD("so does a signal", {
    for (int i = 0; i < 4; i++) pthread_create(&t, NULL, blocked, (void *)(intptr_t)i);
    sleep_ms(20);
    raise(SIGKILL);
  });
  CHILD("the leader leaves, the status is the last thread's", {
    pthread_create(&t, NULL, last, NULL);
    syscall(SYS_exit, 5);
  });
  CHILD("atexit", { atexit(at_exit); exit(4); });
  CHILD("pthread_exit from main", { pthread_create(&t, NULL, last, NULL); pthread_exit(NULL); });
  CHILD("two exit at once", {
    for (int i = 0; i < 3; i++) pthread_create(&t, NULL, quits, NULL);
    while (waiting < 3) sched_yield();
    go = 1;
    _exit(6);
  });
  CHILD("everything is let go", {
    int q[2];
    NEED(pipe(q));
    pid_t kid = fork();
    if (!kid) { close(q[0]); pthread_create(&t, NULL, blocked, (void *)1); sleep_ms(10); _exit(0); }
    close(q[1]);
    char c;
    TRY(read(q[0], &c, 1));
    reap("inner", kid);
  });
  return 0;
}
