/* nanosleep and clock_nanosleep: duration, the rest after a signal, restarts through stops, absolute time, errors. */
#include "guest.h"

static volatile int hits;
static void on_signal(int n) { (void)n; hits++; }

/* Again and again, so that a slow machine cannot let the only signal pass before the sleep begins. */
static void in(long ms) {
  struct itimerval t = {{0, ms * 1000}, {0, ms * 1000}};
  setitimer(ITIMER_REAL, &t, NULL);
}

int main(void) {
  begin();
  struct timespec t = {0, 20000000}, rest = {7, 7};
  int64_t begun = now_ns();
  TRY(nanosleep(&t, &rest));
  YES(now_ns() - begun >= 20000000);
  YES(rest.tv_sec == 7);
  t = (struct timespec){0, 0};
  TRY(nanosleep(&t, NULL));
  t = (struct timespec){0, 1000000000};
  TRY(nanosleep(&t, NULL));
  t = (struct timespec){-1, 0};
  TRY(nanosleep(&t, NULL));
  TRY(nanosleep(BAD, NULL));

  say("-- interrupted: the rest");
  handle(SIGALRM, on_signal, SA_RESTART);
  in(20);
  t = (struct timespec){2, 0};
  begun = now_ns();
  TRY(nanosleep(&t, &rest));
  YES(now_ns() - begun < 2000000000);
  YES(rest.tv_sec == 1 && rest.tv_nsec > 0);
  YES(hits > 0);
  in(10);
  TRY(nanosleep(&t, BAD));
  in(10);
  TRY(nanosleep(&t, NULL));
  in(10);
  t = (struct timespec){2, 0};
  TRY(nanosleep(&t, &t));
  YES(t.tv_sec == 1);

  say("-- clock_nanosleep returns its error");
  in(10);
  t = (struct timespec){2, 0};
  ERR(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rest));
  YES(rest.tv_sec == 1);
  in(10);
  rest = (struct timespec){9, 9};
  struct timespec abs;
  clock_gettime(CLOCK_MONOTONIC, &abs);
  abs.tv_sec += 2;
  ERR(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, &rest));
  YES(rest.tv_sec == 9);
  clock_gettime(CLOCK_REALTIME, &abs);
  in(0);
  abs.tv_nsec += 20000000;
  if (abs.tv_nsec >= 1000000000) abs.tv_nsec -= 1000000000, abs.tv_sec++;
  begun = now_ns();
  ERR(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &abs, NULL));
  YES(now_ns() - begun >= 15000000);
  abs.tv_sec -= 100;
  ERR(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &abs, NULL));
  ERR(clock_nanosleep(CLOCK_BOOTTIME, 0, &(struct timespec){0, 1000}, NULL));
  ERR(clock_nanosleep(99, 0, &t, NULL));
  ERR(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL));
  ERR(clock_nanosleep(CLOCK_MONOTONIC, 0, BAD, NULL));

  say("-- stop and continue do not end a sleep");
  pid_t kid = fork();
  if (!kid) {
    t = (struct timespec){0, 150000000};
    begun = now_ns();
    TRY(nanosleep(&t, NULL));
    YES(now_ns() - begun >= 150000000);
    _exit(0);
  }
  until_blocked(kid, kid);
  kill(kid, SIGSTOP);
  int status;
  waitpid(kid, &status, WUNTRACED);
  sleep_ms(20);
  kill(kid, SIGCONT);
  reap("sleeper", kid);

  say("-- an ignored signal does not end it either");
  kid = fork();
  if (!kid) {
    signal(SIGUSR1, SIG_IGN);
    t = (struct timespec){0, 100000000};
    TRY(nanosleep(&t, NULL));
    _exit(0);
  }
  until_blocked(kid, kid);
  kill(kid, SIGUSR1);
  kill(kid, SIGWINCH);
  reap("sleeper", kid);
  say("-- alarm");
  TRY(alarm(100));
  TRY(alarm(0));
  TRY(alarm(0));
  return 0;
}
