/* read, write, pread, pwrite, lseek, truncate: offsets, holes, ends, limits, errors. */
#include "guest.h"

int main(void) {
  begin();
  char b[64] = "";
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0644)), p[2];
  NEED(pipe(p));
  TRY(pwrite(fd, "abcdef", 6, 0));
  TRY(lseek(fd, 0, SEEK_CUR));
  TRY(read(fd, b, 3));
  TRY(pread(fd, b, 10, 4));
  TRY(pread(fd, b, 10, 6));
  TRY(pread(fd, b, 10, 600));
  TRY(pread(fd, b, 10, -1));
  TRY(pwrite(fd, b, 1, -1));
  TRY(pread(fd, b, 0, 0));
  TRY(lseek(fd, 0, SEEK_CUR));
  TRY(pwrite(fd, "Z", 1, 9999));
  TRY(lseek(fd, 0, SEEK_END));
  b[0] = 'x';
  TRY(pread(fd, b, 1, 5000));
  TRY(b[0]);

  say("-- lseek");
  TRY(lseek(fd, -1, SEEK_SET));
  TRY(lseek(fd, 5, SEEK_SET));
  TRY(lseek(fd, -6, SEEK_CUR));
  TRY(lseek(fd, 0, SEEK_CUR));
  TRY(lseek(fd, 1000000, SEEK_END));
  TRY(read(fd, b, 1));
  TRY(lseek(fd, 0, 99));
  TRY(lseek(p[0], 0, SEEK_CUR));
  TRY(pread(p[0], b, 1, 0));
  TRY(pwrite(p[1], b, 1, 0));
  TRY(lseek(77, 0, SEEK_SET));
  TRY(lseek(fd, 0, SEEK_SET));

  say("-- holes");
  int h = NEED(open("h", O_CREAT | O_RDWR, 0644));
  TRY(ftruncate(h, 1 << 20));
  char *page = malloc(4096);
  memset(page, 'p', 4096);
  TRY(pwrite(h, page, 4096, 65536));
  TRY(lseek(h, 0, SEEK_DATA));
  TRY(lseek(h, 65536, SEEK_HOLE));
  TRY(lseek(h, 0, SEEK_HOLE));
  TRY(lseek(h, 200000, SEEK_DATA));
  TRY(lseek(h, 200000, SEEK_HOLE));
  TRY(lseek(h, 1 << 20, SEEK_HOLE));

  say("-- truncate");
  TRY(ftruncate(fd, 3));
  TRY(lseek(fd, 0, SEEK_END));
  TRY(ftruncate(fd, 6));
  TRY(pread(fd, b, 10, 0));
  YES(memcmp(b, "abc\0\0\0", 6) == 0);
  TRY(ftruncate(fd, -1));
  TRY(truncate("f", 2));
  TRY(truncate("missing", 2));
  TRY(truncate(".", 2));
  TRY(truncate(BAD, 2));
  TRY(ftruncate(p[1], 0));
  int ro = NEED(open("f", O_RDONLY));
  TRY(ftruncate(ro, 0));
  TRY(pread(ro, b, 10, 0));

  say("-- errors");
  TRY(read(77, b, 1));
  TRY(write(77, b, 1));
  TRY(read(-1, b, 1));
  TRY(write(ro, b, 1));
  TRY(write(ro, b, 0));
  TRY(read(fd, BAD, 1));
  TRY(pwrite(fd, BAD, 1, 0));
  TRY(write(fd, BAD, 0));
  TRY(syscall(SYS_read, fd, b, -1L));
  TRY(syscall(SYS_write, fd, BAD, -1L));
  TRY(read(fd, KERNEL_BAD, 1));
  TRY(write(fd, KERNEL_BAD, 1));
  char *edge = edge_page();
  memset(edge, 'e', 4096);
  TRY(pwrite(fd, edge + 4092, 8, 0));
  TRY(pwrite(fd, edge + 4096, 8, 0));
  struct stat st;
  fstat(fd, &st);
  TRY(st.st_size);

  say("-- devices");
  int null = NEED(open("/dev/null", O_RDWR)), zero = NEED(open("/dev/zero", O_RDWR)), full = NEED(open("/dev/full", O_RDWR));
  TRY(read(null, b, 10));
  TRY(write(null, b, 10));
  b[0] = 1;
  TRY(read(zero, b, 10));
  TRY(b[0]);
  TRY(write(full, b, 10));
  TRY(read(full, b, 10));
  TRY(lseek(null, 5, SEEK_SET));
  TRY(pread(zero, b, 3, 100));
  return 0;
}
