/*
 * Takes all there is of something that the whole sandbox has a bound on, and keeps it. The other container still opens a
 * few files, forks, and gets right answers; commands reach both.
 *
 * variants: files inotify tmpfs memfd ptys timers processes names
 * as: own-root
 * expect: goes on
 * prints: ^keeps [1-9]\d*, no more$
 * unrefused: yes
 * seconds: 60
 */
#include <pty.h>
#include <sys/inotify.h>
#include "pod.h"

static const char *what;

/* One more; false when there are no more. */
static int take(long n) {
  static int last;
  char path[64];
  if (strcmp(what, "files") == 0) return open("/dev/null", O_RDONLY) >= 0;
  if (strcmp(what, "inotify") == 0) {
    if (n % 200 == 0) last = inotify_init1(0);
    snprintf(path, sizeof path, "/tmp/watched%ld", n % 4000);
    close(open(path, O_CREAT | O_RDWR, 0600));
    return last >= 0 && inotify_add_watch(last, path, IN_ALL_EVENTS) >= 0;
  }
  if (strcmp(what, "tmpfs") == 0 || strcmp(what, "memfd") == 0) {
    static char block[1 << 20];
    if (n % 64 == 0) {
      snprintf(path, sizeof path, "/dev/shm/fill-%d-%ld", getpid(), n);
      last = strcmp(what, "memfd") == 0 ? memfd_create("fill", 0) : open(path, O_CREAT | O_RDWR, 0600);
    }
    /* Little enough for the machine: the point is that it is somebody else's. */
    return n < 256 && last >= 0 && write(last, block, sizeof block) == sizeof block;
  }
  if (strcmp(what, "names") == 0) {
    snprintf(path, sizeof path, "/dev/shm/name-%d-%ld", getpid(), n);
    return n < 60000 && mknod(path, S_IFREG | 0600, 0) == 0;
  }
  if (strcmp(what, "ptys") == 0) {
    int master, slave;
    return openpty(&master, &slave, NULL, NULL, NULL) == 0;
  }
  if (strcmp(what, "timers") == 0) {
    timer_t timer;
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    if (timer_create(CLOCK_MONOTONIC, NULL, &timer) < 0) return 0;
    timer_settime(timer, 0, &often, NULL);
    return n < 3000;
  }
  pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  return child > 0;
}

int main(int argc, char **argv) {
  what = VARIANT;
  for (int signo = 1; signo < 65; signo++)
    if (signo != SIGCHLD) signal(signo, SIG_IGN);
  struct rlimit most = {1 << 20, 1 << 20};
  setrlimit(RLIMIT_NOFILE, &most);
  long taken = 0;
  while (take(taken)) taken++;
  printf("keeps %ld, no more\n", taken);
  fflush(stdout);
  /* Whatever becomes free is taken, too. */
  for (int tries = 0;; tries++) {
    if (take(taken)) taken++;
    else usleep(2000);
  }
}
