// build: dynamic
/* The vDSO: present, with its symbols, and fast clocks through the dynamic linker; getcpu. */
#include "vdso.h"
#include <sched.h>

int main(void) {
  begin();
  int (*gettime)(clockid_t, struct timespec *) = symbol("__vdso_clock_gettime");
  int (*today)(struct timeval *, void *) = symbol("__vdso_gettimeofday");
  time_t (*seconds)(time_t *) = symbol("__vdso_time");
  int (*res)(clockid_t, struct timespec *) = symbol("__vdso_clock_getres");
  long (*cpu)(unsigned *, unsigned *, void *) = symbol("__vdso_getcpu");
  YES(gettime && today && seconds && res && cpu);
  struct timespec a, b, c;
  for (int i = 0; i < 2; i++) {
    clockid_t id = i ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    syscall(SYS_clock_gettime, id, &a);
    TRY(gettime(id, &b));
    syscall(SYS_clock_gettime, id, &c);
    YES((a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec <= b.tv_nsec)) && (b.tv_sec < c.tv_sec || (b.tv_sec == c.tv_sec && b.tv_nsec <= c.tv_nsec)));
  }
  struct timeval tv;
  TRY(today(&tv, NULL));
  YES(labs(seconds(NULL) - tv.tv_sec) <= 1);
  TRY(res(CLOCK_MONOTONIC, &a));
  TRY(a.tv_nsec);
  TRY(gettime(99, &a));
  TRY(gettime(CLOCK_THREAD_CPUTIME_ID, &a));
  unsigned n = 999, node = 999;
  TRY(cpu(&n, &node, NULL));
  YES(n < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
  YES(sched_getcpu() >= 0);
  CHILD("after fork", {
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
    gettime(CLOCK_MONOTONIC, &b);
    YES(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
  });
  int back = 0;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int i = 0; i < 1000000; i++) {
    clock_gettime(CLOCK_MONOTONIC, &b);
    back += b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec);
    a = b;
  }
  TRY(back);
  return 0;
}
