/* Threads alive at once, all of them working on one lock and one condition. Argument: how many. */
#include "../guest/guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_here = PTHREAD_COND_INITIALIZER;
static int here, n, total;

static void *thread(void *unused) {
  (void)unused;
  pthread_mutex_lock(&lock);
  if (++here == n) pthread_cond_broadcast(&all_here);
  while (here < n) pthread_cond_wait(&all_here, &lock);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < 20; i++) {
    pthread_mutex_lock(&lock);
    total++;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

int main(int argc, char **argv) {
  begin_for(60);
  n = argc > 1 ? atoi(argv[1]) : 500;
  pthread_t *t = calloc(n, sizeof *t);
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 64 << 10);
  for (int i = 0; i < n; i++) {
    int e = pthread_create(&t[i], &a, thread, NULL);
    if (e) { say("thread %d: %s", i, errno_name(e)); _exit(1); }
  }
  for (int i = 0; i < n; i++) pthread_join(t[i], NULL);
  say("here %d, total %d", here, total);
  return 0;
}
