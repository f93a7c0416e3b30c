/* /dev: null, zero, full, random, urandom, tty, ptmx, fd links, shm, and making nodes. */
#include "guest.h"
#include <sys/sysmacros.h>

int main(void) {
  begin();
  static const struct { const char *path; } nodes[] = {{"/dev/null"}, {"/dev/zero"}, {"/dev/full"}, {"/dev/random"}, {"/dev/urandom"}, {"/dev/tty"}, {"/dev/ptmx"}};
  for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
    struct stat st;
    if (stat(nodes[i].path, &st)) say("%s: %s", nodes[i].path, errno_name(errno));
    else say("%s: %s %d:%d %s", nodes[i].path, S_ISCHR(st.st_mode) ? "char" : "other", major(st.st_rdev), minor(st.st_rdev), (st.st_mode & 0666) == 0666 ? "rw for all" : "restricted");
  }
  static const char *links[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd"};
  for (int i = 0; i < 4; i++) {
    char b[64];
    ssize_t n = readlink(links[i], b, sizeof b);
    say("%s -> %.*s", links[i], (int)(n < 0 ? 0 : n), b);
  }
  char b[64], c[64];
  int r = NEED(open("/dev/urandom", O_RDONLY));
  TRY(read(r, b, 64));
  TRY(read(r, c, 64));
  YES(memcmp(b, c, 64) != 0);
  r = NEED(open("/dev/random", O_RDONLY | O_NONBLOCK));
  TRY(read(r, b, 16));
  char *big = malloc(100000);
  r = open("/dev/urandom", O_RDONLY);
  TRY(read(r, big, 100000));
  int n = NEED(open("/dev/null", O_RDWR));
  TRY(ftruncate(n, 0));
  OK(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0666));
  TRY(fsync(n) == 0 || errno == EINVAL ? 0 : -1);
  TRY(ioctl(n, FIONREAD, &(int){0}));
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, n, 0) == MAP_FAILED ? -1 : 0);
  put_file("f", "via fd", 0600);
  int f = open("f", O_RDONLY);
  sprintf(b, "/dev/fd/%d", f);
  show_file(b);
  CHILD("/dev/stdin", {
    dup2(f, 0);
    lseek(f, 0, SEEK_SET);
    show_file("/dev/stdin");
  });
  CHILD("no terminal", { setsid(); TRY(open("/dev/tty", O_RDWR)); });

  say("-- shared memory");
  sprintf(b, "/dev/shm/guest-%d", getpid());
  int s = OK(open(b, O_CREAT | O_EXCL | O_RDWR, 0600));
  TRY(ftruncate(s, 4096));
  char *one = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0));
  int s2 = OK(open(b, O_RDWR));
  char *two = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s2, 0));
  one[5] = 'x';
  YES(two[5] == 'x');
  TRY(unlink(b));
  struct stat st;
  stat("/dev/shm", &st);
  say("/dev/shm %o", st.st_mode);
  say("-- mknod");
  TRY(mknod("p", S_IFIFO | 0600, 0));
  TRY(mknod("null", S_IFCHR | 0600, makedev(1, 3)));
  stat("null", &st);
  say("%o %d:%d", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
  int own = open("null", O_RDWR);
  if (own >= 0) TRY(write(own, "x", 1));
  TRY(mknod("odd", S_IFCHR | 0600, makedev(250, 250)));
  TRY(open("odd", O_RDWR));
  TRY(mknod("bad", 0170000 | 0600, 0));
  return 0;
}
