/* splice, tee, vmsplice: between pipes and files, offsets, non-blocking, ends, errors. */
#include "guest.h"

int main(void) {
  begin();
  char b[64] = "";
  int p[2], q[2];
  NEED(pipe(p));
  NEED(pipe(q));
  put_file("f", "0123456789", 0644);
  int f = NEED(open("f", O_RDONLY)), out = NEED(open("out", O_CREAT | O_RDWR, 0600));
  TRY(splice(f, NULL, p[1], NULL, 4, 0));
  TRY(lseek(f, 0, SEEK_CUR));
  off_t at = 6;
  TRY(splice(f, &at, p[1], NULL, 100, 0));
  TRY(at);
  TRY(lseek(f, 0, SEEK_CUR));
  TRY(tee(p[0], q[1], 3, 0));
  TRY(tee(p[0], q[1], 100, 0));
  TRY(read(q[0], b, 64));
  say("\"%.11s\"", b);
  TRY(splice(p[0], NULL, out, NULL, 5, 0));
  at = 10;
  TRY(splice(p[0], NULL, out, &at, 100, 0));
  show_file("out");
  TRY(splice(p[0], NULL, out, NULL, 1, SPLICE_F_NONBLOCK));
  TRY(tee(p[0], q[1], 1, SPLICE_F_NONBLOCK));
  write(p[1], "across", 6);
  TRY(splice(p[0], NULL, q[1], NULL, 3, 0));
  TRY(read(p[0], b, 64));
  TRY(read(q[0], b, 64));
  struct iovec io[] = {{"vm", 2}, {"splice", 6}};
  TRY(vmsplice(p[1], io, 2, 0));
  TRY(read(p[0], b, 64));
  say("\"%.8s\"", b);
  TRY(splice(f, NULL, p[1], NULL, 100, 0));
  TRY(splice(f, NULL, p[1], NULL, 100, 0));
  TRY(read(p[0], b, 64));
  int s[2];
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  write(s[0], "socket", 6);
  TRY(splice(s[1], NULL, p[1], NULL, 64, 0));
  TRY(splice(p[0], NULL, s[0], NULL, 64, 0));
  TRY(read(s[1], b, 64));

  say("-- ends");
  close(p[1]);
  TRY(splice(p[0], NULL, out, NULL, 10, 0));
  TRY(tee(p[0], q[1], 10, 0));
  close(p[0]);
  NEED(pipe(p));
  close(q[0]);
  write(p[1], "x", 1);
  CHILD("SIGPIPE", { splice(p[0], NULL, q[1], NULL, 1, 0); });

  say("-- errors");
  NEED(pipe(q));
  TRY(splice(f, NULL, out, NULL, 1, 0));
  TRY(splice(77, NULL, q[1], NULL, 1, 0));
  TRY(splice(f, NULL, 77, NULL, 1, 0));
  TRY(splice(p[0], &at, q[1], NULL, 1, 0));
  TRY(splice(p[0], NULL, q[1], NULL, 0, 0));
  TRY(splice(p[0], NULL, p[1], NULL, 1, 0));
  TRY(splice(p[1], NULL, q[1], NULL, 1, 0));
  TRY(splice(f, BAD, q[1], NULL, 1, 0));
  TRY(splice(f, NULL, q[1], NULL, 1, 0x100));
  TRY(tee(f, q[1], 1, 0));
  TRY(tee(p[0], p[1], 1, 0));
  TRY(vmsplice(q[1], BAD, 1, 0));
  TRY(vmsplice(f, io, 1, 0));
  int app = NEED(open("out", O_WRONLY | O_APPEND));
  TRY(splice(p[0], NULL, app, NULL, 1, 0));
  return 0;
}
