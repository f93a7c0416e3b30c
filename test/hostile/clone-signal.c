/*
 * The exit signal of clone(2) is a byte: 65..255 are no signals. A child that has such a one faults, exits, is killed, or
 * is adopted; its parent must hear of it and nobody else be harmed. Linux sends nothing, and the child is reaped with
 * __WALL.
 *
 * variants: fault exit kill orphan
 * prints: reaped 1
 */
#include "hostile.h"

int main(int argc, char **argv) {
  int status = -1;
  if (IS("orphan")) {
    /* The middle one goes first: the child with the odd signal gets another parent. */
    if (fork() == 0) {
      if (syscall(SYS_clone, 255, 0, 0, 0, 0) == 0) {
        usleep(100000);
        _exit(0);
      }
      _exit(0);
    }
    wait(NULL);
    usleep(300000);
    puts("reaped 1");
    return 0;
  }
  long pid = syscall(SYS_clone, IS("kill") ? 65 : 200, 0, 0, 0, 0);
  if (pid == 0) {
    if (IS("fault")) *(volatile int *)8 = 1;
    if (IS("kill")) pause();
    _exit(0);
  }
  if (IS("kill")) kill((pid_t)pid, SIGKILL);
  printf("reaped %d\n", waitpid((pid_t)pid, &status, __WALL) == pid);
  return 0;
}
