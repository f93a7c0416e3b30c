/*
 * As many areas of memory as there may be, and calls over all of them.
 *
 * variants: mincore mprotect madvise munmap maps smaps fork huge-mincore
 * seconds: 60
 * prints: done
 */
#include "hostile.h"

int main(int argc, char **argv) {
  size_t count = 60000, page = 4096;
  if (IS("huge-mincore")) {
    char *big = mmap(NULL, 1ul << 38, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    syscall(SYS_mincore, big, 1ul << 38, map_anonymous(1ul << 26));
    return puts("done"), 0;
  }
  char *at = map_anonymous(count * page);
  for (size_t i = 0; i < count; i += 2)
    if (mprotect(at + i * page, page, PROT_READ) < 0) cannot("area %zu", i);
  if (IS("mincore")) syscall(SYS_mincore, at, count * page, map_anonymous(count));
  else if (IS("mprotect")) mprotect(at, count * page, PROT_READ | PROT_WRITE);
  else if (IS("madvise")) madvise(at, count * page, MADV_DONTNEED);
  else if (IS("munmap")) munmap(at, count * page);
  else if (IS("fork")) {
    for (int i = 0; i < 3; i++) {
      if (fork() == 0) _exit(0);
      wait(NULL);
    }
  } else {
    char text[1000], name[64];
    snprintf(name, sizeof name, "/proc/self/%s", VARIANT);
    int fd = open(name, O_RDONLY);
    for (int i = 0; i < 3; i++) {
      lseek(fd, 0, SEEK_SET);
      read(fd, text, sizeof text);
      read(fd, text, sizeof text);
    }
  }
  puts("done");
  fflush(stdout);
  _exit(0);
}
