/*
 * Numbers that a guest chooses: unknown calls, user ids, queued signals, timers, crashes in the log. None of them may be
 * kept for ever.
 *
 * variants: calls users signals timers log
 * seconds: 120
 * growth: 64
 * prints: done
 */
#include "hostile.h"

int main(int argc, char **argv) {
  long refused = 0;
  if (IS("calls"))
    for (int i = 0; i < 1500000; i++) syscall(1000 + i);
  else if (IS("users"))
    for (int i = 1; i < 600000; i++) {
      if (setresuid((uid_t)i, 0, 0) < 0) cannot("setresuid %d", i);
    }
  else if (IS("signals")) {
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_SIGPENDING, &none);
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 200000; i++)
      if (sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i}) < 0) refused++;
  } else if (IS("timers")) {
    for (int p = 0; p < 40; p++)
      if (fork() == 0) {
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        timer_t timer;
        for (int i = 0; i < 4096; i++)
          if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0) break;
        sleep(15);
        _exit(0);
      }
    sleep(10);
  } else if (IS("log")) {
    for (int i = 0; i < 3000; i++)
      if (fork() == 0) *(volatile int *)8 = 0;
      else wait(NULL);
  }
  printf("done, %ld refused\n", refused);
  if (IS("signals") && refused == 0) return 1;
  return 0;
}
