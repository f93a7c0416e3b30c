/*
 * One call for which the host has to make the page tables of very much memory: 20 GiB of the zero page.
 *
 * variants: read dontneed
 * seconds: 90
 * prints: ^done\n$
 */
#include "hostile.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

int main(int argc, char **argv) {
  size_t length = 20ul << 30;
  char *at = map_anonymous(length);
  if (madvise(at, length, MADV_NOHUGEPAGE) < 0) cannot("MADV_NOHUGEPAGE");
  if (madvise(at, length, MADV_POPULATE_READ) < 0) cannot("MADV_POPULATE_READ");
  if (IS("dontneed") && madvise(at, length, MADV_DONTNEED) < 0) cannot("MADV_DONTNEED");
  /* Each page is there, and none of it is anybody else's. */
  for (size_t i = 0; i < length; i += 64ul << 20)
    if (at[i] != 0) cannot("a page that is not zero");
  puts("done");
  fflush(stdout);
  _exit(0);
}
