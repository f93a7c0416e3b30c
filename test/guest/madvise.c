/* madvise, mincore, mlock: DONTNEED, DONTFORK, WIPEONFORK, FREE, REMOVE, and errors. */
#include "guest.h"

int main(void) {
  begin();
  const int rw = PROT_READ | PROT_WRITE;
  char *a = NEED(mmap(NULL, 4 * 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(a, 'a', 4 * 4096);
  TRY(madvise(a + 4096, 4096, MADV_DONTNEED));
  say("%c %d %c", a[0], a[4096], a[8192]);
  a[4096] = 'n';
  say("%c", a[4096]);
  char *s = NEED(mmap(NULL, 4096, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  s[0] = 's';
  TRY(madvise(s, 4096, MADV_DONTNEED));
  say("shared memory keeps %c", s[0]);
  TRY(madvise(s, 4096, MADV_REMOVE));
  say("removed: %d", s[0]);
  put_file("f", "file", 0600);
  int fd = NEED(open("f", O_RDWR));
  char *f = NEED(mmap(NULL, 4096, rw, MAP_PRIVATE, fd, 0));
  f[0] = 'F';
  TRY(madvise(f, 4096, MADV_DONTNEED));
  say("a private file page comes back as the file has it: %c", f[0]);

  say("-- fork");
  char *d = NEED(mmap(NULL, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char *w = NEED(mmap(NULL, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  d[0] = w[0] = 'p';
  TRY(madvise(d, 4096, MADV_DONTFORK));
  TRY(madvise(w, 4096, MADV_WIPEONFORK));
  CHILD("wiped", { say("wiped: %d", w[0]); });
  CHILD("not forked", { d[0] = 1; });
  say("parent keeps %c %c", d[0], w[0]);
  TRY(madvise(d, 4096, MADV_DOFORK));
  TRY(madvise(w, 4096, MADV_KEEPONFORK));
  CHILD("both there", { say("%c %c", d[0], w[0]); });
  TRY(madvise(s, 4096, MADV_WIPEONFORK));

  say("-- advice without visible effect");
  int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_FREE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD, MADV_PAGEOUT};
  for (unsigned i = 0; i < sizeof advice / sizeof *advice; i++) say("%d: %s", advice[i], madvise(a, 8192, advice[i]) ? errno_name(errno) : "0");
  TRY(madvise(a, 8192, MADV_POPULATE_READ));
  TRY(madvise(a, 8192, MADV_POPULATE_WRITE));

  say("-- errors");
  TRY(madvise(a + 1, 4096, MADV_NORMAL));
  TRY(madvise(a, 4096, 999));
  TRY(madvise(a, 0, MADV_NORMAL));
  TRY(madvise(a, -1ul, MADV_NORMAL));
  munmap(a + 4096, 4096);
  TRY(madvise(a, 4 * 4096, MADV_NORMAL));
  TRY(madvise(a, 4 * 4096, MADV_DONTNEED));
  say("around the hole: %d %d", a[0], a[8192]);

  say("-- mincore and mlock");
  unsigned char vec[4];
  a[0] = 1;
  TRY(mincore(a, 4096, vec));
  YES(vec[0] & 1);
  TRY(mincore(a + 1, 4096, vec));
  TRY(mincore(a, 8192, vec));
  TRY(mincore(a, 4096, BAD));
  TRY(mlock(a, 4096));
  TRY(munlock(a, 4096));
  TRY(mlock(a, 8192));
  TRY(munlockall());
  TRY(mlockall(0));
  TRY(mlockall(64));
  return 0;
}
