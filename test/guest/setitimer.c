/* setitimer, getitimer, alarm and POSIX timers: real, virtual and profiling time, intervals, values, errors. */
#include "guest.h"

static volatile int hits[65], value, code;
static void on_signal(int n) { hits[n]++; }
static void on_info(int n, siginfo_t *si, void *uc) { (void)uc; hits[n]++; value = si->si_value.sival_int; code = si->si_code; }

int main(void) {
  begin();
  struct itimerval t, old;
  signal(SIGALRM, SIG_DFL);
  TRY(getitimer(ITIMER_VIRTUAL, &old));
  YES(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
  alarm(0);
  handle(SIGALRM, on_signal, SA_RESTART);
  t = (struct itimerval){{0, 10000}, {0, 20000}};
  int64_t begun = now_ns();
  TRY(setitimer(ITIMER_REAL, &t, NULL));
  while (hits[SIGALRM] < 3) pause();
  YES(now_ns() - begun >= 40000000);
  t = (struct itimerval){0};
  TRY(setitimer(ITIMER_REAL, &t, &old));
  say("interval %ld", old.it_interval.tv_usec);
  int seen = hits[SIGALRM];
  sleep_ms(40);
  YES(hits[SIGALRM] == seen);
  t = (struct itimerval){.it_value = {100, 0}};
  setitimer(ITIMER_REAL, &t, NULL);
  TRY(getitimer(ITIMER_REAL, &old));
  YES(old.it_value.tv_sec == 99 || old.it_value.tv_sec == 100);
  TRY(alarm(50));
  CHILD("not inherited by fork", { TRY(alarm(0)); });
  TRY(alarm(0));

  say("-- virtual and profiling time count CPU");
  handle(SIGVTALRM, on_signal, 0);
  handle(SIGPROF, on_signal, 0);
  t = (struct itimerval){.it_value = {0, 30000}};
  TRY(setitimer(ITIMER_VIRTUAL, &t, NULL));
  TRY(setitimer(ITIMER_PROF, &t, NULL));
  sleep_ms(80);
  say("asleep: virtual %d prof %d", hits[SIGVTALRM], hits[SIGPROF]);
  begun = now_ns();
  while ((!hits[SIGVTALRM] || !hits[SIGPROF]) && now_ns() - begun < 5000000000) {}
  say("busy: virtual %d prof %d", hits[SIGVTALRM], hits[SIGPROF]);

  say("-- POSIX timers");
  timer_t id, id2;
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value = {42}};
  handle_info(SIGRTMIN, on_info, 0);
  TRY(timer_create(CLOCK_MONOTONIC, &ev, &id));
  struct itimerspec it = {.it_value = {0, 10000000}, .it_interval = {0, 5000000}}, was;
  TRY(timer_settime(id, 0, &it, NULL));
  while (hits[SIGRTMIN] < 3) pause();
  say("value %d code %s", value, code == SI_TIMER ? "TIMER" : "?");
  TRY(timer_gettime(id, &was));
  say("interval %ld", was.it_interval.tv_nsec);
  sigset_t block, none;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &block, NULL);
  /* Long periods, so that a slow machine sees no third one before it looks. */
  it = (struct itimerspec){.it_value = {0, 100000000}, .it_interval = {0, 100000000}};
  TRY(timer_settime(id, 0, &it, NULL));
  while (sigtimedwait(&block, NULL, &(struct timespec){0, 0}) > 0) {}
  seen = hits[SIGRTMIN];
  sleep_ms(450);
  sigprocmask(SIG_SETMASK, &none, NULL);
  YES(hits[SIGRTMIN] == seen + 1 || hits[SIGRTMIN] == seen + 2); /* one queued, the rest counted */
  YES(timer_getoverrun(id) >= 0);
  it = (struct itimerspec){0};
  TRY(timer_settime(id, 0, &it, &was));
  TRY(timer_create(CLOCK_REALTIME, NULL, &id2)); /* SIGALRM */
  seen = hits[SIGALRM];
  it.it_value.tv_nsec = 1000000;
  TRY(timer_settime(id2, 0, &it, NULL));
  while (hits[SIGALRM] == seen) sleep_ms(1);
  TRY(timer_delete(id2));
  TRY(timer_delete(id2));
  TRY(timer_settime(id2, 0, &it, NULL));
  ev.sigev_notify = SIGEV_NONE;
  TRY(timer_create(CLOCK_MONOTONIC, &ev, &id2));
  it.it_value = (struct timespec){1, 0};
  it.it_interval = (struct timespec){0};
  TRY(timer_settime(id2, 0, &it, NULL));
  TRY(timer_gettime(id2, &was));
  YES(was.it_value.tv_sec == 0 && was.it_value.tv_nsec > 0);
  ev.sigev_notify = SIGEV_THREAD_ID;
  ev._sigev_un._tid = gettid();
  TRY(timer_create(CLOCK_MONOTONIC, &ev, &id2));
  CHILD("timers are not inherited", { TRY(timer_gettime(id, &was)); });

  say("-- errors");
  TRY(timer_create(99, &ev, &id));
  TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &id));
  TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, BAD));
  ev.sigev_notify = 77;
  TRY(timer_create(CLOCK_MONOTONIC, &ev, &id));
  ev.sigev_notify = SIGEV_SIGNAL;
  ev.sigev_signo = 99;
  TRY(timer_create(CLOCK_MONOTONIC, &ev, &id));
  TRY(setitimer(9, &t, NULL));
  TRY(getitimer(9, &old));
  t = (struct itimerval){.it_value = {0, 1000000}};
  TRY(setitimer(ITIMER_REAL, &t, NULL));
  t = (struct itimerval){.it_value = {-1, 0}};
  TRY(setitimer(ITIMER_REAL, &t, NULL));
  TRY(setitimer(ITIMER_REAL, BAD, NULL));
  TRY(getitimer(ITIMER_REAL, BAD));
  CHILD("the default action", { signal(SIGALRM, SIG_DFL); ualarm(1000, 0); for (;;) pause(); });
  return 0;
}
