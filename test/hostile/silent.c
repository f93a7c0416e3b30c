/*
 * Stubs that owe the kernel an answer and do not give it: one or ten processes whose stub's code has been overwritten, so
 * that it computes, sleeps, or makes one call after the other when the kernel asks it to save its registers.
 *
 * platforms: systrap
 * variants: spin sleep calls spin-many sleep-many calls-many
 * expect: exit 0
 * prints: ^(\d+) of \1 were ended\n$
 * seconds: 60
 */
#include "stub.h"

/* Where every instruction of the stub leads to: no-ops, and at the end one of these. */
static const uint8_t spin[] = {0xeb, 0xfe};
/* mov $202,%eax; mov %rsp,%rdi; xor %esi,%esi; mov (%rsp),%edx; xor %r10d,%r10d; syscall; jmp back */
static const uint8_t sleeping[] = {0xb8, 202, 0, 0, 0, 0x48, 0x89, 0xe7, 0x31, 0xf6, 0x8b, 0x14, 0x24, 0x45, 0x31, 0xd2, 0x0f, 0x05, 0xeb, 0xec};
/* mov $28,%eax; mov $0x7fe100000000,%rdi; mov $0x1000000,%esi; mov $4,%edx; syscall; jmp back: madvise over and over */
static const uint8_t calls[] = {0xb8, 28, 0, 0, 0, 0x48, 0xbf, 0, 0, 0, 0, 0xe1, 0x7f, 0, 0, 0xbe, 0, 0, 0x10, 0, 0xba, 21, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xe3};

static volatile int sleeps;
static void *sleeper(void *arg) {
  sigset_t usr;
  (void)arg;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR2);
  pthread_sigmask(SIG_UNBLOCK, &usr, NULL);
  sleeps = 1;
  for (;;) pause();
  return NULL;
}
static void on_usr(int signo) { (void)signo; }

/* A process whose other thread waits in the kernel; then its stub's code goes. */
static void attack(const uint8_t *end, size_t size) {
  pthread_t t;
  sigset_t usr;
  /* The signal is for the thread that waits. */
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr, NULL);
  signal(SIGUSR2, on_usr);
  stub_open();
  if (pthread_create(&t, NULL, sleeper, NULL) != 0) cannot("a thread");
  while (!sleeps) usleep(1000);
  usleep(50000);
  uint8_t *text = (uint8_t *)STUB_BASE + 0x1000;
  /* The last page is not the stub's for the filter: its calls are trapped as guests' are. */
  size_t length = stub_make_writable() - 4096 - (uint64_t)text;
  memset(text, 0x90, length - size);
  memcpy(text + length - size, end, size);
  for (;;) __asm__ volatile("pause");
}

int main(int argc, char **argv) {
  int count = strstr(VARIANT, "-many") ? 10 : 1, ended = 0;
  pid_t pids[10];
  for (int i = 0; i < count; i++) {
    pids[i] = fork();
    if (pids[i] < 0) cannot("fork");
    if (pids[i] == 0) {
      if (strncmp(VARIANT, "spin", 4) == 0) attack(spin, sizeof spin);
      if (strncmp(VARIANT, "sleep", 5) == 0) attack(sleeping, sizeof sleeping);
      attack(calls, sizeof calls);
    }
  }
  usleep(1500000);
  /* The kernel now has to write a signal frame in each of them. */
  for (int i = 0; i < count; i++) kill(pids[i], SIGUSR2);
  usleep(4000000);
  for (int i = 0; i < count; i++) {
    int status;
    if (waitpid(pids[i], &status, WNOHANG) == pids[i] && WIFSIGNALED(status)) ended++;
    else kill(pids[i], SIGKILL);
  }
  printf("%d of %d were ended\n", count, ended);
  return 0;
}
