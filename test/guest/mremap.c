/* mremap(2): grow in place, move, shrink, fixed target, shared duplicates, errors. */
#include "guest.h"

int main(void) {
  begin();
  const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
  char *area = NEED(mmap(NULL, 16 * 4096, PROT_NONE, anon, -1, 0));
  munmap(area, 16 * 4096);
  char *a = NEED(mmap(area, 4096, rw, anon | MAP_FIXED_NOREPLACE, -1, 0));
  a[0] = 'a';
  a[4095] = 'z';
  YES(mremap(a, 4096, 3 * 4096, 0) == a);
  YES(a[0] == 'a' && a[4095] == 'z' && a[4096] == 0);
  a[3 * 4096 - 1] = 'e';
  char *wall = NEED(mmap(area + 3 * 4096, 4096, rw, anon | MAP_FIXED_NOREPLACE, -1, 0));
  TRY(mremap(a, 3 * 4096, 4 * 4096, 0));
  char *b = mremap(a, 3 * 4096, 4 * 4096, MREMAP_MAYMOVE);
  YES(b != MAP_FAILED && b != a);
  YES(b[0] == 'a' && b[4095] == 'z' && b[3 * 4096 - 1] == 'e' && b[4 * 4096 - 1] == 0);
  TRY(madvise(a, 4096, MADV_NORMAL));
  YES(mremap(b, 4 * 4096, 4096, 0) == b);
  TRY(madvise(b + 4096, 4096, MADV_NORMAL));
  YES(mremap(b, 4096, 4096, 0) == b);

  say("-- fixed");
  char *target = NEED(mmap(NULL, 8192, rw, anon, -1, 0));
  target[0] = 't';
  YES(mremap(b, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
  YES(target[0] == 'a' && target[4096] == 0);
  TRY(mremap(target, 4096, 4096, MREMAP_FIXED, b));
  TRY(mremap(target, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, b + 1));
  TRY(mremap(target, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, target + 4096));
  TRY(mremap(target + 1, 4096, 4096, 0));
  TRY(mremap(target, 4096, 0, 0));
  TRY(mremap(target, 0, 4096, MREMAP_MAYMOVE));
  TRY(mremap(target, 4096, 4096, 64));
  TRY(mremap(BAD, 4096, 8192, MREMAP_MAYMOVE));
  munmap(wall, 4096);
  TRY(mremap(wall, 4096, 8192, MREMAP_MAYMOVE));

  say("-- the middle of a mapping");
  char *m = NEED(mmap(NULL, 4 * 4096, rw, anon, -1, 0));
  m[4096] = 'm';
  m[3 * 4096] = 'n';
  char *moved = mremap(m + 4096, 4096, 8192, MREMAP_MAYMOVE);
  YES(moved != MAP_FAILED && moved[0] == 'm' && moved[4096] == 0);
  YES(m[3 * 4096] == 'n');
  TRY(madvise(m + 4096, 4096, MADV_NORMAL));

  say("-- files");
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
  NEED(ftruncate(fd, 8192));
  pwrite(fd, "1", 1, 0);
  pwrite(fd, "2", 1, 4096);
  char *f = NEED(mmap(NULL, 4096, rw, MAP_SHARED, fd, 0));
  f = mremap(f, 4096, 8192, MREMAP_MAYMOVE);
  YES(f[0] == '1' && f[4096] == '2');
  char *twin = mremap(f, 0, 8192, MREMAP_MAYMOVE); /* a second mapping of shared memory */
  YES(twin != MAP_FAILED && twin != f);
  twin[0] = 'T';
  YES(f[0] == 'T');
  show_file("f");

  say("-- a big one keeps its content");
  char *big = NEED(mmap(NULL, 8 << 20, rw, anon, -1, 0));
  for (int i = 0; i < 8 << 20; i += 4096) big[i] = i >> 12;
  big = mremap(big, 8 << 20, 32 << 20, MREMAP_MAYMOVE);
  int wrong = 0;
  for (int i = 0; i < 8 << 20; i += 4096) wrong += big[i] != (char)(i >> 12);
  for (int i = 8 << 20; i < 32 << 20; i += 4096) wrong += big[i] != 0;
  TRY(wrong);
  char *p = malloc(100000);
  memset(p, 'k', 100000);
  p = realloc(p, 50 << 20);
  YES(p[0] == 'k' && p[99999] == 'k');
  return 0;
}
