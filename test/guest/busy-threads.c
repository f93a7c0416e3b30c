/* Threads that hardly ever make a system call: one computes in registers of all kinds, one reads the clocks through the
 * vDSO, one is interrupted by a timer all the time. What they see is right at every moment, whatever happens meanwhile to
 * the process (it may be saved and restored, with all its clocks). */
#include "guest.h"
#include <immintrin.h>
#include <stdatomic.h>

static atomic_bool stop;

/* Sums that take some time, in general, x87 and vector registers at once; the same each time. */
__attribute__((noinline, target("sse2"))) static double sums(void) {
  __m128d a = _mm_set_pd(1, 2), b = _mm_set_pd(0.5, 0.25), c = a, d = b, e = a, f = b;
  long double x = 1;
  unsigned long n = 88172645463325252ul;
  for (int i = 0; i < 200000; i++) {
    a = _mm_add_pd(a, b);
    c = _mm_mul_pd(_mm_add_pd(c, d), _mm_set1_pd(0.5));
    e = _mm_sub_pd(f, _mm_mul_pd(e, _mm_set1_pd(0.25)));
    x = x * 0.999l + 0.001l * i;
    n ^= n << 13;
    n ^= n >> 7;
    n ^= n << 17;
  }
  double out[6];
  _mm_storeu_pd(out, a);
  _mm_storeu_pd(out + 2, c);
  _mm_storeu_pd(out + 4, e);
  return out[0] + out[1] + out[2] + out[3] + out[4] + out[5] + (double)x + (double)(n >> 40);
}

static void *computes(void *arg) {
  const double first = sums();
  long wrong = 0, rounds = 0;
  for (; !stop; rounds++) wrong += sums() != first;
  *(bool *)arg = wrong == 0 && rounds > 0;
  return NULL;
}

static void *reads_clocks(void *arg) {
  static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
  struct timespec last[4] = {0}, now;
  long back = 0, far = 0, rounds = 0;
  for (; !stop || rounds < 1000; rounds++)
    for (int i = 0; i < 4; i++) {
      clock_gettime(clocks[i], &now);
      long ns = (now.tv_sec - last[i].tv_sec) * 1000000000l + now.tv_nsec - last[i].tv_nsec;
      if (last[i].tv_sec != 0) {
        back += ns < 0;
        far += ns > 10000000000l;
      }
      last[i] = now;
    }
  *(bool *)arg = back == 0 && far == 0;
  return NULL;
}

static atomic_int ticks;
static void on_tick(int signo) {
  (void)signo;
  ticks++;
}
static void *is_interrupted(void *arg) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  volatile unsigned long sum = 0;
  unsigned long expected = 0;
  for (unsigned long i = 0; !stop || ticks < 10; i++) {
    sum = sum + i * i;
    expected += i * i;
  }
  *(bool *)arg = sum == expected && ticks >= 10;
  return NULL;
}

int main(void) {
  begin();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  handle(SIGUSR2, on_tick, SA_RESTART);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
  timer_t timer;
  TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
  struct itimerspec every = {{0, 2000000}, {0, 2000000}};
  TRY(timer_settime(timer, 0, &every, NULL));
  void *(*work[])(void *) = {computes, reads_clocks, is_interrupted};
  pthread_t threads[3];
  bool right[3] = {false, false, false};
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, work[i], &right[i]);
  struct timespec before, after, nap = {0, 1000000};
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (int i = 0; i < 100; i++) {
    getppid();
    nanosleep(&nap, NULL);
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  YES((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec - before.tv_nsec >= 100000000);
  stop = true;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  say("sums: %s", right[0] ? "right" : "wrong");
  say("clocks: %s", right[1] ? "right" : "wrong");
  say("interrupted: %s", right[2] ? "right" : "wrong");
  return 0;
}
