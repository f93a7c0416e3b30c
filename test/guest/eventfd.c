/* eventfd(2): counting, semaphore mode, overflow, blocking, poll. */
#include "guest.h"
#include <sys/eventfd.h>

static void show(int fd, const char *what) {
  struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
  poll(&pf, 1, 0);
  say("%s: revents %x", what, pf.revents);
}

int main(void) {
  begin();
  uint64_t v = 0;
  int fd = OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
  TRY(fcntl(fd, F_GETFD));
  show(fd, "3");
  TRY(read(fd, &v, 8));
  TRY(v);
  TRY(read(fd, &v, 8));
  show(fd, "0");
  v = 5;
  TRY(write(fd, &v, 8));
  TRY(write(fd, &v, 8));
  TRY(read(fd, &v, 4));
  char big[16];
  TRY(read(fd, big, 16));
  TRY(*(uint64_t *)big);
  TRY(write(fd, &v, 4));
  v = 0xffffffffffffffff;
  TRY(write(fd, &v, 8));
  v = 0xfffffffffffffffe;
  TRY(write(fd, &v, 8));
  show(fd, "max");
  v = 1;
  TRY(write(fd, &v, 8));
  v = 0;
  TRY(write(fd, &v, 8));
  TRY(read(fd, &v, 8));
  say("%llx", (unsigned long long)v);
  TRY(read(fd, BAD, 8));
  TRY(write(fd, BAD, 8));
  TRY(pread(fd, &v, 8, 0));
  close(fd);

  say("-- semaphore");
  fd = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  for (int i = 0; i < 3; i++) {
    v = 99;
    TRY(read(fd, &v, 8));
    TRY(v);
  }
  TRY(eventfd(0, 1 << 20));

  say("-- blocking, across fork");
  fd = eventfd(0, 0);
  pid_t kid = fork();
  if (!kid) {
    TRY(read(fd, &v, 8));
    TRY(v);
    _exit(0);
  }
  until_blocked(kid, kid);
  v = 42;
  write(fd, &v, 8);
  reap("reader", kid);
  v = 0xfffffffffffffffe;
  write(fd, &v, 8);
  kid = fork();
  if (!kid) {
    v = 7;
    TRY(write(fd, &v, 8));
    _exit(0);
  }
  until_blocked(kid, kid);
  v = 0;
  read(fd, &v, 8);
  reap("writer", kid);
  TRY(read(fd, &v, 8));
  TRY(v);
  return 0;
}
