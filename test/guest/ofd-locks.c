/* Open file description locks: owned by the open file, shared by fork and dup, in conflict with the process's own. */
#include "guest.h"

static int lock(int f, int cmd, int type) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
  return fcntl(f, cmd, &l);
}

int main(void) {
  begin();
  put_file("f", "x", 0644);
  int a = NEED(open("f", O_RDWR)), b = NEED(open("f", O_RDWR));
  TRY(lock(a, F_OFD_SETLK, F_WRLCK));
  TRY(lock(b, F_OFD_SETLK, F_WRLCK));
  TRY(lock(b, F_SETLK, F_WRLCK));
  TRY(lock(a, F_SETLK, F_WRLCK));
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  TRY(fcntl(b, F_OFD_GETLK, &l));
  say("type %d pid %d", l.l_type, l.l_pid);
  CHILD("the child owns it as well", {
    TRY(lock(a, F_OFD_SETLK, F_RDLCK));
    TRY(lock(b, F_OFD_SETLK, F_RDLCK));
    TRY(lock(b, F_OFD_SETLK, F_UNLCK));
  });
  close(open("f", O_RDWR));
  TRY(lock(b, F_OFD_SETLK, F_WRLCK));
  int d = dup(a);
  close(a);
  TRY(lock(b, F_OFD_SETLK, F_WRLCK));
  close(d);
  TRY(lock(b, F_OFD_SETLK, F_WRLCK));
  pid_t kid = fork();
  if (!kid) {
    int c = open("f", O_RDWR);
    _exit(lock(c, F_OFD_SETLKW, F_WRLCK) ? errno : 0);
  }
  until_blocked(kid, kid);
  TRY(lock(b, F_OFD_SETLK, F_UNLCK));
  reap("waiter", kid);
  l.l_pid = 5;
  TRY(fcntl(b, F_OFD_SETLK, &l));
  TRY(fcntl(b, F_OFD_SETLK, BAD));
  return 0;
}
