/* Memory touched: every page written, checked, shared with a child copy-on-write, given back. Argument: MiB. */
#include "../guest/guest.h"

int main(int argc, char **argv) {
  begin_for(60);
  size_t n = (size_t)(argc > 1 ? atoi(argv[1]) : 1024) << 20;
  unsigned char *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) { say("mmap: %s", errno_name(errno)); _exit(1); }
  for (size_t i = 0; i < n; i += 4096) *(size_t *)(m + i) = i;
  size_t wrong = 0;
  for (size_t i = 0; i < n; i += 4096) wrong += *(size_t *)(m + i) != i;
  say("wrong %zu", wrong);
  CHILD("a child writes into some of it", {
    for (size_t i = 0; i < n; i += 64 * 4096) *(size_t *)(m + i) = 1;
    for (size_t i = 4096; i < n; i += 64 * 4096) wrong += *(size_t *)(m + i) != i;
    _exit(wrong != 0);
  });
  for (size_t i = 0; i < n; i += 4096) wrong += *(size_t *)(m + i) != i;
  say("wrong %zu", wrong);
  TRY(munmap(m, n));
  return wrong != 0;
}
