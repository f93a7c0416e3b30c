/* fork in a program with threads: only the caller goes on in the child; memory is a copy, locks keep their state. */
#include "guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static volatile int counter, stop, before, parent, child;
static __thread int mine = 5;

static void *spin(void *unused) {
  (void)unused;
  while (!stop) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
    usleep(100);
  }
  return NULL;
}

static int threads(void) {
  DIR *d = opendir("/proc/self/task");
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static void on_prepare(void) { before++; pthread_mutex_lock(&lock); }
static void on_parent(void) { parent++; pthread_mutex_unlock(&lock); }
static void on_child(void) { child++; pthread_mutex_unlock(&lock); }

static void *forker(void *unused) {
  (void)unused;
  mine = 7;
  pid_t tid = gettid();
  CHILD("forked from a thread", {
    YES(getpid() == gettid());
    YES(gettid() != tid);
    TRY(threads());
    TRY(mine);
    int seen = counter;
    sleep_ms(20);
    YES(counter == seen);
    TRY(pthread_mutex_trylock(&held));
    pthread_t t;
    stop = 1;
    TRY(pthread_create(&t, NULL, spin, NULL));
    TRY(pthread_join(t, NULL));
  });
  return NULL;
}

int main(void) {
  begin();
  pthread_t t[4], f;
  pthread_atfork(on_prepare, on_parent, on_child);
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, spin, NULL);
  pthread_mutex_lock(&held);
  TRY(threads());
  CHILD("forked from main", {
    TRY(threads());
    YES(getpid() == gettid());
    say("prepare %d parent %d child %d", before, parent, child);
    int seen = counter;
    sleep_ms(20);
    YES(counter == seen);
    TRY(pthread_mutex_lock(&lock));
  });
  say("prepare %d parent %d child %d", before, parent, child);
  pthread_create(&f, NULL, forker, NULL);
  pthread_join(f, NULL);
  int good = 0;
  for (int i = 0; i < 30; i++) {
    pid_t pid = fork();
    if (!pid) _exit(threads() == 1 ? 0 : 1);
    int status;
    good += waitpid(pid, &status, 0) == pid && status == 0;
  }
  say("%d of 30 children saw one thread", good);
  int seen = counter;
  sleep_ms(50);
  YES(counter > seen);
  stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  /* join returns when the kernel has cleared the thread's id; its entry goes a moment later */
  for (int i = 0; i < 100 && threads() > 1; i++) sleep_ms(1);
  TRY(threads());
  return 0;
}
