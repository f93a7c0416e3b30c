/*
 * Reads the memory of a program that may be executed and not read, while execve is bringing it in: what the old program
 * let others do must not count for the new one.
 *
 * expect: exit 0
 * prints: ^[1-9]\d* programs, seen 0 times\n$
 * seconds: 30
 */
#include <sys/prctl.h>
#include "hostile.h"

#define PROGRAM "/tmp/hostile-unreadable"
/* Not in one piece in this program's own memory. */
static char secret[] = "this is what the program keeps";

int main(int argc, char **argv) {
  if (IS("run")) {
    usleep(2000);
    return secret[0] == 0;
  }
  char command[200];
  snprintf(command, sizeof command, "cp /proc/%d/exe %s && chmod 0711 %s", getpid(), PROGRAM, PROGRAM);
  if (system(command) != 0) cannot("a program");
  if (setgid(65534) < 0 || setuid(65534) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0) cannot("another user");
  if (open(PROGRAM, O_RDONLY) >= 0 || errno != EACCES) cannot("the program can be read");
  int programs = 0, seen = 0;
  uintptr_t page = (uintptr_t)secret & ~4095ul;
  memset(secret, 'x', sizeof secret - 1);
  for (time_t end = time(NULL) + 5; time(NULL) < end; programs++) {
    pid_t pid = fork();
    if (pid < 0) cannot("fork");
    if (pid == 0) {
      execl(PROGRAM, PROGRAM, "run", (char *)NULL);
      _exit(1);
    }
    while (waitpid(pid, NULL, WNOHANG) == 0) {
      char buffer[8192];
      struct iovec local = {buffer, sizeof buffer}, remote = {(void *)page, sizeof buffer};
      if (process_vm_readv(pid, &local, 1, &remote, 1, 0) > 0 && memmem(buffer, sizeof buffer, "what the program keeps", 22)) seen++;
    }
  }
  unlink(PROGRAM);
  printf("%d programs, seen %d times\n", programs, seen);
  return 0;
}
