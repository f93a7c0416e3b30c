/*
 * What attacks on the stub share: systrap's stub lies in the guest's own address space (src/native/mailbox.h), where a
 * guest can read it, jump into it, and have its instructions make the few calls that the host's filter lets pass there.
 */
#ifndef STUB_H
#define STUB_H

#include <setjmp.h>
#include <ucontext.h>
#include "../../src/native/mailbox.h"
#include "hostile.h"

/* The stub's code, with room: src/native/systrap.stub.c is some ten KiB. */
#define STUB_TEXT_SIZE 0x8000ul

__attribute__((unused)) static volatile struct slot *slot_of_thread(int n) { return (volatile struct slot *)(MAILBOX_BASE + n * SLOT_SIZE); }

static sigjmp_buf stub_rescue;
static long stub_result;
static uint64_t stub_gadget;

static void stub_on_fault(int signo, siginfo_t *info, void *context) {
  (void)info;
  stub_result = (long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX];
  siglongjmp(stub_rescue, signo);
}

/*
 * Finds an instruction `syscall` of the stub's that is followed by `ud2`: after the call the processor faults, and the
 * fault's handler comes back here. For one thread of the program.
 */
__attribute__((unused)) static void stub_open(void) {
  struct sigaction act = {.sa_sigaction = stub_on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &act, NULL);
  sigaction(SIGSEGV, &act, NULL);
  sigaction(SIGBUS, &act, NULL);
  volatile uint64_t at = STUB_BASE;
  if (sigsetjmp(stub_rescue, 1) != 0) cannot("the stub's code cannot be read");
  for (; at < STUB_BASE + STUB_TEXT_SIZE; at++) {
    const uint8_t *p = (const uint8_t *)at;
    if (p[0] == 0x0f && p[1] == 0x05 && p[2] == 0x0f && p[3] == 0x0b) break;
  }
  stub_gadget = at;
}

/* A system call made by the stub's own instruction: the host answers it, if its filter lets it. */
__attribute__((unused, noinline)) static long stub_call(long nr, long a, long b, long c, long d, long e, long f) {
  stub_result = -ENOSYS;
  if (sigsetjmp(stub_rescue, 1) == 0) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("jmp *%0" ::"b"(stub_gadget), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "memory");
  }
  return stub_result;
}

/* Makes the stub's code ours to change, page by page: where it ends. */
__attribute__((unused)) static uint64_t stub_make_writable(void) {
  uint64_t at = STUB_BASE;
  while (stub_call(SYS_mprotect, (long)at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0) == 0) at += 4096;
  if (at < STUB_BASE + 8192) cannot("the stub's code cannot be made writable");
  return at;
}

#endif
