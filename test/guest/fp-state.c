/* Floating point and vector state: kept across system calls, signals, fork and thread creation; mxcsr and x87 control. */
#include "guest.h"
#include <fenv.h>
#include <math.h>
#include <xmmintrin.h>

static volatile int hits;
static volatile double sink;

/* A handler that ruins every vector register and the control words of its own frame. */
static void ruin(int n) {
  (void)n;
  hits++;
  __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm1, %%xmm1\n pcmpeqd %%xmm5, %%xmm5\n pcmpeqd %%xmm15, %%xmm15\n fninit\n fldpi\n fldpi" ::: "xmm0", "xmm1", "xmm5", "xmm15");
  _mm_setcsr(0x1f80);
}

static const uint64_t pattern[4] = {0x0123456789abcdef, 0xfedcba9876543210, 0xaaaaaaaa55555555, 0x1111222233334444};

/* Load registers, run one system call, read them back: how many of the four survived. */
static int across(long nr, long a, long b) {
  uint64_t out[8];
  long ret = nr;
  __asm__ volatile(
    "movdqu (%[p]), %%xmm0\n movdqu 16(%[p]), %%xmm1\n movdqu (%[p]), %%xmm8\n movdqu 16(%[p]), %%xmm15\n"
    "syscall\n"
    "movdqu %%xmm0, (%[o])\n movdqu %%xmm1, 16(%[o])\n movdqu %%xmm8, 32(%[o])\n movdqu %%xmm15, 48(%[o])\n"
    : "+a"(ret) : [o] "r"(out), "D"(a), "S"(b), "d"(0L), [p] "r"(pattern) : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm8", "xmm15");
  return !memcmp(out, pattern, 16) + !memcmp(out + 2, pattern + 2, 16) + !memcmp(out + 4, pattern, 16) + !memcmp(out + 6, pattern + 2, 16);
}

static unsigned short fpu_control(void) {
  unsigned short cw;
  __asm__ volatile("fnstcw %0" : "=m"(cw));
  return cw;
}

static void *thread(void *unused) {
  (void)unused;
  say("thread: mxcsr %x control %x", _mm_getcsr() & 0xffc0, fpu_control());
  double x = 1.0;
  for (int i = 0; i < 1000; i++) { x = x * 1.0000001 + 0.5; if (i % 100 == 0) sched_yield(); }
  sink = x;
  return NULL;
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    say("after exec: mxcsr %x control %x", _mm_getcsr(), fpu_control());
    _exit(0);
  }
  begin();
  say("start: mxcsr %x control %x", _mm_getcsr(), fpu_control());
  TRY(across(SYS_getppid, 0, 0));
  TRY(across(SYS_sched_yield, 0, 0));
  TRY(across(SYS_stat, (long)"/tmp", (long)&(struct stat){0}));
  struct timespec t = {0, 1000000};
  TRY(across(SYS_nanosleep, (long)&t, 0));
  TRY(across(SYS_mmap, 0, 4096));
  TRY(across(99999, 0, 0));
  handle(SIGUSR1, ruin, 0);
  TRY(across(SYS_kill, getpid(), SIGUSR1));
  TRY(hits);

  say("-- control words over a signal");
  _mm_setcsr(0x7f80); /* round toward zero */
  unsigned short cw = 0x27f; /* double precision */
  __asm__ volatile("fldcw %0" ::"m"(cw));
  raise(SIGUSR1);
  say("mxcsr %x control %x", _mm_getcsr(), fpu_control());
  long double st = 3.25L;
  __asm__ volatile("fldt %0" ::"m"(st));
  syscall(SYS_kill, getpid(), SIGUSR1);
  long double back;
  __asm__ volatile("fstpt %0" : "=m"(back));
  YES(back == 3.25L);
  CHILD("fork", { say("mxcsr %x control %x", _mm_getcsr(), fpu_control()); });
  pthread_t th;
  pthread_create(&th, NULL, thread, NULL);
  pthread_join(th, NULL);
  CHILD("exec", { execl("/proc/self/exe", "self", "x", NULL); });
  TRY(across(SYS_getppid, 0, 0));
  pid_t kid = syscall(SYS_fork);
  if (!kid) _exit(across(SYS_getppid, 0, 0));
  reap("vectors in a forked child", kid);

  say("-- a signal at any instruction");
  _mm_setcsr(0x1f80);
  cw = 0x37f;
  __asm__ volatile("fldcw %0" ::"m"(cw));
  struct itimerval every = {{0, 500}, {0, 500}};
  handle(SIGALRM, ruin, SA_RESTART);
  setitimer(ITIMER_REAL, &every, NULL);
  hits = 0;
  int wrong = 0;
  double first = 0;
  for (int round = 0; round < 100000 && (hits < 50 || round < 200); round++) {
    double a = 1, b = 2, c = 3, d = 4;
    for (int i = 0; i < 2000; i++) { a = a * 0.999 + b * 0.001; b = b * 0.998 + c * 0.002; c = c * 0.997 + d * 0.003; d = d * 0.996 + a * 0.004; }
    double sum = a + b * 3 + c * 5 + d * 7;
    if (round == 0) first = sum;
    wrong += sum != first;
  }
  every = (struct itimerval){0};
  setitimer(ITIMER_REAL, &every, NULL);
  alarm(10);
  YES(hits >= 50);
  TRY(wrong);

  say("-- exceptions");
  feenableexcept(FE_DIVBYZERO);
  CHILD("unmasked division", { handle(SIGFPE, SIG_DFL, 0); volatile double zero = 0; sink = 1.0 / zero; });
  fedisableexcept(FE_DIVBYZERO);
  volatile double zero = 0;
  sink = 1.0 / zero;
  YES(isinf(sink) && fetestexcept(FE_DIVBYZERO));

  say("-- AVX, where there is one");
  if (__builtin_cpu_supports("avx")) {
    uint64_t in[4] = {1, 2, 3, 4}, out[4];
    long ret;
    __asm__ volatile("vmovdqu %[i], %%ymm7\n mov $39, %%eax\n syscall\n mov %%eax, %%edi\n mov $10, %%esi\n mov $62, %%eax\n syscall\n vmovdqu %%ymm7, %[o]\n vzeroupper"
      : "=&a"(ret), [o] "=m"(out) : [i] "m"(in) : "rcx", "r11", "rdi", "rsi", "memory", "xmm7");
    say("%d", memcmp(in, out, sizeof in));
  } else {
    say("0");
  }
  return 0;
}
