/*
 * Uses up the descriptors of the sandbox process, which guests and the kernel share: files in memory that were mapped
 * once, shared memory, /dev/zero mapped again and again. The kernel must have some left for forks and programs, and, where
 * a user other than root does it, others for files of the host, too.
 *
 * variants: files shared zero user-files user-shared user-zero
 * seconds: 120
 * prints: ^refused: Too many open files in system\nworks\n$
 */
#include "hostile.h"

/* More than any limit under which the tests run. */
#define MOST 100000

/* Uses one more; 0 or the error. */
static int one_more(const char *how, int i) {
  static int zero = -1;
  char path[64];
  int anonymous = strcmp(how, "shared") == 0, fd = -1;
  if (strcmp(how, "zero") == 0) {
    if (zero < 0 && (zero = open("/dev/zero", O_RDWR)) < 0) cannot("/dev/zero");
    fd = zero;
  } else if (!anonymous) {
    snprintf(path, sizeof path, "/dev/shm/many/%d", i);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return errno;
    if (ftruncate(fd, 4096) < 0) cannot("ftruncate");
  }
  char *at = mmap(NULL, 4096, PROT_READ, anonymous ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
  int failed = at == MAP_FAILED ? errno : 0;
  if (!failed && !anonymous) munmap(at, 4096);
  if (fd >= 0 && fd != zero) close(fd);
  return failed;
}

/* Goes on to the end of what it gets. */
static void use_up(const char *how) {
  int failed = 0;
  for (int i = 0; i < MOST && failed == 0; i++) failed = one_more(how, i);
  printf("refused: %s\n", strerror(failed));
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (IS("again")) return 0;
  int user = strncmp(VARIANT, "user-", 5) == 0, status = 0, done[2];
  if (mkdir("/dev/shm/many", 0777) < 0 || chmod("/dev/shm/many", 0777) < 0 || pipe(done) < 0) cannot("setup");
  pid_t other = user ? fork() : 0;
  if (!user) use_up(VARIANT);
  else if (other == 0) {
    if (setuid(1000) < 0) cannot("setuid");
    use_up(VARIANT + 5);
    close(done[0]), close(done[1]);
    for (;;) pause();
  } else {
    char c;
    close(done[1]);
    if (read(done[0], &c, 1) != 0) cannot("the end of the pipe");
  }
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (child == 0) {
      /* With files of the host that nobody else has open. */
      if (user) execl("/bin/sh", "sh", "-c", "/bin/true </etc/passwd", NULL);
      else execl("/proc/self/exe", "host-descriptors", "again", NULL);
      _exit(1);
    }
    if (waitpid(child, &status, 0) != child || status != 0) return printf("child: %x\n", status), 1;
  }
  if (user) kill(other, SIGKILL);
  puts("works");
  return 0;
}
