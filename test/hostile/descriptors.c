/*
 * A stub that says its mappings are done and never takes the descriptors that were sent for them: its socket fills up,
 * and a kernel that waits for room waits for ever.
 *
 * platforms: systrap
 * expect: killed by SIGKILL
 * seconds: 30
 */
#include "stub.h"

static volatile int runs;
/* Runs guest code, so that the kernel looks at its slot. */
static void *runner(void *arg) {
  (void)arg;
  runs = 1;
  for (;;) __asm__ volatile("pause");
  return NULL;
}

int main(void) {
  int file = open("/proc/self/exe", O_RDONLY);
  if (file < 0) cannot("a file to map");
  volatile struct slot *slot = slot_of_thread(1);
  pthread_t t;
  if (pthread_create(&t, NULL, runner, NULL) != 0) cannot("a thread");
  while (!runs) usleep(1000);
  usleep(50000);
  /* In its name we call mmap, over and over, and answer for its stub. */
  for (int n = 0; n < 100000; n++) {
    slot->regs[15] = SYS_mmap;
    slot->regs[14] = 0;
    slot->regs[13] = 4096;
    slot->regs[12] = PROT_READ;
    slot->regs[7] = MAP_PRIVATE;
    slot->regs[9] = (uint64_t)file;
    slot->regs[8] = 0;
    slot->event = EVENT_SYSCALL;
    if (slot->state == STATE_REPLY && slot->reply == REPLY_COMMAND && slot->command.op == OP_MMAP) {
      slot->command.result = (int64_t)slot->command.a[0];
      slot->event = EVENT_DONE;
    }
    __atomic_store_n(&slot->state, STATE_EVENT, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 200; i++) __asm__ volatile("pause");
  }
  return 0;
}
