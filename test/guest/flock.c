/* flock(2): shared and exclusive, conversion, dup and fork share it, independent of fcntl locks. */
#include "guest.h"
#include <sys/file.h>

int main(void) {
  begin();
  put_file("f", "x", 0644);
  int a = NEED(open("f", O_RDONLY)), b = NEED(open("f", O_RDONLY));
  TRY(flock(a, LOCK_SH));
  TRY(flock(b, LOCK_SH | LOCK_NB));
  TRY(flock(a, LOCK_EX | LOCK_NB));
  TRY(flock(b, LOCK_UN));
  TRY(flock(a, LOCK_EX | LOCK_NB));
  TRY(flock(b, LOCK_SH | LOCK_NB));
  TRY(flock(b, LOCK_EX | LOCK_NB));
  int d = dup(a);
  TRY(flock(d, LOCK_EX | LOCK_NB));
  close(a);
  TRY(flock(b, LOCK_SH | LOCK_NB));
  CHILD("child unlocks for all", { TRY(flock(d, LOCK_UN)); });
  TRY(flock(b, LOCK_EX | LOCK_NB));
  pid_t kid = fork();
  if (!kid) {
    int c = open("f", O_RDONLY);
    _exit(flock(c, LOCK_EX) ? errno : 0);
  }
  until_blocked(kid, kid);
  TRY(flock(b, LOCK_UN));
  reap("waiter", kid);
  TRY(flock(b, LOCK_EX));
  CHILD("independent of record locks", {
    int c = open("f", O_RDWR);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    TRY(fcntl(c, F_SETLK, &l));
    TRY(flock(c, LOCK_EX | LOCK_NB));
  });
  unlink("f");
  put_file("f", "new", 0644);
  int n = NEED(open("f", O_RDONLY));
  TRY(flock(n, LOCK_EX | LOCK_NB));
  TRY(flock(77, LOCK_EX));
  TRY(flock(b, 0));
  TRY(flock(b, LOCK_SH | LOCK_EX));
  int dir = NEED(open(".", O_RDONLY));
  TRY(flock(dir, LOCK_EX | LOCK_NB));
  int p = NEED(open("f", O_PATH));
  TRY(flock(p, LOCK_EX));
  return 0;
}
