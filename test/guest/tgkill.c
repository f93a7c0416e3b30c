/* tgkill, tkill, pthread_kill: which thread gets a signal, and errors. */
#include "guest.h"

static volatile pid_t got[8];
static volatile int hits;
static pthread_barrier_t barrier;

static void handler(int n) { (void)n; got[hits] = gettid(); hits++; }

struct arg { pid_t tid; bool block; volatile bool done; };

static void *thread(void *p) {
  struct arg *a = p;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(a->block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
  a->tid = gettid();
  pthread_barrier_wait(&barrier);
  while (!a->done) usleep(1000);
  return NULL;
}

static void *leave(void *unused) { (void)unused; _exit(7); }
static void *crash(void *unused) { (void)unused; abort(); }

static void wait_hits(int want) {
  for (int i = 0; i < 2000 && hits < want; i++) sleep_ms(1);
  sleep_ms(10);
}

int main(void) {
  begin();
  pthread_t t[3];
  struct arg a[3] = {{.block = true}, {.block = false}, {.block = true}};
  pthread_barrier_init(&barrier, NULL, 4);
  handle(SIGUSR1, handler, SA_RESTART);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, thread, &a[i]);
  pthread_barrier_wait(&barrier);
  pid_t me = getpid();

  TRY(kill(me, SIGUSR1)); /* only thread 1 has it unblocked */
  wait_hits(1);
  YES(hits == 1 && got[0] == a[1].tid);
  TRY(tgkill(me, a[1].tid, SIGUSR1));
  wait_hits(2);
  YES(hits == 2 && got[1] == a[1].tid);
  TRY(tgkill(me, a[0].tid, SIGUSR1));
  sleep_ms(20);
  YES(hits == 2);
  sigset_t pending;
  sigpending(&pending);
  YES(!sigismember(&pending, SIGUSR1));
  TRY(tgkill(me, a[1].tid, 0));
  TRY(tgkill(me, 999999999, SIGUSR1));
  CHILD("another process's thread", { TRY(tgkill(getpid(), a[1].tid, 0)); TRY(tgkill(getppid(), a[1].tid, 0)); });
  TRY(tgkill(-1, a[1].tid, SIGUSR1));
  TRY(tgkill(me, 0, SIGUSR1));
  TRY(tgkill(me, a[1].tid, 65));
  TRY(syscall(SYS_tkill, a[1].tid, 0));
  TRY(syscall(SYS_tkill, 0, SIGUSR1));
  ERR(pthread_kill(t[1], 0));
  for (int i = 0; i < 3; i++) a[i].done = true;
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  for (int i = 0; i < 200 && tgkill(me, a[1].tid, 0) == 0; i++) sleep_ms(1);
  TRY(tgkill(me, a[1].tid, 0));
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  YES(hits == 2); /* the blocked thread's signal died with it */
  raise(SIGUSR1);
  YES(hits == 3 && got[2] == me);

  say("-- a fatal signal to one thread ends the process");
  CHILD("tgkill(SIGTERM)", {
    struct arg b = {.block = true};
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t[0], NULL, thread, &b);
    pthread_barrier_wait(&barrier);
    tgkill(getpid(), b.tid, SIGTERM);
    for (;;) pause();
  });
  CHILD("a thread's fault", {
    pthread_create(&t[0], NULL, crash, NULL);
    for (;;) pause();
  });
  CHILD("exit from a thread", {
    pthread_create(&t[0], NULL, leave, NULL);
    for (;;) pause();
  });
  CHILD("the leader leaves first", {
    struct arg b = {.block = true};
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t[0], NULL, thread, &b);
    pthread_barrier_wait(&barrier);
    pid_t watcher = fork();
    if (!watcher) {
      pid_t leader = getppid();
      for (int i = 0; i < 2000 && task_state(leader, leader) != 'Z'; i++) sleep_ms(1);
      say("leader's state %c, kill %d", task_state(leader, leader), kill(leader, 0));
      kill(leader, SIGTERM);
      _exit(0);
    }
    syscall(SYS_exit, 0);
  });
  return 0;
}
