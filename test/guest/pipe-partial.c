/* Pipes: partial reads and writes, atomicity up to PIPE_BUF, capacity, end of file, pipe2 flags, packet mode. */
#include "guest.h"

int main(void) {
  begin();
  int p[2];
  char b[70000];
  memset(b, 'x', sizeof b);
  TRY(pipe(p));
  YES(p[0] < p[1]);
  TRY(write(p[1], "abcdef", 6));
  TRY(read(p[0], b, 2));
  TRY(read(p[0], b, 100));
  TRY(write(p[1], "", 0));
  int n = 0;
  ioctl(p[0], FIONREAD, &n);
  TRY(n);
  TRY(read(p[1], b, 1));
  TRY(write(p[0], b, 1));
  TRY(fcntl(p[0], F_GETPIPE_SZ));
  TRY(write(p[1], "1", 1));
  TRY(write(p[1], "2", 1));
  ioctl(p[0], FIONREAD, &n);
  TRY(n);
  TRY(read(p[0], b, 10));
  TRY(read(p[0], b, 0));
  TRY(lseek(p[0], 0, SEEK_SET));
  TRY(fsync(p[0]));

  say("-- non-blocking");
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  fcntl(p[1], F_SETFL, O_NONBLOCK);
  TRY(read(p[0], b, 10));
  TRY(write(p[1], b, 65537));
  TRY(write(p[1], b, 1));
  TRY(read(p[0], b, 4095));
  TRY(write(p[1], b, 4096));
  TRY(read(p[0], b, 1));
  TRY(write(p[1], b, 4096));
  TRY(write(p[1], b, 1));
  TRY(write(p[1], b, 5000));
  struct pollfd pf[] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
  poll(pf, 2, 0);
  say("full: %x %x", pf[0].revents, pf[1].revents);
  long total = 0, r;
  while ((r = read(p[0], b, sizeof b)) > 0) total += r;
  TRY(total);
  poll(pf, 2, 0);
  say("empty: %x %x", pf[0].revents, pf[1].revents);

  say("-- capacity");
  TRY(fcntl(p[1], F_SETPIPE_SZ, 1));
  TRY(fcntl(p[1], F_GETPIPE_SZ));
  TRY(write(p[1], b, 10000));
  TRY(fcntl(p[1], F_SETPIPE_SZ, 100000));
  TRY(write(p[1], b, 8192));
  TRY(fcntl(p[1], F_SETPIPE_SZ, 4096));
  TRY(fcntl(p[1], F_SETPIPE_SZ, 0));
  ioctl(p[0], FIONREAD, &n);
  TRY(n);
  int file = NEED(open("f", O_CREAT | O_RDWR, 0600));
  TRY(fcntl(file, F_GETPIPE_SZ));

  say("-- the ends close");
  close(p[1]);
  total = 0;
  while ((r = read(p[0], b, 1000)) > 0) total += r;
  TRY(total);
  TRY(read(p[0], b, 10));
  pf[0].revents = 0;
  poll(pf, 1, 0);
  say("hung up: %x", pf[0].revents);
  close(p[0]);
  NEED(pipe(p));
  close(p[0]);
  CHILD("SIGPIPE", { write(p[1], "x", 1); });
  signal(SIGPIPE, SIG_IGN);
  TRY(write(p[1], "x", 1));
  TRY(write(p[1], "", 0));
  pf[1] = (struct pollfd){p[1], POLLOUT, 0};
  poll(pf + 1, 1, 0);
  say("broken: %x", pf[1].revents);
  close(p[1]);

  say("-- a blocking write goes on in pieces until all is written");
  NEED(pipe(p));
  pid_t kid = fork();
  if (!kid) {
    close(p[0]);
    TRY(write(p[1], b, 70000));
    TRY(write(p[1], b, 70000));
    _exit(0);
  }
  close(p[1]);
  until_blocked(kid, kid);
  total = 0;
  while ((r = read(p[0], b, 30000)) > 0) total += r;
  TRY(total);
  reap("writer", kid);
  close(p[0]);

  say("-- a signal in the middle of a blocking write gives what was written");
  NEED(pipe(p));
  kid = fork();
  if (!kid) {
    handle(SIGUSR1, ignore, 0);
    TRY(write(p[1], b, 70000));
    _exit(0);
  }
  until_blocked(kid, kid);
  kill(kid, SIGUSR1);
  reap("writer", kid);
  close(p[0]);
  close(p[1]);

  say("-- pipe2");
  TRY(pipe2(p, O_CLOEXEC | O_NONBLOCK));
  TRY(fcntl(p[0], F_GETFD));
  YES((fcntl(p[1], F_GETFL) & O_NONBLOCK) != 0);
  TRY(pipe2(p, O_APPEND));
  TRY(pipe2(p, O_DIRECT | O_NONBLOCK));
  TRY(write(p[1], "packet", 6));
  TRY(write(p[1], "two", 3));
  TRY(read(p[0], b, 2));
  TRY(read(p[0], b, 100));
  TRY(read(p[0], b, 100));
  TRY(pipe(BAD));
  TRY(pipe2(BAD, 0));

  say("-- bad buffers");
  NEED(pipe2(p, O_NONBLOCK));
  TRY(write(p[1], BAD, 5));
  TRY(write(p[1], "hello", 5));
  TRY(read(p[0], BAD, 5));
  ioctl(p[0], FIONREAD, &n);
  TRY(n);
  TRY(read(p[0], b, 10));
  return 0;
}
