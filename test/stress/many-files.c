/* Open files at once: opened, written, read back, listed, closed. Argument: how many. */
#include "../guest/guest.h"
#include <sys/resource.h>

int main(int argc, char **argv) {
  begin_for(60);
  int n = argc > 1 ? atoi(argv[1]) : 10000;
  struct rlimit r;
  getrlimit(RLIMIT_NOFILE, &r);
  r.rlim_cur = n + 100;
  if (r.rlim_max < r.rlim_cur) r.rlim_max = r.rlim_cur;
  if (setrlimit(RLIMIT_NOFILE, &r)) { say("limit: %s", errno_name(errno)); _exit(1); }
  int *fd = calloc(n, sizeof *fd);
  char name[32];
  for (int i = 0; i < n; i++) {
    sprintf(name, "f%d", i);
    fd[i] = open(name, O_CREAT | O_RDWR, 0600);
    if (fd[i] < 0) { say("open %d: %s", i, errno_name(errno)); _exit(1); }
    if (write(fd[i], &i, sizeof i) != sizeof i) _exit(2);
  }
  int wrong = 0, v;
  for (int i = 0; i < n; i++) wrong += pread(fd[i], &v, sizeof v, 0) != sizeof v || v != i;
  int listed = 0;
  DIR *d = opendir("/proc/self/fd");
  while (readdir(d)) listed++;
  closedir(d);
  say("wrong %d, listed %s", wrong, listed >= n + 3 ? "all" : "too few");
  CHILD("a child has them too", { _exit(pread(fd[n - 1], &v, sizeof v, 0) == sizeof v && v == n - 1 ? 0 : 1); });
  for (int i = 0; i < n; i++) wrong += close(fd[i]) != 0;
  for (int i = 0; i < n; i++) {
    sprintf(name, "f%d", i);
    wrong += unlink(name) != 0;
  }
  say("wrong %d", wrong);
  return wrong != 0;
}
