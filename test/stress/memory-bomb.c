/* A memory bomb: takes and touches memory until it is refused, or until it is killed. */
#include "../guest/guest.h"

int main(void) {
  alarm(60);
  size_t total = 0;
  const size_t step = 16 << 20;
  for (;;) {
    char *m = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) break;
    for (size_t i = 0; i < step; i += 4096) m[i] = 1;
    total += step;
    if (total > (size_t)64 << 30) { say("no limit"); _exit(1); }
  }
  say("refused with %s", errno_name(errno));
  return 0;
}
