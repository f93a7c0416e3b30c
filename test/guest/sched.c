/* sched_*: policies, parameters, yield, priorities' ranges, affinity of other tasks, errors. */
#include "guest.h"
#include <sched.h>

int main(void) {
  begin();
  struct sched_param p = {0};
  TRY(sched_yield());
  TRY(sched_getscheduler(0));
  TRY(sched_getparam(0, &p));
  TRY(p.sched_priority);
  TRY(sched_get_priority_max(SCHED_FIFO));
  TRY(sched_get_priority_min(SCHED_FIFO));
  TRY(sched_get_priority_max(SCHED_OTHER));
  TRY(sched_get_priority_min(SCHED_RR));
  TRY(sched_get_priority_max(99));
  struct timespec t;
  TRY(sched_rr_get_interval(0, &t) == 0 ? 0 : -1);
  TRY(sched_setscheduler(0, SCHED_BATCH, &p));
  TRY(sched_getscheduler(0));
  CHILD("inherited", { TRY(sched_getscheduler(0)); });
  TRY(sched_setscheduler(0, SCHED_IDLE, &p));
  TRY(sched_setscheduler(0, SCHED_OTHER, &p));
  TRY(sched_setparam(0, &p));
  p.sched_priority = 5;
  TRY(sched_setscheduler(0, SCHED_OTHER, &p));
  TRY(sched_setparam(0, &p));
  TRY(sched_setscheduler(0, 99, &p));
  TRY(sched_setscheduler(-1, SCHED_OTHER, &p));
  TRY(sched_getscheduler(99999999));
  TRY(syscall(SYS_sched_getparam, 0, BAD));
  TRY(syscall(SYS_sched_setparam, 0, BAD));
  TRY(sched_getscheduler(getppid()));
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    p.sched_priority = 1;
    TRY(sched_setscheduler(0, SCHED_FIFO, &p));
    p.sched_priority = 0;
    TRY(sched_setscheduler(0, SCHED_BATCH, &p));
    TRY(sched_setscheduler(getppid(), SCHED_OTHER, &p));
  });
  unsigned cpu = 999, node = 999;
  TRY(syscall(SYS_getcpu, &cpu, &node, NULL));
  YES(cpu < 4096 && node < 64);
  TRY(syscall(SYS_getcpu, BAD, NULL, NULL));
  TRY(syscall(SYS_getcpu, NULL, NULL, NULL));
  return 0;
}
