/* POSIX timers: signals, values, overruns, absolute times, clocks, errors; fork and exec do not keep them. */
#include "guest.h"

static volatile sig_atomic_t hits, value, code, overrun;
static timer_t id;
static void on_info(int s, siginfo_t *i, void *c) {
  (void)s, (void)c;
  hits++;
  value = i->si_value.sival_int;
  code = i->si_code;
}

static timer_t make(clockid_t clock, int notify, int signo, int v) {
  struct sigevent e = {.sigev_notify = notify, .sigev_signo = signo};
  e.sigev_value.sival_int = v;
  timer_t t = 0;
  if (timer_create(clock, &e, &t)) say("timer_create: %s", errno_name(errno));
  return t;
}
static int set(timer_t t, int flags, long ms, long every_us) {
  struct itimerspec s = {{every_us / 1000000, every_us % 1000000 * 1000}, {ms / 1000, ms % 1000 * 1000000}};
  return timer_settime(t, flags, &s, NULL);
}

int main(void) {
  begin();
  handle_info(SIGUSR1, on_info, 0);
  handle_info(SIGRTMIN, on_info, 0);
  struct itimerspec s, old;

  say("-- once");
  id = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 42);
  TRY(timer_gettime(id, &s));
  YES(s.it_value.tv_sec == 0 && s.it_value.tv_nsec == 0);
  TRY(set(id, 0, 20, 0));
  TRY(timer_gettime(id, &s));
  YES(s.it_value.tv_sec == 0 && s.it_value.tv_nsec > 0 && s.it_value.tv_nsec <= 20000000);
  while (!hits) sleep_ms(5);
  say("hits %d value %d SI_TIMER %d", hits, value, code == SI_TIMER);
  TRY(timer_gettime(id, &s));
  YES(s.it_value.tv_sec == 0 && s.it_value.tv_nsec == 0);

  say("-- every 10 ms");
  hits = 0;
  TRY(set(id, 0, 10, 10000));
  for (int i = 0; i < 100 && hits < 3; i++) sleep_ms(5);
  YES(hits >= 3);
  struct itimerspec off = {0};
  TRY(timer_settime(id, 0, &off, &old));
  YES(old.it_interval.tv_nsec == 10000000 && old.it_value.tv_nsec > 0);
  int now = hits;
  sleep_ms(40);
  YES(hits == now);

  say("-- overrun while blocked");
  sigset_t m;
  sigemptyset(&m);
  sigaddset(&m, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &m, NULL);
  timer_t rt = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 7);
  TRY(set(rt, 0, 5, 5000));
  sleep_ms(100);
  siginfo_t info;
  struct timespec none = {0};
  YES(sigtimedwait(&m, &info, &none) == SIGRTMIN);
  say("value %d code %d", info.si_value.sival_int, info.si_code == SI_TIMER);
  YES(info.si_overrun >= 10 && info.si_overrun < 100);
  YES(timer_getoverrun(rt) == info.si_overrun);
  TRY(timer_delete(rt));
  TRY(timer_delete(rt));

  say("-- absolute");
  hits = 0;
  struct timespec t;
  int64_t begun = now_ns(); /* before the time that the timer is set from: a slow machine loses none of it */
  clock_gettime(CLOCK_REALTIME, &t);
  timer_t real = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 1);
  s = (struct itimerspec){.it_value = {t.tv_sec, t.tv_nsec}};
  s.it_value.tv_nsec += 30000000;
  if (s.it_value.tv_nsec >= 1000000000) s.it_value.tv_nsec -= 1000000000, s.it_value.tv_sec++;
  TRY(timer_settime(real, TIMER_ABSTIME, &s, NULL));
  while (!hits) sleep_ms(2);
  YES(now_ns() - begun >= 29000000);
  hits = 0;
  s.it_value = (struct timespec){1, 0};
  TRY(timer_settime(real, TIMER_ABSTIME, &s, NULL));
  for (int i = 0; i < 50 && !hits; i++) sleep_ms(1);
  say("long past: hits %d", hits);

  say("-- SIGEV_NONE, a thread, CPU time");
  timer_t quiet = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  TRY(set(quiet, 0, 1000, 0));
  TRY(timer_gettime(quiet, &s));
  YES(s.it_value.tv_nsec > 900000000);
  hits = 0;
  struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
  e._sigev_un._tid = gettid();
  timer_t mine;
  TRY(timer_create(CLOCK_MONOTONIC, &e, &mine));
  TRY(set(mine, 0, 5, 0));
  while (!hits) sleep_ms(2);
  e._sigev_un._tid = 1 << 28;
  TRY(timer_create(CLOCK_MONOTONIC, &e, &mine));
  hits = 0;
  timer_t cpu = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 3);
  TRY(set(cpu, 0, 50, 0));
  sleep_ms(100);
  say("asleep: hits %d", hits);
  for (int64_t end = now_ns() + 5000000000ll; !hits && now_ns() < end;) {}
  say("busy: hits %d", hits);

  say("-- errors");
  TRY(timer_create(99, NULL, &mine));
  TRY(timer_create(CLOCK_MONOTONIC_RAW, NULL, &mine));
  e = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 100};
  TRY(timer_create(CLOCK_MONOTONIC, &e, &mine));
  e = (struct sigevent){.sigev_notify = 77, .sigev_signo = SIGUSR1};
  TRY(timer_create(CLOCK_MONOTONIC, &e, &mine));
  TRY(syscall(SYS_timer_settime, 12345, 0, &off, NULL));
  TRY(syscall(SYS_timer_gettime, 12345, &s));
  TRY(syscall(SYS_timer_getoverrun, 12345));
  s = (struct itimerspec){.it_value = {0, 1000000000}};
  TRY(timer_settime(id, 0, &s, NULL));
  TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, BAD));
  TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &mine));

  say("-- not for children");
  int kernel_id;
  TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &kernel_id) == 0);
  CHILD("child", { TRY(syscall(SYS_timer_gettime, kernel_id, &s)); });
  return 0;
}
