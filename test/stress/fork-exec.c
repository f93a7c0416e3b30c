/* fork and exec in a row, of ourselves. Argument: how many. Prints a line at each tenth, so that one can watch. */
#include "../guest/guest.h"
#include <spawn.h>

int main(int argc, char **argv) {
  if (argc > 2) return atoi(argv[2]);
  begin_for(110);
  int n = argc > 1 ? atoi(argv[1]) : 5000, bad = 0, status;
  char *args[] = {argv[0], "x", "7", NULL};
  for (int i = 0; i < n; i++) {
    pid_t pid;
    if (i & 1) {
      if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ)) bad++;
    } else {
      pid = fork();
      if (pid < 0) { say("fork %d: %s", i, errno_name(errno)); _exit(1); }
      if (!pid) { execv("/proc/self/exe", args); _exit(99); }
    }
    bad += waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7;
    if ((i + 1) % (n / 10) == 0) say("done %d", i + 1);
  }
  say("failed %d", bad);
  return bad != 0;
}
