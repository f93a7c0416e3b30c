/* Thread-local storage: arch_prctl, FS per thread, across signals, fork and system calls; GS. */
#include "guest.h"
#include <asm/prctl.h>

static __thread int mine = 11;
static __thread char big[5000] = "initial";
static volatile int in_handler;
static void on_signal(int n) { (void)n; in_handler = mine; mine++; }

static int arch(int code, unsigned long addr) { return syscall(SYS_arch_prctl, code, addr); }

static void *thread(void *arg) {
  int n = (int)(intptr_t)arg, wrong = 0;
  mine = n;
  for (int i = 0; i < 300; i++) {
    if (i % 3 == 0) sched_yield();
    else getppid();
    wrong += mine != n;
    if (i % 50 == 0) usleep(10);
  }
  unsigned long fs;
  arch(ARCH_GET_FS, (unsigned long)&fs);
  unsigned long self;
  __asm__("mov %%fs:0, %0" : "=r"(self));
  return (void *)(intptr_t)(wrong + (fs != self) * 1000 + (strcmp(big, "initial") != 0) * 10000);
}

int main(void) {
  begin();
  TRY(mine);
  pthread_t t[8];
  void *r;
  for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, thread, (void *)(intptr_t)(100 + i));
  int wrong = 0;
  for (int i = 0; i < 8; i++) { pthread_join(t[i], &r); wrong += (int)(intptr_t)r; }
  TRY(wrong);
  TRY(mine);
  handle(SIGUSR1, on_signal, 0);
  raise(SIGUSR1);
  say("in handler %d, after %d", in_handler, mine);
  CHILD("fork", { say("%d", mine); mine = 99; });
  TRY(mine);

  say("-- GS");
  unsigned long gs = 1, area[4] = {0x1122334455667788, 2, 3, 4};
  TRY(arch(ARCH_GET_GS, (unsigned long)&gs));
  TRY(gs);
  TRY(arch(ARCH_SET_GS, (unsigned long)area));
  TRY(arch(ARCH_GET_GS, (unsigned long)&gs));
  YES(gs == (unsigned long)area);
  unsigned long v;
  __asm__ volatile("mov %%gs:0, %0" : "=r"(v));
  YES(v == area[0]);
  raise(SIGUSR1);
  getppid();
  usleep(100);
  __asm__ volatile("mov %%gs:8, %0" : "=r"(v));
  TRY(v);
  CHILD("inherited", { __asm__ volatile("mov %%gs:16, %0" : "=r"(v)); TRY(v); });
  say("-- errors");
  TRY(arch(ARCH_SET_FS, 0xffff800000000000));
  TRY(arch(ARCH_SET_GS, 0xffff800000000000));
  TRY(arch(ARCH_GET_FS, 8));
  TRY(arch(0x9999, 0));
  return 0;
}
