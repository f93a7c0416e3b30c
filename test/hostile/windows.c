/*
 * Threads come and go, and their mailbox slots never say that they have gone: each would keep one of the windows that the
 * kernel has for all guests.
 *
 * platforms: systrap
 * expect: exit 0
 * prints: ^forks work\n$
 * seconds: 90
 */
#include "stub.h"

#define PROCESSES 5
#define THREADS 4000

static char stack[65536];
static int thread(void *arg) {
  (void)arg;
  return 0;
}

int main(void) {
  pid_t pids[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    pids[p] = fork();
    if (pids[p] < 0) cannot("fork");
    if (pids[p] > 0) continue;
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    for (int i = 1; i < THREADS; i++) {
      volatile pid_t tid = 0;
      if (clone(thread, stack + sizeof stack - 64, flags, NULL, &tid, NULL, &tid) < 0) break;
      while (tid != 0) sched_yield();
      for (int k = 0; k < 200 && slot_of_thread(i)->state != STATE_EXITED; k++) sched_yield();
      slot_of_thread(i)->state = STATE_RUNNING;
    }
    for (;;) pause();
  }
  int failed = 0;
  for (time_t end = time(NULL) + 12; time(NULL) < end; usleep(200000)) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0) failed++;
    else waitpid(pid, NULL, 0);
  }
  for (int p = 0; p < PROCESSES; p++) kill(pids[p], SIGKILL);
  if (failed) printf("%d forks failed\n", failed);
  else printf("forks work\n");
  return 0;
}
