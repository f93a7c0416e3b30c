/* vfork(2): the parent waits for exec or exit and sees the child's writes; posix_spawn reports exec's error. */
#include "guest.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv) {
  if (argc > 1) return atoi(argv[1]);
  begin();
  volatile int shared = 0;
  int status;
  pid_t pid = vfork();
  if (!pid) {
    shared = 1;
    usleep(20000);
    shared = 2;
    _exit(3);
  }
  TRY(shared);
  YES(waitpid(pid, &status, WNOHANG) == pid);
  say_status("vfork exit", status);
  pid = vfork();
  if (!pid) {
    shared = 5;
    execl("/proc/self/exe", "self", "7", NULL);
    _exit(9);
  }
  TRY(shared);
  reap("vfork exec", pid);
  pid = vfork();
  if (!pid) {
    execl("/nonexistent", "x", NULL);
    shared = errno;
    _exit(4);
  }
  say("child's exec: %s", errno_name(shared));
  reap("vfork failed exec", pid);
  pid = vfork();
  if (!pid) { raise(SIGKILL); _exit(0); }
  reap("vfork killed", pid);

  say("-- descriptors and directories are the child's own");
  pid = vfork();
  if (!pid) { close(0); chdir("/"); _exit(0); }
  waitpid(pid, &status, 0);
  char cwd[256];
  YES(getcwd(cwd, sizeof cwd) && strcmp(cwd, guest_dir) == 0);
  YES(fcntl(0, F_GETFD) >= 0 || errno == EBADF);

  say("-- posix_spawn");
  char *args[] = {argv[0], "12", NULL};
  ERR(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ));
  reap("spawned", pid);
  ERR(posix_spawn(&pid, "/nonexistent", NULL, NULL, args, environ));
  ERR(posix_spawn(&pid, "/tmp", NULL, NULL, args, environ));
  posix_spawn_file_actions_t fa;
  posix_spawn_file_actions_init(&fa);
  posix_spawn_file_actions_addopen(&fa, 1, "out", O_CREAT | O_WRONLY, 0600);
  char *echo[] = {"echo", "hello", NULL};
  ERR(posix_spawnp(&pid, "echo", &fa, NULL, echo, environ));
  reap("echo", pid);
  show_file("out");
  ERR(posix_spawnp(&pid, "no-such-program-anywhere", &fa, NULL, echo, environ));
  int s = system("exit 5");
  say_status("system", s);
  FILE *p = popen("echo from popen; exit 3", "r");
  char line[64] = "";
  fgets(line, sizeof line, p);
  say("%.10s", line);
  say_status("pclose", pclose(p));
  return 0;
}
