/* close_range(2): closing, marking close-on-exec, unsharing the table, errors. */
#include "guest.h"
#include <linux/close_range.h>

static long range(unsigned a, unsigned b, unsigned flags) { return syscall(SYS_close_range, a, b, flags); }

static void open_ones(void) {
  char line[200] = "";
  for (int i = 20; i < 36; i++)
    if (fcntl(i, F_GETFD) >= 0) sprintf(line + strlen(line), " %d%s", i, fcntl(i, F_GETFD) ? "c" : "");
  say("open%s", line);
}

static void *other(void *unused) {
  (void)unused;
  open_ones();
  return NULL;
}

int main(void) {
  begin();
  for (int i = 20; i < 30; i++) dup2(1, i);
  TRY(range(22, 24, 0));
  open_ones();
  TRY(range(22, 24, 0));
  TRY(range(25, 26, CLOSE_RANGE_CLOEXEC));
  open_ones();
  TRY(range(28, ~0u, 0));
  open_ones();
  TRY(range(27, 26, 0));
  TRY(range(20, 30, 16));
  TRY(range(1000000, 1000001, 0));
  CHILD("unshare", {
    pthread_t t;
    TRY(range(20, 21, CLOSE_RANGE_UNSHARE));
    open_ones();
    pthread_create(&t, NULL, other, NULL);
    pthread_join(t, NULL);
  });
  open_ones();
  TRY(range(20, ~0u, CLOSE_RANGE_UNSHARE));
  open_ones();
  return 0;
}
