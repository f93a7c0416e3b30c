/*
 * Wants everything of what its container has a bound on: processes that make processes, memory, processors. It hits its
 * own bounds, and dies or goes on; the other container forks, runs and lives as if nothing were.
 *
 * variants: forks memory processor calls signals
 * as: own-user shared-user
 * limits: tasks=40 memory=64
 * expect: goes on or killed by SIGKILL or exit 137
 * unrefused: yes
 * seconds: 8
 */
#include "pod.h"

int main(int argc, char **argv) {
  for (int signo = 1; signo < 65; signo++)
    if (signo != SIGCHLD) signal(signo, SIG_IGN);
  if (IS("forks"))
    for (;;) {
      pid_t child = fork();
      (void)child;
    }
  if (IS("memory"))
    for (;;) {
      char *at = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (at != MAP_FAILED) memset(at, 1, 16 << 20);
    }
  for (int i = 0; i < 16; i++)
    if (fork() == 0) break;
  if (IS("processor"))
    for (;;) __asm__ volatile("");
  if (IS("calls"))
    for (;;) {
      syscall(SYS_getppid);
      stat("/proc/self/status", &(struct stat){0});
    }
  pid_t self = getpid();
  for (;;) {
    kill(self, SIGUSR1);
    sigqueue(self, SIGRTMIN, (union sigval){0});
    if (!shares_pids()) kill(-1, SIGCONT);
  }
}
