/* sendfile(2): from file to file, pipe and socket, with and without an offset. */
#include "guest.h"

int main(void) {
  begin();
  char b[64] = "";
  put_file("a", "0123456789", 0644);
  int a = NEED(open("a", O_RDONLY)), out = NEED(open("b", O_CREAT | O_RDWR, 0600)), p[2], s[2];
  NEED(pipe(p));
  NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  TRY(sendfile(out, a, NULL, 4));
  TRY(lseek(a, 0, SEEK_CUR));
  off_t at = 8;
  TRY(sendfile(p[1], a, &at, 100));
  TRY(at);
  TRY(lseek(a, 0, SEEK_CUR));
  TRY(read(p[0], b, 10));
  TRY(sendfile(s[0], a, NULL, 3));
  TRY(read(s[1], b, 10));
  say("\"%.3s\"", b);
  TRY(sendfile(out, a, NULL, 100));
  TRY(sendfile(out, a, NULL, 100));
  show_file("b");
  TRY(sendfile(out, a, NULL, 0));
  TRY(sendfile(out, s[0], NULL, 5));
  TRY(sendfile(a, a, NULL, 5));
  TRY(sendfile(77, a, NULL, 5));
  TRY(sendfile(out, 77, NULL, 5));
  at = -1;
  TRY(sendfile(out, a, &at, 5));
  TRY(sendfile(out, a, BAD, 5));
  int ap = NEED(open("b", O_WRONLY | O_APPEND));
  at = 0;
  TRY(sendfile(ap, a, &at, 5));

  say("-- a full pipe");
  int big = NEED(open("big", O_CREAT | O_RDWR, 0600));
  NEED(ftruncate(big, 1 << 20));
  fcntl(p[1], F_SETFL, O_NONBLOCK);
  at = 0;
  YES(sendfile(p[1], big, &at, 1 << 20) == 65536);
  TRY(sendfile(p[1], big, &at, 1 << 20));
  return 0;
}
