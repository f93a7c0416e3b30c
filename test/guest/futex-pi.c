/* Priority-inheriting mutexes, condition variables, barriers, rwlocks, semaphores: what libc builds on futexes. */
#include "guest.h"
#include <semaphore.h>

static pthread_mutex_t lock;
static pthread_cond_t cond;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static volatile int turn, counter, serial;
static pthread_key_t key;
static volatile int destroyed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init(void) { counter += 1000; }
static void destroy(void *p) { (void)p; __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST); }

static void *pinger(void *who) {
  int me = (int)(intptr_t)who;
  for (int i = 0; i < 200; i++) {
    pthread_mutex_lock(&lock);
    while (turn != me) pthread_cond_wait(&cond, &lock);
    turn = !me;
    counter++;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
  }
  return who;
}

static void *barriers(void *unused) {
  (void)unused;
  pthread_once(&once, init);
  pthread_setspecific(key, (void *)1);
  for (int i = 0; i < 50; i++)
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) __atomic_fetch_add(&serial, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void *adder(void *unused) {
  (void)unused;
  for (int i = 0; i < 2000; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void *forever(void *unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}

int main(void) {
  begin();
  pthread_t t[4];
  void *result;
  pthread_mutex_init(&lock, NULL);
  pthread_cond_init(&cond, NULL);
  for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, pinger, (void *)(intptr_t)i);
  for (int i = 0; i < 2; i++) { pthread_join(t[i], &result); say("joined %d", (int)(intptr_t)result); }
  TRY(counter);
  pthread_key_create(&key, destroy);
  pthread_barrier_init(&barrier, NULL, 4);
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, barriers, NULL);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  say("serial %d, once %d, destroyed %d", serial, counter, destroyed);

  for (int kind = 0; kind < 3; kind++) {
    static const char *names[] = {"normal", "priority inheritance", "recursive"};
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    if (kind == 1) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    if (kind == 2) pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
    counter = 0;
    int made = 0;
    for (int i = 0; i < 4; i++) made += pthread_create(&t[i], NULL, adder, NULL) == 0;
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    say("%s: %d", names[kind], counter);
  }
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_nsec += 20000000;
  if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
  pthread_mutex_init(&lock, NULL);
  pthread_mutex_lock(&lock);
  ERR(pthread_cond_timedwait(&cond, &lock, &at));
  ERR(pthread_mutex_timedlock(&lock, &at));
  ERR(pthread_mutex_trylock(&lock));
  ERR(pthread_rwlock_rdlock(&rw));
  ERR(pthread_rwlock_tryrdlock(&rw));
  ERR(pthread_rwlock_trywrlock(&rw));
  sem_t s;
  sem_init(&s, 0, 1);
  TRY(sem_wait(&s));
  TRY(sem_trywait(&s));
  TRY(sem_timedwait(&s, &at));
  TRY(sem_post(&s));
  TRY(sem_wait(&s));
  char name[64];
  sprintf(name, "/guest-sem-%d", getpid());
  sem_t *n = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
  YES(n != SEM_FAILED);
  pid_t kid = fork();
  if (!kid) { sleep_ms(10); sem_post(n); _exit(0); }
  TRY(sem_wait(n));
  reap("poster", kid);
  TRY(sem_unlink(name));
  pthread_create(&t[0], NULL, forever, NULL);
  ERR(pthread_cancel(t[0]));
  pthread_join(t[0], &result);
  YES(result == PTHREAD_CANCELED);
  pthread_create(&t[0], NULL, forever, NULL);
  ERR(pthread_detach(t[0]));
  char title[16];
  ERR(pthread_setname_np(pthread_self(), "a name"));
  ERR(pthread_getname_np(pthread_self(), title, sizeof title));
  say("%s", title);
  return 0;
}
