/*
 * Holds as many files of a volume open as there is room for: each is a descriptor of the host. The other container may be
 * refused more of them meanwhile, gets no wrong answer, and has them again when this one is gone.
 *
 * as: own-root own-user
 * expect: goes on
 * prints: ^keeps [1-9]\d*, no more$
 * exec: may fail
 * seconds: 60
 */
#include "pod.h"

int main(void) {
  long taken = 0;
  char path[64];
  mkdir("/shared/many", 0777);
  for (;; taken++) {
    snprintf(path, sizeof path, "/shared/many/%ld", taken);
    if (open(path, O_CREAT | O_RDWR, 0600) < 0) break;
  }
  printf("keeps %ld, no more\n", taken);
  fflush(stdout);
  for (;;) {
    if (open("/shared/many/0", O_RDWR) < 0) usleep(2000);
  }
}
