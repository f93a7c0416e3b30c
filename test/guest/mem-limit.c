/* RLIMIT_AS, RLIMIT_STACK, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CPU: the errors and signals they give. */
#include "guest.h"
#include <sys/resource.h>

static void limit(int what, rlim_t n) {
  struct rlimit r = {n, n};
  NEED(setrlimit(what, &r));
}

static void *sleeper(void *unused) { pause(); return unused; }

static volatile int hits;
static void on_signal(int n) { hits = n; }

int main(void) {
  begin_for(19); /* RLIMIT_CPU takes two seconds of processor, which a busy machine gives slowly */
  const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
  CHILD("RLIMIT_AS", {
    limit(RLIMIT_AS, 256 << 20);
    TRY(mmap(NULL, 512 << 20, rw, anon, -1, 0));
    char *m = NEED(mmap(NULL, 64 << 20, rw, anon, -1, 0));
    memset(m, 1, 64 << 20);
    int n = 0;
    while (mmap(NULL, 16 << 20, PROT_NONE, anon, -1, 0) != MAP_FAILED) n++;
    say("then some more: %s, and %s", n > 5 && n < 13 ? "about right" : "odd", errno_name(errno));
    YES(malloc(300 << 20) == NULL);
    YES(mremap(m, 64 << 20, 256 << 20, MREMAP_MAYMOVE) == MAP_FAILED);
    pthread_t t;
    int e = 0;
    for (int i = 0; i < 10 && !e; i++) e = pthread_create(&t, NULL, sleeper, NULL);
    say("thread stacks: %s", errno_name(e));
  });
  CHILD("too big at all", {
    TRY(mmap(NULL, 1ul << 46, rw, anon, -1, 0) == MAP_FAILED ? 0 : 0);
    YES(malloc(1ul << 62) == NULL);
  });
  CHILD("RLIMIT_FSIZE", {
    limit(RLIMIT_FSIZE, 1000);
    int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
    char b[2000] = {0};
    handle(SIGXFSZ, on_signal, 0);
    TRY(write(fd, b, 900));
    TRY(write(fd, b, 900));
    say("signal %d", hits);
    TRY(write(fd, b, 900));
    say("signal %d", hits == SIGXFSZ);
    hits = 0;
    TRY(ftruncate(fd, 1001));
    say("signal %d", hits == SIGXFSZ);
    TRY(ftruncate(fd, 1000));
    TRY(pwrite(fd, b, 10, 995));
    int p[2];
    NEED(pipe(p));
    TRY(write(p[1], b, 2000));
    signal(SIGXFSZ, SIG_DFL);
    write(fd, b, 900);
  });
  CHILD("RLIMIT_NOFILE", {
    limit(RLIMIT_NOFILE, 20);
    int n = 0;
    while (dup(1) >= 0) n++;
    say("%s, %s", n <= 17 ? "few" : "many", errno_name(errno));
    TRY(open("f", O_RDONLY));
    TRY(dup2(1, 25));
    TRY(fcntl(1, F_DUPFD, 20));
    int p[2];
    TRY(pipe(p));
    TRY(socket(AF_UNIX, SOCK_STREAM, 0));
    struct pollfd pf[21];
    memset(pf, -1, sizeof pf);
    TRY(poll(pf, 21, 0));
  });
  CHILD("RLIMIT_NOFILE below what is open", {
    int high = fcntl(1, F_DUPFD, 50);
    limit(RLIMIT_NOFILE, 10);
    TRY(write(high, "still works\n", 12));
    TRY(fcntl(high, F_GETFD));
    TRY(dup2(1, high));
  });
  CHILD("RLIMIT_CPU", {
    struct rlimit r = {1, 2};
    NEED(setrlimit(RLIMIT_CPU, &r));
    handle(SIGXCPU, on_signal, 0);
    while (!hits) {}
    say("%s first", signal_name(hits));
    signal(SIGXCPU, SIG_DFL);
    for (;;) {}
  });
  return 0;
}
