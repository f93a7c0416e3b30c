/*
 * The clocks of a sandbox that was started with clocks of its own: clocks MONOTONIC BOOTTIME LATER, in seconds. Every way of
 * reading them, every call with an absolute deadline, and /proc must agree that they began there at most LATER seconds ago.
 */
#include "../guest/vdso.h"
#include <linux/futex.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/times.h>

#define SECOND 1000000000ll
static int problems;
static int (*gettime)(clockid_t, struct timespec *);

__attribute__((format(printf, 2, 3))) static void want(bool right, const char *format, ...) {
  char text[256];
  va_list args;
  if (right) return;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  say("wrong: %s", text);
  problems++;
}

static int64_t in_ns(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }
static struct timespec from_ns(int64_t ns) { return (struct timespec){ns / SECOND, ns % SECOND}; }
static int64_t by_call(clockid_t id) {
  struct timespec t;
  NEED(syscall(SYS_clock_gettime, id, &t));
  return in_ns(&t);
}
static int64_t by_vdso(clockid_t id) {
  struct timespec t;
  if (!gettime) return by_call(id);
  NEED(gettime(id, &t));
  return in_ns(&t);
}

/* How long each wait is: long enough to be told from none, on a busy machine too. */
#define WAIT (SECOND / 20)
static void waited(const char *what, clockid_t id, int64_t deadline) {
  int64_t late = by_call(id) - deadline;
  want(late >= 0 && late < 5 * SECOND, "%s on clock %d ended %lld ns after its time", what, id, (long long)late);
}
static void at_once(const char *what, int64_t begun) {
  int64_t took = by_call(CLOCK_MONOTONIC) - begun;
  want(took < 2 * SECOND, "%s with a deadline that has passed took %lld ns", what, (long long)took);
}

static void sleeps(clockid_t id) {
  for (int past = 0; past < 2; past++) {
    int64_t now = by_call(id), at = past ? now - SECOND : now + WAIT;
    struct timespec t = from_ns(at);
    want(clock_nanosleep(id, TIMER_ABSTIME, &t, NULL) == 0, "clock_nanosleep on clock %d", id);
    if (past) at_once("clock_nanosleep", now);
    else waited("clock_nanosleep", id, at);
  }
}
static void timerfds(clockid_t id) {
  int fd = NEED(timerfd_create(id, 0));
  for (int past = 0; past < 2; past++) {
    int64_t now = by_call(id), at = past ? now - SECOND : now + WAIT;
    struct itimerspec its = {.it_value = from_ns(at)};
    uint64_t count = 0;
    NEED(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL));
    struct itimerspec left;
    NEED(timerfd_gettime(fd, &left));
    if (!past) want(in_ns(&left.it_value) <= WAIT, "timerfd_gettime on clock %d says %lld ns", id, (long long)in_ns(&left.it_value));
    want(read(fd, &count, 8) == 8 && count == 1, "timerfd on clock %d", id);
    if (past) at_once("timerfd", by_call(CLOCK_MONOTONIC));
    else waited("timerfd", id, at);
  }
  close(fd);
}
static void timers(clockid_t id) {
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  NEED(timer_create(id, &event, &timer));
  int64_t at = by_call(id) + WAIT;
  struct itimerspec its = {.it_value = from_ns(at)};
  NEED(timer_settime(timer, TIMER_ABSTIME, &its, NULL));
  struct timespec limit = {10, 0};
  want(sigtimedwait(&set, NULL, &limit) == SIGUSR1, "a timer on clock %d", id);
  waited("timer_settime", id, at);
  timer_delete(timer);
}
static void futexes(void) {
  uint32_t word = 0;
  for (int past = 0; past < 2; past++) {
    int64_t now = by_call(CLOCK_MONOTONIC), at = past ? now - SECOND : now + WAIT;
    struct timespec t = from_ns(at);
    long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY);
    want(r == -1 && errno == ETIMEDOUT, "futex: %ld", r);
    if (past) at_once("futex", now);
    else waited("futex", CLOCK_MONOTONIC, at);
  }
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t cond;
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&cond, &attr);
  pthread_mutex_lock(&mutex);
  int64_t at = by_vdso(CLOCK_MONOTONIC) + WAIT;
  struct timespec t = from_ns(at);
  want(pthread_cond_timedwait(&cond, &mutex, &t) == ETIMEDOUT, "pthread_cond_timedwait");
  waited("pthread_cond_timedwait", CLOCK_MONOTONIC, at);
}
static void relative(void) {
  int64_t begun = by_call(CLOCK_MONOTONIC);
  struct timespec t = from_ns(WAIT);
  want(poll(NULL, 0, WAIT / 1000000) == 0 && nanosleep(&t, NULL) == 0, "poll and nanosleep");
  waited("poll and nanosleep", CLOCK_MONOTONIC, begun + 2 * WAIT);
}

