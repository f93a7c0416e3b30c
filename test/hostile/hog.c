/*
 * One ordinary call that is as long as a call can be. It may take its time, but not the others'.
 *
 * variants: readv writev zero-read random-read shm-readv shm-writev getrandom sendfile copy pread-many tee-splice vm-readv append many killed handled
 * seconds: 60
 * prints: ^\S+: -?\d+
 */
#include "hostile.h"
#include <sys/time.h>

static struct iovec vector[1024];
static volatile long ticks;

static void tick(int signo) {
  (void)signo;
  ticks++;
}

int main(int argc, char **argv) {
  size_t part = 2 << 20;
  char *memory = map_anonymous(part);
  memset(memory, 1, part);
  int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), random = open("/dev/urandom", O_RDONLY);
  if (zero < 0 || null < 0 || random < 0) cannot("devices");
  for (int i = 0; i < 1024; i++) vector[i].iov_base = memory, vector[i].iov_len = part;
  long r = -2;
  if (IS("readv")) r = readv(zero, vector, 1024);
  else if (IS("writev")) r = writev(null, vector, 1024);
  else if (IS("zero-read")) r = read(zero, map_anonymous(1ul << 31), 1ul << 31);
  else if (IS("random-read")) r = readv(random, vector, 128);
  else if (IS("shm-readv")) r = readv(memory_file("hog", 1l << 31), vector, 1024);
  else if (IS("shm-writev")) r = writev(memory_file("hog", 0), vector, 128);
  else if (IS("getrandom")) r = syscall(SYS_getrandom, map_anonymous(256 << 20), 256 << 20, 0);
  else if (IS("sendfile")) r = sendfile(null, memory_file("hog", 1l << 31), NULL, 0x7ffff000);
  else if (IS("copy")) r = syscall(SYS_copy_file_range, memory_file("a", 1l << 30), NULL, memory_file("b", 0), NULL, 1l << 28, 0);
  else if (IS("pread-many")) {
    /* A thousand pieces of a byte each, again and again. */
    for (int i = 0; i < 1024; i++) vector[i].iov_base = memory + 4096 * (i % 512), vector[i].iov_len = 1;
    int fd = memory_file("hog", 1 << 20);
    for (int i = 0; i < 300; i++) r = preadv(fd, vector, 1024, 0);
  } else if (IS("tee-splice")) {
    int pipes[2];
    if (pipe(pipes) < 0) cannot("pipe");
    fcntl(pipes[1], F_SETPIPE_SZ, 1 << 30);
    int size = fcntl(pipes[1], F_GETPIPE_SZ);
    int fd = memory_file("hog", 1l << 31);
    r = 0;
    for (long n; r < size && (n = splice(fd, NULL, pipes[1], NULL, (size_t)size, SPLICE_F_NONBLOCK)) > 0;) r += n;
    r = splice(pipes[0], NULL, memory_file("to", 0), NULL, (size_t)size, 0);
  } else if (IS("vm-readv")) {
    char *other = map_anonymous(part);
    static struct iovec remote[1024];
    for (int i = 0; i < 1024; i++) remote[i].iov_base = other, remote[i].iov_len = part;
    r = process_vm_readv(getpid(), vector, 1024, remote, 1024, 0);
  } else if (IS("append")) {
    int fd = open("/dev/shm/hog", O_CREAT | O_APPEND | O_WRONLY, 0600);
    r = writev(fd, vector, 64);
    unlink("/dev/shm/hog");
  }
  else if (IS("many")) {
    /* A hundred of them at once. */
    for (int i = 0; i < 100; i++)
      if (fork() == 0) {
        readv(zero, vector, 64);
        _exit(0);
      }
    for (r = 0; wait(NULL) > 0;) r++;
  } else if (IS("killed")) {
    /* A fatal signal ends even a long call soon. */
    int file = memory_file("hog", 1l << 31);
    for (int i = 0; i < 3; i++) {
      pid_t pid = fork();
      if (pid == 0) {
        if (i == 0) for (;;) readv(file, vector, 1024);
        if (i == 1) for (;;) sendfile(null, file, &(off_t){0}, 0x7ffff000);
        for (;;) syscall(SYS_getrandom, memory, part, 0);
      }
      usleep(100000);
      struct timespec a, b;
      clock_gettime(CLOCK_MONOTONIC, &a);
      kill(pid, i == 1 ? SIGTERM : SIGKILL);
      waitpid(pid, NULL, 0);
      clock_gettime(CLOCK_MONOTONIC, &b);
      long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
      if (ms > 1000) cannot("killed after %ld ms", ms);
    }
    r = 0;
  } else if (IS("handled")) {
    /* One with a handler does not make a read of a file short, nor is a byte lost or doubled. */
    struct itimerval often = {{0, 3000}, {0, 3000}};
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, NULL);
    size_t size = 64 << 20;
    unsigned *text = map_anonymous(size), *back = map_anonymous(size);
    for (unsigned i = 0; i < size / 4; i++) text[i] = i;
    int file = memory_file("hog", 0);
    setitimer(ITIMER_REAL, &often, NULL);
    if (write(file, text, size) != (long)size || lseek(file, 0, SEEK_CUR) != (long)size) cannot("short write");
    lseek(file, 0, SEEK_SET);
    if (read(file, back, size) != (long)size || lseek(file, 0, SEEK_CUR) != (long)size) cannot("short read");
    if (memcmp(text, back, size) != 0) cannot("wrong bytes");
    int other = memory_file("other", 0);
    off_t from = 0;
    if (sendfile(other, file, &from, size) != (long)size || from != (long)size) cannot("short sendfile");
    memset(back, 0, size);
    if (pread(other, back, size, 0) != (long)size || memcmp(text, back, size) != 0) cannot("wrong bytes of sendfile");
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    r = ticks > 0;
  }
  printf("%s: %ld\n", VARIANT, r);
  return 0;
}
