/*
 * A process that does not heed what the kernel interrupts it for: its stub's code is one endless loop, and it has robust
 * futexes (or shares its memory with another process), so that the kernel would like its threads to come and end.
 *
 * platforms: systrap
 * variants: robust shared
 * expect: exit 0
 * prints: ^ended\n$
 * seconds: 40
 */
#include <linux/futex.h>
#include "stub.h"

static struct robust_list_head head;
static struct robust_list node;

static void loop(void) {
  uint64_t end = stub_make_writable();
  for (uint8_t *p = (uint8_t *)STUB_BASE + 0x1000; p + 1 < (uint8_t *)end; p += 2) p[0] = 0xeb, p[1] = 0xfe;
  for (;;) __asm__ volatile("pause");
}
static int second(void *arg) {
  (void)arg;
  for (;;) pause();
  return 0;
}

int main(int argc, char **argv) {
  pid_t pid = fork();
  if (pid < 0) cannot("fork");
  if (pid == 0) {
    stub_open();
    if (IS("robust")) {
      head.list.next = &node;
      node.next = &head.list;
      if (syscall(SYS_set_robust_list, &head, sizeof head) < 0) cannot("set_robust_list");
    } else {
      static char stack[65536];
      if (clone(second, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL) < 0) cannot("clone");
    }
    loop();
  }
  usleep(500000);
  kill(pid, SIGKILL);
  for (int i = 0; i < 200; i++) {
    if (waitpid(pid, NULL, WNOHANG) == pid) {
      printf("ended\n");
      return 0;
    }
    usleep(100000);
  }
  printf("still there\n");
  return 0;
}
