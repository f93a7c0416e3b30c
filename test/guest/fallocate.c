/* fallocate(2): extend, keep the size, punch a hole, zero a range, errors. */
#include "guest.h"
#include <linux/falloc.h>

static long size(int fd) {
  struct stat st;
  fstat(fd, &st);
  return st.st_size;
}

static int at(int fd, off_t offset) {
  unsigned char c = 0;
  return pread(fd, &c, 1, offset) == 1 ? c : -1;
}

int main(void) {
  begin();
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
  char *data = malloc(65536);
  memset(data, 'd', 65536);
  TRY(fallocate(fd, 0, 0, 10000));
  TRY(size(fd));
  TRY(at(fd, 9999));
  TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
  TRY(size(fd));
  TRY(fallocate(fd, 0, 100, 100));
  TRY(size(fd));
  TRY(pwrite(fd, data, 65536, 0));
  TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 8192));
  TRY(size(fd));
  TRY(at(fd, 99));
  TRY(at(fd, 100));
  TRY(at(fd, 8291));
  TRY(at(fd, 8292));
  TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
  TRY(fallocate(fd, 0, 0, 0));
  TRY(fallocate(fd, 0, -1, 10));
  TRY(fallocate(fd, 0, 0, -1));
  TRY(fallocate(fd, 0x4000, 0, 10));
  TRY(fallocate(77, 0, 0, 10));
  int ro = NEED(open("f", O_RDONLY)), p[2];
  TRY(fallocate(ro, 0, 0, 10));
  NEED(pipe(p));
  TRY(fallocate(p[1], 0, 0, 10));
  int dir = NEED(open(".", O_RDONLY));
  TRY(fallocate(dir, 0, 0, 10));
  TRY(fallocate(fd, 0, INT64_MAX - 10, 100));
  TRY(ERR(posix_fallocate(fd, 70000, 10)));
  TRY(size(fd));
  struct stat st;
  int a = NEED(open("a", O_CREAT | O_RDWR, 0600));
  TRY(fallocate(a, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
  fstat(a, &st);
  YES(st.st_blocks >= 2048);
  TRY(ftruncate(a, 0));
  fstat(a, &st);
  YES(st.st_blocks < 2048);
  return 0;
}
