/* readv, writev, preadv2, pwritev2: gathering, partial success at a bad buffer, limits. */
#include "guest.h"

int main(void) {
  begin();
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
  struct iovec w[] = {{"one ", 4}, {"", 0}, {"two ", 4}, {"three", 5}};
  TRY(writev(fd, w, 4));
  show_file("f");
  char a[4] = "", b[16] = "";
  lseek(fd, 0, SEEK_SET);
  struct iovec r[] = {{a, 3}, {b, 15}};
  TRY(readv(fd, r, 2));
  say("\"%s\" \"%s\"", a, b);
  TRY(readv(fd, r, 2));
  TRY(preadv(fd, r, 2, 4));
  say("\"%s\" \"%s\"", a, b);
  TRY(pwritev(fd, w, 1, 20));
  TRY(lseek(fd, 0, SEEK_CUR));
  show_file("f");
  TRY(preadv2(fd, r, 2, -1, 0));
  lseek(fd, 1, SEEK_SET);
  TRY(preadv2(fd, r, 1, -1, 0));
  TRY(lseek(fd, 0, SEEK_CUR));
  TRY(pwritev2(fd, w, 1, 0, RWF_APPEND));
  show_file("f");
  TRY(preadv2(fd, r, 2, 0, 0x10000000));

  say("-- counts and lengths");
  TRY(writev(fd, w, 0));
  TRY(writev(fd, NULL, 0));
  TRY(writev(fd, w, -1));
  struct iovec *many = calloc(1025, sizeof *many);
  for (int i = 0; i < 1025; i++) many[i] = (struct iovec){"z", 1};
  int z = NEED(open("z", O_CREAT | O_RDWR, 0600));
  TRY(writev(z, many, 1024));
  TRY(writev(z, many, 1025));
  struct iovec negative[] = {{"x", 1}, {"y", (size_t)-1}};
  TRY(writev(z, negative, 2));
  TRY(lseek(z, 0, SEEK_CUR));
  TRY(preadv(fd, r, 1, -2));

  say("-- bad addresses");
  TRY(writev(fd, BAD, 1));
  TRY(readv(fd, BAD, 1));
  struct iovec half[] = {{"good", 4}, {BAD, 4}};
  int g = NEED(open("g", O_CREAT | O_RDWR, 0600));
  TRY(writev(g, half, 2));
  show_file("g");
  struct iovec bad_first[] = {{BAD, 4}, {"good", 4}};
  TRY(writev(g, bad_first, 2));
  lseek(fd, 0, SEEK_SET);
  struct iovec into[] = {{a, 2}, {BAD, 4}};
  TRY(readv(fd, into, 2));
  TRY(lseek(fd, 0, SEEK_CUR));
  char *edge = edge_page();
  lseek(fd, 0, SEEK_SET);
  TRY(read(fd, edge + 4094, 8));
  struct iovec zero_bad[] = {{BAD, 0}, {a, 1}};
  TRY(readv(fd, zero_bad, 2));

  say("-- pipes and sockets");
  int p[2];
  NEED(pipe(p));
  TRY(writev(p[1], w, 4));
  TRY(readv(p[0], r, 2));
  int s[2];
  NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
  TRY(writev(s[0], w, 4));
  TRY(readv(s[1], (struct iovec[]){{a, 1}, {b, 4}}, 2));
  TRY(pwritev(p[1], w, 1, 0));
  TRY(preadv(p[0], r, 1, 0));
  TRY(writev(77, w, 1));
  TRY(writev(p[0], w, 1));
  return 0;
}
