/* dup, dup2, dup3, F_DUPFD, FD_CLOEXEC: lowest numbers, shared offsets and flags, what exec closes. */
#include "guest.h"

int main(int argc, char **argv) {
  if (argc > 1) {
    for (int i = 20; i < 26; i++) say("%d %s", i, fcntl(i, F_GETFD) < 0 ? errno_name(errno) : "open");
    char b[4] = "";
    read(20, b, 3);
    say("offset went on: %s", b);
    _exit(0);
  }
  begin();
  (void)argv;
  put_file("f", "0123456789", 0600);
  int f = NEED(open("f", O_RDWR));
  YES(dup(f) == f + 1);
  YES(dup(f) == f + 2);
  close(f + 1);
  YES(open("f", O_RDONLY) == f + 1);
  YES(fcntl(f, F_DUPFD, 20) == 20);
  YES(fcntl(f, F_DUPFD, 20) == 21);
  YES(fcntl(f, F_DUPFD_CLOEXEC, 20) == 22);
  TRY(fcntl(21, F_GETFD));
  TRY(fcntl(22, F_GETFD));
  TRY(dup2(f, 23));
  TRY(dup2(f, f));
  TRY(dup2(77, 23));
  TRY(fcntl(23, F_GETFD)); /* a failed dup2 closes nothing */
  TRY(dup2(f, -1));
  TRY(dup2(f, 1 << 30));
  TRY(dup3(f, f, 0));
  TRY(dup3(f, 24, O_CLOEXEC));
  TRY(fcntl(24, F_GETFD));
  TRY(dup3(f, 24, O_NONBLOCK));
  TRY(dup(77));
  TRY(fcntl(f, F_DUPFD, -1));
  TRY(fcntl(f, F_DUPFD, 1 << 30));
  TRY(close(77));
  TRY(close(-1));

  say("-- shared: offset and status flags; own: descriptor flags");
  lseek(f, 3, SEEK_SET);
  TRY(lseek(23, 0, SEEK_CUR));
  fcntl(23, F_SETFL, O_APPEND | O_NONBLOCK);
  YES((fcntl(f, F_GETFL) & (O_APPEND | O_NONBLOCK)) == (O_APPEND | O_NONBLOCK));
  YES((fcntl(f + 1, F_GETFL) & O_APPEND) == 0);
  fcntl(23, F_SETFL, 0);
  TRY(fcntl(23, F_SETFD, FD_CLOEXEC));
  TRY(fcntl(f, F_GETFD));
  TRY(fcntl(23, F_SETFL, O_WRONLY | O_CREAT | O_TRUNC)); /* access mode and creation flags are ignored */
  YES((fcntl(f, F_GETFL) & O_ACCMODE) == O_RDWR);
  CHILD("fork shares the offset", { lseek(f, 7, SEEK_SET); });
  TRY(lseek(f, 0, SEEK_CUR));
  lseek(20, 4, SEEK_SET);
  fcntl(23, F_SETFD, 0);
  CHILD("exec", { execl("/proc/self/exe", "self", "x", NULL); });
  TRY(fcntl(f, F_GETOWN));
  TRY(fcntl(f, F_SETOWN, getpid()));
  YES(fcntl(f, F_GETOWN) == getpid());
  TRY(fcntl(1, F_SETFD, 8));
  TRY(fcntl(1, F_GETFD));
  TRY(ioctl(f, FIOCLEX));
  TRY(fcntl(f, F_GETFD));
  TRY(ioctl(f, FIONCLEX));
  TRY(fcntl(f, F_GETFD));
  int on = 1;
  TRY(ioctl(f, FIONBIO, &on));
  YES((fcntl(f, F_GETFL) & O_NONBLOCK) != 0);
  TRY(ioctl(f, FIONBIO, BAD));
  TRY(ioctl(f, 0x1234, 0));
  TRY(ioctl(f, TIOCGWINSZ, BAD));
  TRY(isatty(f));
  return 0;
}
