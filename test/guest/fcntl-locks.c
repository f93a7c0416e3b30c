/* POSIX record locks: conflict, split, merge, F_GETLK, waiting, deadlock, release on any close and on exit. */
#include "guest.h"

static int fd;

static int lock(int f, int cmd, int type, off_t start, off_t len) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
  return fcntl(f, cmd, &l);
}

/* What another process sees, from F_GETLK. */
static void probe(const char *what, int type, off_t start, off_t len) {
  pid_t me = getpid(), kid = fork();
  if (!kid) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    int f = open("f", O_RDWR);
    if (fcntl(f, F_GETLK, &l)) say("%s: %s", what, errno_name(errno));
    else if (l.l_type == F_UNLCK) say("%s: free", what);
    else say("%s: %s %ld+%ld by %s", what, l.l_type == F_WRLCK ? "write" : "read", (long)l.l_start, (long)l.l_len, l.l_pid == me ? "parent" : "other");
    _exit(0);
  }
  waitpid(kid, NULL, 0);
}

int main(void) {
  begin();
  put_file("f", "0123456789", 0644);
  fd = NEED(open("f", O_RDWR));
  TRY(lock(fd, F_SETLK, F_WRLCK, 0, 10));
  probe("whole", F_RDLCK, 0, 0);
  TRY(lock(fd, F_SETLK, F_UNLCK, 3, 2));
  probe("hole", F_WRLCK, 3, 2);
  probe("first part", F_WRLCK, 0, 5);
  probe("second part", F_WRLCK, 4, 5);
  TRY(lock(fd, F_SETLK, F_RDLCK, 3, 2));
  probe("middle, to read", F_RDLCK, 3, 2);
  probe("middle, to write", F_WRLCK, 3, 2);
  TRY(lock(fd, F_SETLK, F_WRLCK, 3, 2));
  probe("merged", F_WRLCK, 0, 0);
  TRY(lock(fd, F_SETLK, F_UNLCK, 0, 0));
  probe("all free", F_WRLCK, 0, 0);
  TRY(lock(fd, F_SETLK, F_WRLCK, 100, 0));
  probe("to the end of time", F_WRLCK, 1 << 30, 1);
  probe("before it", F_WRLCK, 0, 100);
  TRY(lock(fd, F_SETLK, F_UNLCK, 0, 0));
  lseek(fd, 5, SEEK_SET);
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = -3};
  TRY(fcntl(fd, F_SETLK, &l));
  probe("negative length", F_WRLCK, 0, 0);
  l = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_END, .l_start = -10, .l_len = 10};
  TRY(fcntl(fd, F_SETLK, &l));
  probe("freed from the end", F_WRLCK, 0, 0);

  say("-- not inherited, dropped by any close");
  TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
  CHILD("child", { TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1)); });
  close(open("f", O_RDONLY));
  probe("after closing another descriptor", F_WRLCK, 0, 1);

  say("-- waiting");
  TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
  int p[2];
  NEED(pipe(p));
  pid_t kid = fork();
  if (!kid) {
    int f = open("f", O_RDWR);
    TRY(lock(f, F_SETLK, F_WRLCK, 0, 1));
    int r = lock(f, F_SETLKW, F_WRLCK, 0, 1);
    char c = 'k';
    write(p[1], &c, 1);
    _exit(r ? errno : 0);
  }
  until_blocked(kid, kid);
  struct pollfd pf = {p[0], POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  TRY(lock(fd, F_SETLK, F_UNLCK, 0, 1));
  reap("waiter", kid);
  TRY(poll(&pf, 1, 0));
  kid = fork();
  if (!kid) {
    int f = open("f", O_RDWR);
    lock(f, F_SETLK, F_WRLCK, 0, 1);
    write(p[1], "h", 1);
    for (;;) pause();
  }
  char c[2];
  read(p[0], c, 1);
  read(p[0], c, 1);
  kill(kid, SIGKILL);
  TRY(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
  waitpid(kid, NULL, 0);
  TRY(lock(fd, F_SETLK, F_UNLCK, 0, 1));

  say("-- deadlock is refused");
  TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
  kid = fork();
  if (!kid) {
    lock(fd, F_SETLK, F_WRLCK, 1, 1);
    write(p[1], "r", 1);
    int r = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
    _exit(r ? errno : 0);
  }
  read(p[0], c, 1);
  until_blocked(kid, kid);
  TRY(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
  reap("the other got it", kid);

  say("-- errors");
  int ro = NEED(open("f", O_RDONLY)), wo = NEED(open("f", O_WRONLY));
  TRY(lock(ro, F_SETLK, F_WRLCK, 0, 1));
  TRY(lock(wo, F_SETLK, F_RDLCK, 0, 1));
  TRY(lock(fd, F_SETLK, 9, 0, 1));
  TRY(lock(fd, F_SETLK, F_WRLCK, -1, 1));
  TRY(lock(77, F_SETLK, F_WRLCK, 0, 1));
  TRY(fcntl(fd, F_SETLK, BAD));
  TRY(fcntl(fd, F_GETLK, BAD));
  l = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
  TRY(fcntl(fd, F_GETLK, &l));
  l = (struct flock){.l_type = F_WRLCK, .l_whence = 9};
  TRY(fcntl(fd, F_SETLK, &l));
  TRY(fcntl(fd, 9999));
  return 0;
}
