/* Faults as signals: number, si_code, si_addr and the instruction that did it, for each kind of fault. */
#include "guest.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile int sig, code;
static void *volatile address;
static volatile unsigned long rip, err, trap;

static void on_fault(int n, siginfo_t *si, void *context) {
  ucontext_t *uc = context;
  sig = n, code = si->si_code, address = si->si_addr;
  rip = uc->uc_mcontext.gregs[REG_RIP];
  err = uc->uc_mcontext.gregs[REG_ERR];
  trap = uc->uc_mcontext.gregs[REG_TRAPNO];
  siglongjmp(back, 1);
}

static void *expected;
static void show(const char *what) {
  say("%s: %s code %d addr %s trap %lu err %lu", what, signal_name(sig), code, address == expected ? "right" : address ? "other" : "zero", trap, err);
}

#define FAULT(what, want, ...) \
  do { expected = (void *)(want); if (!sigsetjmp(back, 1)) { __VA_ARGS__; say("%s: nothing happened", what); } else show(what); } while (0)

int main(void) {
  begin();
  int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (int i = 0; i < 5; i++) handle_info(signals[i], on_fault, 0);
  volatile char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  volatile char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  volatile char *rw = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap((void *)(rw + 4096), 4096);
  volatile char *null = (volatile char *)0x10;
  __asm__("" : "+r"(null));
  FAULT("read near NULL", 0x10, (void)*null);
  FAULT("write near NULL", 0x10, *null = 1);
  FAULT("call near NULL", 0x10, ((void (*)(void))null)());
  YES(rip == 0x10);
  FAULT("read PROT_NONE", none + 5, (void)none[5]);
  FAULT("write read-only", ro + 7, ro[7] = 1);
  FAULT("read past the end", rw + 4096, (void)rw[4096]);
  FAULT("write past the end", rw + 4097, rw[4097] = 1);
  FAULT("execute data", rw, rw[0] = 0xc3; ((void (*)(void))rw)());
  FAULT("write text", (void *)main, *(volatile char *)main = 0);
  FAULT("not canonical", 0, (void)*(volatile char *)NONCANONICAL_BAD);
  FAULT("kernel address", KERNEL_BAD, (void)*(volatile char *)KERNEL_BAD);
  volatile int zero = 0;
  FAULT("divide by zero", 0, __asm__ volatile("div %0" ::"r"(zero), "a"(1), "d"(0)));
  YES(address == (void *)rip);
  FAULT("divide overflow", 0, __asm__ volatile("idiv %0" ::"r"(-1), "a"(0x80000000), "d"(-1)));
  FAULT("illegal instruction", 0, __asm__ volatile("ud2"));
  YES(address == (void *)rip);
  FAULT("breakpoint", 0, __asm__ volatile("int3"));
  FAULT("privileged", 0, __asm__ volatile("hlt"));
  FAULT("port", 0, __asm__ volatile("outb %%al, $0x80" ::"a"(0)));
  FAULT("int 0x42", 0, __asm__ volatile("int $0x42"));
  FAULT("single step", 0, __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "cc", "memory"));

  say("-- files");
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
  NEED(ftruncate(fd, 100));
  volatile char *map = NEED(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  map[200] = 1;
  say("within the last page: %d", map[200]);
  FAULT("past the last page", map + 4096, (void)map[4096]);
  FAULT("write past the last page", map + 5000, map[5000] = 1);
  NEED(ftruncate(fd, 8192));
  map[4096] = 3;
  say("after growing: %d", map[4096]);
  NEED(ftruncate(fd, 0));
  FAULT("after truncation", map, (void)map[0]);

  say("-- mprotect changes the answer");
  mprotect((void *)ro, 4096, PROT_READ | PROT_WRITE);
  ro[7] = 9;
  mprotect((void *)ro, 4096, PROT_NONE);
  FAULT("now no access", ro + 7, (void)ro[7]);
  mprotect((void *)ro, 4096, PROT_READ);
  say("value kept: %d", ro[7]);

  say("-- sent by hand");
  expected = NULL;
  if (!sigsetjmp(back, 1)) kill(getpid(), SIGSEGV);
  say("kill(SIGSEGV): code %d", code);

  say("-- the default action");
  CHILD("segv", { signal(SIGSEGV, SIG_DFL); *null = 1; });
  CHILD("ignored segv", { signal(SIGSEGV, SIG_IGN); *null = 1; });
  CHILD("blocked segv", {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *null = 1;
  });
  CHILD("fpe", { signal(SIGFPE, SIG_DFL); __asm__ volatile("div %0" ::"r"(zero), "a"(1), "d"(0)); });
  CHILD("ill", { signal(SIGILL, SIG_DFL); __asm__ volatile("ud2"); });
  CHILD("trap", { signal(SIGTRAP, SIG_DFL); __asm__ volatile("int3"); });
  CHILD("bus", { signal(SIGBUS, SIG_DFL); map[0] = 1; });
  CHILD("a bad stack at delivery", {
    signal(SIGUSR1, (void (*)(int))ignore);
    __asm__ volatile("mov $8, %%rsp; mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi; mov $62, %%eax; syscall; ud2" ::: "rax", "rdi", "rsi", "rcx", "r11", "memory");
  });
  return 0;
}
