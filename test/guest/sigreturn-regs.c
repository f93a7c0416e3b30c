/* The register state across a signal: the handler sees it, may change it, and everything else comes back intact. */
#include "guest.h"
#include <ucontext.h>

static volatile long seen[16];
static volatile int hits;

static void look(int n, siginfo_t *si, void *context) {
  (void)n, (void)si;
  ucontext_t *uc = context;
  for (int i = 0; i < 16; i++) seen[i] = uc->uc_mcontext.gregs[i];
  hits++;
}

static void change(int n, siginfo_t *si, void *context) {
  (void)n, (void)si;
  ucontext_t *uc = context;
  uc->uc_mcontext.gregs[REG_R12] = 0x1234567890;
  uc->uc_mcontext.gregs[REG_RAX] = 77;
  uc->uc_mcontext.gregs[REG_EFL] |= 1; /* carry */
  sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void skip(int n, siginfo_t *si, void *context) {
  (void)n, (void)si;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2; /* over ud2 */
  hits++;
}

int main(void) {
  begin();
  handle_info(SIGUSR1, look, 0);
  long pid = getpid(), ok;
  /* Load every callee register with a pattern, send the signal by a raw syscall, compare afterwards. */
  __asm__ volatile(
    "push %%rbp\n"
    "mov $0x1111111111111111, %%rbx\n mov $0x2222222222222222, %%rbp\n mov $0x3333333333333333, %%r8\n"
    "mov $0x4444444444444444, %%r9\n mov $0x5555555555555555, %%r10\n mov $0x6666666666666666, %%r12\n"
    "mov $0x7777777777777777, %%r13\n mov $0x8888888888888888, %%r14\n mov $0x9999999999999999, %%r15\n"
    "mov $0xaaaaaaaaaaaaaaaa, %%rdx\n"
    "mov $10, %%esi\n mov $62, %%eax\n syscall\n"
    "xor %%ecx, %%ecx\n"
    "mov $0x1111111111111111, %%r11\n cmp %%r11, %%rbx\n sete %%cl\n mov %%rcx, %%rax\n"
    "mov $0x2222222222222222, %%r11\n cmp %%r11, %%rbp\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x3333333333333333, %%r11\n cmp %%r11, %%r8\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x4444444444444444, %%r11\n cmp %%r11, %%r9\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x5555555555555555, %%r11\n cmp %%r11, %%r10\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x6666666666666666, %%r11\n cmp %%r11, %%r12\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x7777777777777777, %%r11\n cmp %%r11, %%r13\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x8888888888888888, %%r11\n cmp %%r11, %%r14\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0x9999999999999999, %%r11\n cmp %%r11, %%r15\n sete %%cl\n add %%rcx, %%rax\n"
    "mov $0xaaaaaaaaaaaaaaaa, %%r11\n cmp %%r11, %%rdx\n sete %%cl\n add %%rcx, %%rax\n"
    "pop %%rbp\n"
    : "=a"(ok) : "D"(pid) : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  say("%ld of 10 registers kept, %d handler call", ok, hits);
  YES(seen[REG_RBX] == 0x1111111111111111 && seen[REG_RBP] == 0x2222222222222222);
  YES(seen[REG_R12] == 0x6666666666666666 && seen[REG_R15] == (long)0x9999999999999999);
  YES(seen[REG_RAX] == 0);
  YES(seen[REG_RDI] == pid && seen[REG_RSI] == 10);

  handle_info(SIGUSR1, change, 0);
  long r12 = 0, rax = 0, carry = 0;
  __asm__ volatile("mov $62, %%eax\n mov $10, %%esi\n xor %%r12, %%r12\n syscall\n setc %%cl\n movzx %%cl, %2\n mov %%r12, %1\n"
    : "=a"(rax), "=r"(r12), "=r"(carry) : "D"(pid) : "rcx", "rsi", "r11", "r12", "memory", "cc");
  say("changed: rax %ld r12 %lx carry %ld", rax, r12, carry);
  sigset_t set;
  sigprocmask(SIG_BLOCK, NULL, &set);
  YES(sigismember(&set, SIGUSR2));

  handle_info(SIGILL, skip, 0);
  hits = 0;
  __asm__ volatile("ud2; ud2; ud2");
  say("skipped %d", hits);

  say("-- a failed syscall changes only rax, rcx, r11");
  long rdi = 0x77, rsi = 0x88, rdx = 0x99, ret;
  register long r10 __asm__("r10") = 0xaa;
  register long r8 __asm__("r8") = 0xbb;
  register long r9 __asm__("r9") = 0xcc;
  __asm__ volatile("syscall" : "=a"(ret), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9) : "0"(9999L) : "rcx", "r11", "memory");
  say("%ld: %lx %lx %lx %lx %lx %lx", ret, rdi, rsi, rdx, r10, r8, r9);
  YES(syscall(-1) == -1 && errno == ENOSYS);
  YES(syscall(1000000) == -1 && errno == ENOSYS);
  unsigned long flags_before, flags_after;
  __asm__ volatile("std\n pushfq\n pop %0\n mov $39, %%eax\n syscall\n pushfq\n pop %1\n cld" : "=&r"(flags_before), "=&r"(flags_after) :: "rax", "rcx", "r11", "memory", "cc");
  YES(flags_before == flags_after);
  return 0;
}
