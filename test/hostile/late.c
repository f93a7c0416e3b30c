/*
 * Processes that answer the kernel's commands themselves and rightly, each a little too late every time: not late enough
 * to be told from honest ones, but everybody whose call they get between would wait for all of them.
 *
 * platforms: systrap
 * expect: exit 0
 * prints: ^\d+ late answers\n$
 * seconds: 40
 */
#include <linux/futex.h>
#include "stub.h"

#define PROCESSES 40
#define LATE_NS 9000000

/* The `syscall; ud2` of the stub as a function: the second instruction becomes a return. */
static long (*gadget)(void);
static long raw_call(long nr, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  long result;
  __asm__ volatile("call *%1" : "=a"(result) : "r"(gadget), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}
static void ring(void) {
  static uint64_t one = 1;
  if (((volatile struct info *)INFO_BASE)->kernel_sleeping) raw_call(SYS_write, FD_DOORBELL, (long)&one, 8, 0);
}
static void post_event(volatile struct slot *slot, uint32_t event) {
  slot->event = event;
  __atomic_store_n(&slot->state, STATE_EVENT, __ATOMIC_SEQ_CST);
  if (slot->kernel_waiting) raw_call(SYS_futex, (long)&slot->state, FUTEX_WAKE, 1, 0);
  ring();
}
static void await_reply(volatile struct slot *slot) {
  for (uint32_t state; (state = slot->state) != STATE_REPLY;) {
    slot->stub_sleeping = 1;
    __sync_synchronize();
    if (slot->state == state) raw_call(SYS_futex, (long)&slot->state, FUTEX_WAIT, state, 0);
    slot->stub_sleeping = 0;
  }
}

int main(void) {
  stub_open();
  stub_make_writable();
  ((volatile uint8_t *)stub_gadget)[2] = 0xc3;
  gadget = (long (*)(void))stub_gadget;
  volatile long *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t pids[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    pids[i] = fork();
    if (pids[i] < 0) cannot("fork");
    if (pids[i] > 0) continue;
    char *page = map_anonymous(4096);
    volatile struct slot *slot = slot_of_thread(0);
    static uint32_t word = 1;
    while (shared[0] == 0) usleep(1000);
    for (int prot = PROT_READ;; prot ^= PROT_WRITE) {
      slot->regs[15] = SYS_mprotect;
      slot->regs[14] = (uint64_t)page;
      slot->regs[13] = 4096;
      slot->regs[12] = (uint64_t)prot;
      slot->nprefetch = 0;
      post_event(slot, EVENT_SYSCALL);
      for (;;) {
        await_reply(slot);
        if (slot->reply != REPLY_COMMAND) break;
        struct timespec late = {0, LATE_NS};
        raw_call(SYS_futex, (long)&word, FUTEX_WAIT, 1, (long)&late);
        slot->command.result = slot->command.op == OP_MMAP ? (int64_t)slot->command.a[0] : 0;
        __sync_fetch_and_add(&shared[1], 1);
        post_event(slot, EVENT_DONE);
      }
      slot->state = STATE_RUNNING;
    }
  }
  shared[0] = 1;
  sleep(6);
  for (int i = 0; i < PROCESSES; i++) kill(pids[i], SIGKILL);
  while (wait(NULL) > 0);
  printf("%ld late answers\n", shared[1]);
  return 0;
}
