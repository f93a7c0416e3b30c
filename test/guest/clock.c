/* clock_gettime, clock_getres, gettimeofday, time, times: monotonic, agreeing with one another, errors. */
#include "guest.h"
#include <sys/times.h>
#include <sys/timex.h>

static int64_t ns(clockid_t c) {
  struct timespec t = {0};
  if (syscall(SYS_clock_gettime, c, &t)) return -1;
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void *burn(void *out) {
  int64_t begun = ns(CLOCK_THREAD_CPUTIME_ID);
  while (ns(CLOCK_THREAD_CPUTIME_ID) - begun < 20000000) {}
  *(int64_t *)out = ns(CLOCK_THREAD_CPUTIME_ID);
  return NULL;
}

int main(void) {
  begin();
  struct timespec t;
  static const struct { clockid_t id; const char *name; } clocks[] = {{CLOCK_REALTIME, "REALTIME"}, {CLOCK_MONOTONIC, "MONOTONIC"},
    {CLOCK_PROCESS_CPUTIME_ID, "PROCESS_CPUTIME"}, {CLOCK_THREAD_CPUTIME_ID, "THREAD_CPUTIME"}, {CLOCK_MONOTONIC_RAW, "MONOTONIC_RAW"},
    {CLOCK_REALTIME_COARSE, "REALTIME_COARSE"}, {CLOCK_MONOTONIC_COARSE, "MONOTONIC_COARSE"}, {CLOCK_BOOTTIME, "BOOTTIME"}, {CLOCK_TAI, "TAI"}, {99, "99"}};
  for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
    int r = clock_gettime(clocks[i].id, &t), e = errno;
    int q = clock_getres(clocks[i].id, &t);
    bool coarse = t.tv_nsec >= 1000000 && t.tv_nsec <= 10000000;
    say("%s: %s, resolution %s", clocks[i].name, r ? errno_name(e) : "ok", q ? errno_name(errno) : coarse ? "ticks" : t.tv_nsec == 1 ? "1 ns" : "other");
  }
  int back = 0;
  struct timespec last = {0}, now;
  for (int i = 0; i < 100000; i++) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    back += now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec);
    last = now;
  }
  TRY(back);
  say("-- libc's way and the system call agree");
  for (int i = 0; i < 3; i++) {
    clockid_t id = (clockid_t[]){CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME}[i];
    int64_t a = ns(id);
    clock_gettime(id, &now);
    int64_t b = now.tv_sec * 1000000000ll + now.tv_nsec, c = ns(id);
    YES(a <= b && b <= c);
  }
  struct timeval tv;
  int64_t a = ns(CLOCK_REALTIME) / 1000;
  gettimeofday(&tv, NULL);
  int64_t b = tv.tv_sec * 1000000ll + tv.tv_usec, c = ns(CLOCK_REALTIME) / 1000;
  YES(a <= b && b <= c);
  YES(llabs((long long)time(NULL) - tv.tv_sec) <= 1);
  YES(ns(CLOCK_REALTIME) / 1000000000 > 1700000000);
  YES(llabs((long long)(ns(CLOCK_REALTIME_COARSE) - ns(CLOCK_REALTIME))) < 50000000);
  YES(llabs((long long)(ns(CLOCK_MONOTONIC_COARSE) - ns(CLOCK_MONOTONIC))) < 50000000);

  say("-- CPU time");
  pthread_t th;
  int64_t other = 0, mine = ns(CLOCK_THREAD_CPUTIME_ID), all = ns(CLOCK_PROCESS_CPUTIME_ID);
  pthread_create(&th, NULL, burn, &other);
  pthread_join(th, NULL);
  YES(other >= 20000000);
  YES(ns(CLOCK_THREAD_CPUTIME_ID) - mine < 20000000);
  YES(ns(CLOCK_PROCESS_CPUTIME_ID) - all >= 20000000);
  int64_t cpu = ns(CLOCK_PROCESS_CPUTIME_ID), wall = ns(CLOCK_MONOTONIC);
  sleep_ms(50);
  YES(ns(CLOCK_PROCESS_CPUTIME_ID) - cpu < 40000000);
  YES(ns(CLOCK_MONOTONIC) - wall >= 50000000);
  clockid_t own;
  ERR(clock_getcpuclockid(getpid(), &own));
  YES(ns(own) >= cpu);
  struct tms tms;
  clock_t ticks = times(&tms);
  YES(ticks > 0 && tms.tms_utime + tms.tms_stime >= 1);

  say("-- errors");
  TRY(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD));
  TRY(syscall(SYS_clock_gettime, -1, &t));
  TRY(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
  TRY(syscall(SYS_clock_getres, CLOCK_MONOTONIC, BAD));
  TRY(syscall(SYS_gettimeofday, BAD, NULL));
  TRY(syscall(SYS_gettimeofday, NULL, NULL));
  TRY(syscall(SYS_time, BAD));
  TRY(syscall(SYS_times, BAD));
  TRY(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &t));
  t.tv_nsec = -1;
  TRY(syscall(SYS_clock_settime, CLOCK_REALTIME, &t));
  struct timex tx = {0};
  YES(adjtimex(&tx) >= 0);
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    clock_gettime(CLOCK_REALTIME, &t);
    TRY(syscall(SYS_clock_settime, CLOCK_REALTIME, &t));
  });
  return 0;
}
