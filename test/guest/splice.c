/* splice, tee, vmsplice, sendfile: what moves, what stays, positions, errors. */
#include "guest.h"

static void show_pipe(const char *label, int fd) {
  char b[256];
  ssize_t n = read(fd, b, sizeof b);
  if (n < 0) say("%s: %s", label, errno_name(errno));
  else say("%s: %.*s", label, (int)n, b);
}

int main(void) {
  begin();
  int p[2], q[2];
  NEED(pipe2(p, O_NONBLOCK));
  NEED(pipe2(q, O_NONBLOCK));
  put_file("f", "0123456789abcdef", 0644);
  int f = NEED(open("f", O_RDWR)), o = NEED(open("o", O_RDWR | O_CREAT, 0600));

  say("-- file to pipe");
  loff_t at = 4;
  TRY(splice(f, &at, p[1], NULL, 4, 0));
  say("at %ld", (long)at);
  TRY(lseek(f, 0, SEEK_CUR));
  show_pipe("pipe", p[0]);
  TRY(splice(f, NULL, p[1], NULL, 6, 0));
  TRY(lseek(f, 0, SEEK_CUR));
  show_pipe("pipe", p[0]);
  at = 100;
  TRY(splice(f, &at, p[1], NULL, 6, 0));
  at = -1;
  TRY(splice(f, &at, p[1], NULL, 6, 0));

  say("-- pipe to file");
  write(p[1], "hello world", 11);
  TRY(splice(p[0], NULL, o, NULL, 5, 0));
  TRY(lseek(o, 0, SEEK_CUR));
  at = 10;
  TRY(splice(p[0], NULL, o, &at, 100, 0));
  say("at %ld", (long)at);
  TRY(lseek(o, 0, SEEK_CUR));
  show_file("o");
  TRY(splice(p[0], NULL, o, NULL, 5, 0));
  TRY(splice(p[0], NULL, o, NULL, 5, SPLICE_F_NONBLOCK));
  TRY(splice(p[0], NULL, o, NULL, 0, 0));

  say("-- pipe to pipe");
  write(p[1], "abcdef", 6);
  TRY(splice(p[0], NULL, q[1], NULL, 3, 0));
  show_pipe("q", q[0]);
  show_pipe("p", p[0]);
  TRY(splice(p[0], NULL, p[1], NULL, 3, 0));
  TRY(splice(p[0], NULL, q[1], NULL, 3, 0));

  say("-- tee");
  write(p[1], "tee time", 8);
  TRY(tee(p[0], q[1], 3, 0));
  TRY(tee(p[0], q[1], 100, 0));
  show_pipe("q", q[0]);
  show_pipe("p", p[0]);
  TRY(tee(p[0], q[1], 100, SPLICE_F_NONBLOCK));
  TRY(tee(p[0], p[1], 100, 0));
  TRY(tee(f, q[1], 100, 0));
  TRY(tee(p[1], q[1], 100, 0));

  say("-- vmsplice");
  struct iovec v[2] = {{"one ", 4}, {"two", 3}};
  TRY(vmsplice(p[1], v, 2, 0));
  char b[16] = {0};
  struct iovec w = {b, 15};
  TRY(vmsplice(p[0], &w, 1, 0));
  say("%s", b);
  TRY(vmsplice(f, v, 2, 0));
  struct iovec bad = {BAD, 5};
  TRY(vmsplice(p[1], &bad, 1, 0));

  say("-- errors");
  at = 0;
  TRY(splice(f, NULL, o, NULL, 5, 0));
  TRY(splice(p[0], &at, o, NULL, 5, 0));
  TRY(splice(f, NULL, p[1], &at, 5, 0));
  TRY(splice(f, BAD, p[1], NULL, 5, 0));
  TRY(splice(77, NULL, p[1], NULL, 5, 0));
  TRY(splice(f, NULL, p[0], NULL, 5, 0));
  TRY(splice(p[1], NULL, o, NULL, 5, 0));
  TRY(splice(f, NULL, p[1], NULL, 5, 64));
  int app = NEED(open("o", O_WRONLY | O_APPEND));
  write(p[1], "x", 1);
  TRY(splice(p[0], NULL, app, NULL, 1, 0));
  show_pipe("p", p[0]);
  close(p[0]);
  signal(SIGPIPE, SIG_IGN);
  TRY(splice(f, NULL, p[1], NULL, 1, 0));

  say("-- blocking: a reader drains what splice waits to write");
  int big[2], out[2];
  NEED(pipe(big));
  NEED(pipe(out));
  pid_t feeder = fork();
  if (feeder == 0) {
    char block[4096];
    memset(block, 'z', sizeof block);
    close(big[0]), close(out[0]), close(out[1]);
    for (int i = 0; i < 64; i++) write(big[1], block, sizeof block);
    _exit(0);
  }
  pid_t mover = fork();
  if (mover == 0) {
    close(big[1]), close(out[0]);
    long total = 0;
    for (;;) {
      ssize_t n = splice(big[0], NULL, out[1], NULL, 100000, 0);
      if (n <= 0) break;
      total += n;
    }
    _exit(total == 64 * 4096 ? 0 : 1);
  }
  close(big[0]), close(big[1]), close(out[1]);
  long got = 0, wrong = 0;
  for (;;) {
    char r[3000];
    ssize_t n = read(out[0], r, sizeof r);
    if (n <= 0) break;
    for (int i = 0; i < n; i++) wrong += r[i] != 'z';
    got += n;
  }
  say("%ld bytes, %ld wrong", got, wrong);
  reap("feeder", feeder);
  reap("mover", mover);
  return 0;
}
