/* sched_setaffinity, sched_getaffinity: the mask, inheritance, threads, sysconf, errors. */
#include "guest.h"
#include <sched.h>

static void *thread(void *unused) {
  (void)unused;
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  say("a thread inherits %d", CPU_COUNT(&set));
  return NULL;
}

int main(void) {
  begin();
  cpu_set_t all, set;
  CPU_ZERO(&all);
  TRY(sched_getaffinity(0, sizeof all, &all));
  YES(CPU_COUNT(&all) >= 1);
  YES(CPU_COUNT(&all) == sysconf(_SC_NPROCESSORS_ONLN));
  long n = syscall(SYS_sched_getaffinity, 0, sizeof set, &set);
  YES(n >= 8 && n % 8 == 0);
  int first = 0;
  while (!CPU_ISSET(first, &all)) first++;
  CPU_ZERO(&set);
  CPU_SET(first, &set);
  TRY(sched_setaffinity(0, sizeof set, &set));
  CPU_ZERO(&set);
  TRY(sched_getaffinity(0, sizeof set, &set));
  say("count %d, first %d", CPU_COUNT(&set), CPU_ISSET(first, &set));
  YES(sched_getcpu() == first);
  CHILD("child", { sched_getaffinity(0, sizeof set, &set); say("a child inherits %d", CPU_COUNT(&set)); });
  pthread_t t;
  pthread_create(&t, NULL, thread, NULL);
  pthread_join(t, NULL);
  TRY(sched_setaffinity(0, sizeof all, &all));
  sched_getaffinity(0, sizeof set, &set);
  YES(CPU_EQUAL(&set, &all));
  CPU_ZERO(&set);
  TRY(sched_setaffinity(0, sizeof set, &set));
  TRY(sched_setaffinity(99999999, sizeof all, &all));
  TRY(sched_getaffinity(99999999, sizeof all, &all));
  TRY(syscall(SYS_sched_getaffinity, 0, 8, BAD));
  TRY(syscall(SYS_sched_setaffinity, 0, 8, BAD));
  TRY(syscall(SYS_sched_getaffinity, 0, 3, &set));
  TRY(sched_setaffinity(getpid(), sizeof all, &all));
  return 0;
}
