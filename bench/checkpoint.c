/*
 * The guest of bench/checkpoint.ts: fills so many MiB, each page with bytes of its own, then looks at the clock all the
 * time, and writes ten times a second what the clock shows, in ms, and the longest time between two looks, in ns.
 *
 *   checkpoint MIB
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

int main(int argc, char **argv) {
  size_t size = (size_t)(argc > 1 ? atol(argv[1]) : 16) << 20;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  for (size_t at = 0; at < size; at += 4096) memcpy(memory + at, &at, sizeof at), memory[at + 8] = 1;
  int log = open("/shared/pause", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (log < 0) return 2;
  long worst = 0, last = now(), told = last;
  for (;;) {
    long t = now();
    if (t - last > worst) worst = t - last;
    last = t;
    // Ten times a second it says so, and begins anew.
    if (t - told < 100000000L) continue;
    char line[64];
    int n = snprintf(line, sizeof line, "%ld %ld\n", t / 1000000, worst);
    if (write(log, line, (size_t)n) != n) return 3;
    worst = 0;
    told = last = now();
  }
}
