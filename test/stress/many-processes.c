/* Processes alive at once: all are started, all answer, all are reaped. Argument: how many. */
#include "../guest/guest.h"

int main(int argc, char **argv) {
  begin_for(60);
  int n = argc > 1 ? atoi(argv[1]) : 200, to[2], from[2];
  NEED(pipe(to));
  NEED(pipe(from));
  pid_t *kids = calloc(n, sizeof *kids);
  for (int i = 0; i < n; i++) {
    kids[i] = fork();
    if (kids[i] < 0) { say("fork %d: %s", i, errno_name(errno)); _exit(1); }
    if (!kids[i]) {
      close(to[1]);
      int answer = i;
      char c;
      if (write(from[1], &answer, sizeof answer) != sizeof answer) _exit(1);
      _exit(read(to[0], &c, 1) == 0 ? 0 : 2); /* until the parent lets go */
    }
  }
  long sum = 0;
  for (int i = 0; i < n; i++) {
    int answer;
    if (read(from[0], &answer, sizeof answer) != sizeof answer) { say("lost an answer"); _exit(1); }
    sum += answer;
  }
  int alive = 0;
  for (int i = 0; i < n; i++) alive += kill(kids[i], 0) == 0;
  say("alive %d, sum %s", alive, sum == (long)n * (n - 1) / 2 ? "right" : "wrong");
  close(to[1]);
  int bad = 0, status;
  for (int i = 0; i < n; i++) bad += waitpid(kids[i], &status, 0) != kids[i] || status != 0;
  say("failed %d", bad);
  return bad != 0;
}
