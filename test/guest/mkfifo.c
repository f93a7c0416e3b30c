/* Named pipes: opening waits for the other side, non-blocking opens, end of file, SIGPIPE. */
#include "guest.h"

int main(void) {
  begin();
  char b[16] = "";
  TRY(mkfifo("p", 0600));
  TRY(mkfifo("p", 0600));
  TRY(open("p", O_WRONLY | O_NONBLOCK));
  int r = OK(open("p", O_RDONLY | O_NONBLOCK));
  TRY(read(r, b, 4));
  int w = OK(open("p", O_WRONLY | O_NONBLOCK));
  TRY(read(r, b, 4));
  TRY(write(w, "abc", 3));
  TRY(read(r, b, 16));
  close(w);
  TRY(read(r, b, 16));
  close(r);
  int rw = OK(open("p", O_RDWR));
  TRY(write(rw, "kept", 4));
  TRY(read(rw, b, 16));
  close(rw);
  TRY(lseek(rw, 0, SEEK_SET));

  say("-- a blocking open meets its other side");
  pid_t pid = fork();
  if (!pid) {
    int in = open("p", O_RDONLY);
    char text[16] = "";
    ssize_t n = read(in, text, 16);
    say("child read %zd \"%s\"", n, text);
    n = read(in, text, 16);
    say("child read %zd", n);
    _exit(0);
  }
  until_blocked(pid, pid);
  w = OK(open("p", O_WRONLY));
  NEED(write(w, "hello", 5));
  close(w);
  reap("reader", pid);

  pid = fork();
  if (!pid) {
    int out = open("p", O_WRONLY);
    _exit(write(out, "x", 1) == 1 ? 0 : 1);
  }
  until_blocked(pid, pid);
  r = OK(open("p", O_RDONLY));
  TRY(read(r, b, 1));
  reap("writer", pid);
  close(r);

  say("-- writing to nobody");
  r = NEED(open("p", O_RDONLY | O_NONBLOCK));
  w = NEED(open("p", O_WRONLY));
  close(r);
  CHILD("write", { write(w, "x", 1); });
  signal(SIGPIPE, SIG_IGN);
  TRY(write(w, "x", 1));
  struct pollfd pf = {w, POLLOUT, 0};
  TRY(poll(&pf, 1, 0));
  say("revents %x", pf.revents);
  r = NEED(open("p", O_RDONLY | O_NONBLOCK));
  TRY(write(w, "x", 1));
  unlink("p");
  TRY(read(r, b, 4));
  TRY(access("p", F_OK));

  say("-- a blocked open is interrupted");
  NEED(mkfifo("q", 0600));
  pid = fork();
  if (!pid) {
    handle(SIGUSR1, ignore, 0);
    TRY(open("q", O_RDONLY));
    _exit(0);
  }
  until_blocked(pid, pid);
  kill(pid, SIGUSR1);
  reap("interrupted", pid);
  return 0;
}
