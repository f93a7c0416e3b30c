/* timerfd: one-shot, interval, absolute, disarm, gettime, overruns, poll, errors. */
#include "guest.h"
#include <sys/timerfd.h>

static struct itimerspec every(long value_ms, long interval_ms) {
  return (struct itimerspec){{interval_ms / 1000, interval_ms % 1000 * 1000000}, {value_ms / 1000, value_ms % 1000 * 1000000}};
}

int main(void) {
  begin();
  uint64_t n = 0;
  struct itimerspec t, old;
  int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  TRY(fcntl(fd, F_GETFD));
  TRY(read(fd, &n, 8));
  TRY(timerfd_gettime(fd, &old));
  YES(old.it_value.tv_sec == 0 && old.it_value.tv_nsec == 0);
  t = every(150, 0);
  int64_t begun = now_ns();
  TRY(timerfd_settime(fd, 0, &t, NULL));
  TRY(timerfd_gettime(fd, &old));
  YES(old.it_value.tv_sec == 0 && old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 150000000);
  struct pollfd pf = {fd, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  TRY(poll(&pf, 1, 3000));
  YES(now_ns() - begun >= 150000000);
  TRY(read(fd, &n, 4));
  TRY(read(fd, &n, 8));
  TRY(n);
  TRY(read(fd, &n, 8));

  say("-- interval");
  fcntl(fd, F_SETFL, 0);
  t = every(5, 10);
  begun = now_ns();
  TRY(timerfd_settime(fd, 0, &t, &old));
  uint64_t total = 0;
  while (total < 6) {
    if (read(fd, &n, 8) != 8) break;
    total += n;
  }
  YES(total >= 6 && now_ns() - begun >= 55000000);
  TRY(timerfd_gettime(fd, &old));
  say("interval %ld", old.it_interval.tv_nsec);
  sleep_ms(45);
  read(fd, &n, 8);
  YES(n >= 4);
  t = every(0, 0);
  TRY(timerfd_settime(fd, 0, &t, &old));
  say("interval was %ld", old.it_interval.tv_nsec);
  TRY(poll(&pf, 1, 30));

  say("-- absolute");
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  t = (struct itimerspec){.it_value = {now.tv_sec, now.tv_nsec}};
  t.it_value.tv_nsec += 15000000;
  if (t.it_value.tv_nsec >= 1000000000) t.it_value.tv_sec++, t.it_value.tv_nsec -= 1000000000;
  begun = now_ns();
  TRY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL));
  TRY(read(fd, &n, 8));
  TRY(n);
  t.it_value = (struct timespec){1, 0}; /* long past */
  TRY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL));
  TRY(read(fd, &n, 8));
  TRY(n);
  int real = OK(timerfd_create(CLOCK_REALTIME, 0));
  clock_gettime(CLOCK_REALTIME, &now);
  t = (struct itimerspec){.it_value = {now.tv_sec, now.tv_nsec}};
  TRY(timerfd_settime(real, TFD_TIMER_ABSTIME, &t, NULL));
  TRY(read(real, &n, 8));
  TRY(n);
  OK(timerfd_create(CLOCK_BOOTTIME, 0));

  say("-- errors");
  TRY(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
  TRY(timerfd_create(99, 0));
  TRY(timerfd_create(CLOCK_MONOTONIC, 1));
  t = every(1, 0);
  TRY(timerfd_settime(77, 0, &t, NULL));
  TRY(timerfd_settime(1, 0, &t, NULL));
  TRY(timerfd_settime(fd, 8, &t, NULL));
  t.it_value.tv_nsec = 1000000000;
  TRY(timerfd_settime(fd, 0, &t, NULL));
  t = every(1, 0);
  t.it_value.tv_sec = -1;
  TRY(timerfd_settime(fd, 0, &t, NULL));
  TRY(timerfd_settime(fd, 0, BAD, NULL));
  TRY(timerfd_gettime(fd, BAD));
  TRY(timerfd_gettime(1, &old));
  TRY(write(fd, &n, 8));
  t = every(1, 0);
  timerfd_settime(fd, 0, &t, NULL);
  sleep_ms(5);
  TRY(read(fd, BAD, 8));

  say("-- it fires in the child too");
  t = every(20, 0);
  timerfd_settime(fd, 0, &t, NULL);
  CHILD("child", { TRY(read(fd, &n, 8)); });
  fcntl(fd, F_SETFL, O_NONBLOCK);
  TRY(read(fd, &n, 8));
  return 0;
}
