/* personality(2): reading, setting, inheritance, ADDR_NO_RANDOMIZE. */
#include "guest.h"
#include <sys/personality.h>

int main(int argc, char **argv) {
  if (argc > 1) {
    int local;
    if (argv[1][0] == 'p') say("after exec %x", personality(0xffffffff));
    else write(atoi(argv[2]), &(void *){&local}, sizeof(void *));
    _exit(0);
  }
  begin();
  TRY(personality(0xffffffff));
  TRY(personality(ADDR_NO_RANDOMIZE));
  say("%x", personality(0xffffffff));
  CHILD("fork", { say("%x", personality(0xffffffff)); execl("/proc/self/exe", "self", "p", NULL); });
  int p[2];
  NEED(pipe(p));
  char fd[8];
  sprintf(fd, "%d", p[1]);
  void *at[2];
  for (int i = 0; i < 2; i++) {
    pid_t kid = fork();
    if (!kid) { execl("/proc/self/exe", "self", "s", fd, NULL); _exit(1); }
    read(p[0], &at[i], sizeof *at);
    waitpid(kid, NULL, 0);
  }
  YES(at[0] == at[1]);
  TRY(personality(PER_LINUX));
  say("%x", personality(0xffffffff));
  return 0;
}