static const char *text_of(const char *path) {
  static char text[65536];
  int fd = NEED(open(path, O_RDONLY));
  int n = NEED(read(fd, text, sizeof text - 1));
  text[n] = 0;
  close(fd);
  return text;
}
static void in_proc(double boottime, double later) {
  double up = 0;
  sscanf(text_of("/proc/uptime"), "%lf", &up);
  double now = by_call(CLOCK_BOOTTIME) / 1e9;
  want(up <= now && now - up < 2, "/proc/uptime %f, CLOCK_BOOTTIME %f", up, now);
  struct sysinfo info;
  NEED(sysinfo(&info));
  want(info.uptime >= up - 1 && info.uptime < up + 10, "sysinfo %ld, /proc/uptime %f", info.uptime, up);
  const char *line = strstr(text_of("/proc/stat"), "\nbtime ");
  double btime = line ? atof(line + 7) : 0, expected = by_call(CLOCK_REALTIME) / 1e9 - by_call(CLOCK_BOOTTIME) / 1e9;
  want(btime > expected - 2 && btime < expected + 2, "btime %f, not %f", btime, expected);
  const char *fields = strrchr(text_of("/proc/self/stat"), ')');
  double start = 0;
  for (int i = 0; fields && i < 20; i++) fields = strchr(fields + 1, ' ');
  if (fields) start = atof(fields) / sysconf(_SC_CLK_TCK);
  want(start >= boottime - 0.02 && start <= boottime + later && start <= up + 0.02, "this process started at %f, up %f", start, up);
  struct tms tms;
  clock_t ticks = times(&tms);
  double seconds = (double)ticks / sysconf(_SC_CLK_TCK);
  now = by_call(CLOCK_MONOTONIC) / 1e9;
  want(seconds <= now && now - seconds < 2, "times %f, CLOCK_MONOTONIC %f", seconds, now);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  alarm(30);
  double monotonic = atof(argv[1]), boottime = atof(argv[2]), later = atof(argv[3]);
  gettime = symbol("__vdso_clock_gettime");
  static const struct { clockid_t id; bool boot, coarse; } clocks[] = {
    {CLOCK_MONOTONIC, false, false}, {CLOCK_MONOTONIC_RAW, false, false}, {CLOCK_MONOTONIC_COARSE, false, true},
    {CLOCK_BOOTTIME, true, false}, {CLOCK_BOOTTIME_ALARM, true, false}};
  for (int round = 0; round < 2; round++) {
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
      clockid_t id = clocks[i].id;
      int64_t a = by_call(id), b = by_vdso(id), c = by_call(id);
      int64_t slack = clocks[i].coarse ? SECOND / 50 : 0;
      double begun = clocks[i].boot ? boottime : monotonic, seconds = b / 1e9;
      want(a <= b + slack && b <= c + slack, "clock %d: %lld by call, %lld by vDSO, %lld by call", id, (long long)a, (long long)b, (long long)c);
      /* The raw clock's rate is another: it is off by as much as the two have drifted apart since the host was started. */
      double drift = id == CLOCK_MONOTONIC_RAW ? 60 : 0;
      want(seconds >= begun - 0.05 - drift && seconds <= begun + later + drift, "clock %d shows %f", id, seconds);
    }
    int64_t wall = by_call(CLOCK_REALTIME), vdso = by_vdso(CLOCK_REALTIME);
    want(vdso >= wall && vdso - wall < 5 * SECOND && wall > 1700000000 * SECOND, "CLOCK_REALTIME %lld, %lld", (long long)wall, (long long)vdso);
    if (round == 0) {
      sleeps(CLOCK_MONOTONIC);
      sleeps(CLOCK_BOOTTIME);
      sleeps(CLOCK_REALTIME);
      timerfds(CLOCK_MONOTONIC);
      timerfds(CLOCK_BOOTTIME);
      timers(CLOCK_MONOTONIC);
      timers(CLOCK_BOOTTIME);
      futexes();
      relative();
      in_proc(boottime, later);
      /* What a fork and a new program see is the same. */
      pid_t child = fork();
      if (child == 0) {
        want(by_vdso(CLOCK_MONOTONIC) <= by_call(CLOCK_MONOTONIC), "a fork's clock");
        if (getenv("AGAIN")) _exit(problems);
        setenv("AGAIN", "1", 1);
        execv("/proc/self/exe", argv);
        _exit(99);
      }
      int status;
      NEED(waitpid(child, &status, 0));
      want(status == 0, "the child ended with %x", status);
    }
  }
  if (!problems && !getenv("AGAIN")) say("the clocks agree");
  return problems != 0;
}
