/* ppoll and pselect: the mask is swapped for the wait only, a pending signal gets in, time-outs and their rest. */
#include "guest.h"
#include <sys/select.h>

static volatile int hits;
static void on_signal(int n) { (void)n; hits++; }

int main(void) {
  begin();
  sigset_t block, none, now;
  sigemptyset(&none);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  int p[2];
  NEED(pipe(p));
  struct pollfd pf = {p[0], POLLIN, 0};
  struct timespec short_time = {0, 10000000}, long_time = {3, 0};
  handle(SIGUSR1, on_signal, SA_RESTART);
  sigprocmask(SIG_BLOCK, &block, NULL);
  raise(SIGUSR1);
  TRY(poll(&pf, 1, 5));
  TRY(hits);
  TRY(ppoll(&pf, 1, &long_time, &none));
  TRY(hits);
  sigprocmask(SIG_BLOCK, NULL, &now);
  YES(sigismember(&now, SIGUSR1));
  YES(long_time.tv_sec == 3);
  int64_t t = now_ns();
  TRY(ppoll(&pf, 1, &short_time, NULL));
  YES(now_ns() - t >= 10000000);
  YES(short_time.tv_nsec == 10000000); /* libc hides the kernel's write-back */
  raise(SIGUSR1);
  fd_set r;
  FD_ZERO(&r);
  FD_SET(p[0], &r);
  TRY(pselect(p[0] + 1, &r, NULL, NULL, &long_time, &none));
  TRY(hits);
  YES(FD_ISSET(p[0], &r)); /* untouched on error */
  TRY(pselect(p[0] + 1, &r, NULL, NULL, &short_time, &none));
  YES(!FD_ISSET(p[0], &r));

  say("-- ready and a signal: ready wins, the signal waits for the old mask");
  write(p[1], "x", 1);
  raise(SIGUSR1);
  hits = 0;
  TRY(ppoll(&pf, 1, &long_time, &none));
  say("hits %d", hits);
  sigprocmask(SIG_SETMASK, &none, NULL);
  say("hits %d", hits);

  say("-- the kernel's own interface writes the rest back");
  struct timespec rest = {2, 0};
  TRY(syscall(SYS_ppoll, &pf, 1, &rest, NULL, 8));
  YES(rest.tv_sec == 1 && rest.tv_nsec > 0);
  rest = (struct timespec){0, 5000000};
  char b[2];
  read(p[0], b, 2);
  TRY(syscall(SYS_ppoll, &pf, 1, &rest, NULL, 8));
  YES(rest.tv_sec == 0 && rest.tv_nsec == 0);
  rest = (struct timespec){0, 1000000000};
  TRY(syscall(SYS_ppoll, &pf, 1, &rest, NULL, 8));
  rest = (struct timespec){-1, 0};
  TRY(syscall(SYS_ppoll, &pf, 1, &rest, NULL, 8));
  TRY(syscall(SYS_ppoll, &pf, 1, BAD, NULL, 8));
  TRY(syscall(SYS_ppoll, &pf, 1, &short_time, BAD, 8));
  TRY(syscall(SYS_ppoll, &pf, 1, &short_time, &none, 4));
  return 0;
}
