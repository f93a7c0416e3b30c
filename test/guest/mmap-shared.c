/* mmap: shared and private, anonymous and file; what fork shares; placement, protection and errors. */
#include "guest.h"

int main(void) {
  begin();
  const int rw = PROT_READ | PROT_WRITE;
  char *shared = NEED(mmap(NULL, 8192, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  char *private = NEED(mmap(NULL, 8192, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shared[0] = private[0] = 'p';
  YES(shared[1] == 0 && private[8191] == 0);
  CHILD("child writes", { shared[0] = 'c'; private[0] = 'c'; shared[5000] = 'c'; });
  say("shared %c %c private %c", shared[0], shared[5000], private[0]);
  pid_t kid = fork();
  if (!kid) {
    while (__atomic_load_n(&shared[1], __ATOMIC_ACQUIRE) == 0) sleep_ms(1);
    _exit(shared[2] == 'm' && private[0] == 'p' ? 0 : 1);
  }
  private[0] = 'x';
  shared[2] = 'm';
  __atomic_store_n(&shared[1], 1, __ATOMIC_RELEASE);
  reap("child sees it live, but not private", kid);

  say("-- files");
  put_file("f", "0123456789", 0644);
  int fd = NEED(open("f", O_RDWR));
  char *fs = NEED(mmap(NULL, 4096, rw, MAP_SHARED, fd, 0));
  char *fp = NEED(mmap(NULL, 4096, rw, MAP_PRIVATE, fd, 0));
  YES(memcmp(fs, "0123456789\0\0", 12) == 0);
  fs[0] = 'S';
  YES(fp[0] == 'S');
  show_file("f");
  fp[1] = 'P';
  YES(fs[1] == '1');
  show_file("f");
  pwrite(fd, "W", 1, 2);
  YES(fs[2] == 'W');
  say("private copy of the page keeps %c", fp[2] == 'W' || fp[2] == '2' ? fp[1] : '?');
  fs[20] = 'z'; /* beyond the end: not in the file */
  show_file("f");
  TRY(msync(fs, 4096, MS_SYNC));
  CHILD("child writes the shared file map", { fs[3] = 'C'; });
  show_file("f");
  char *second = NEED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
  fs[4] = '!';
  YES(second[4] == '!');
  close(fd);
  fs[5] = '?';
  YES(second[5] == '?');
  show_file("f");

  say("-- offsets");
  fd = NEED(open("g", O_CREAT | O_RDWR, 0600));
  NEED(ftruncate(fd, 16384));
  for (int i = 0; i < 4; i++) pwrite(fd, &(char){'a' + i}, 1, i * 4096);
  char *at = NEED(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 8192));
  say("%c %c", at[0], at[4096]);
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 100));
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, -4096));
  OK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 1 << 20));

  say("-- placement");
  char *area = NEED(mmap(NULL, 5 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  YES(mmap(area + 4096, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area + 4096);
  area[4096] = 1;
  TRY(mmap(area + 4096, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  NEED(munmap(area + 8192, 4096));
  YES(mmap(area + 8192, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == area + 8192);
  NEED(munmap(area + 8192, 4096));
  YES(mmap(area + 8192, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == area + 8192); /* a free hint is taken */
  char *other = mmap(area, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  YES(other != area && other != MAP_FAILED);
  TRY(mmap(area + 1, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  TRY(mmap((void *)0x7ffffffff000, 8192, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  TRY(munmap(area, 5 * 4096));
  TRY(munmap(area, 5 * 4096));
  TRY(munmap(area + 1, 4096));
  TRY(munmap(area, 0));
  TRY(munmap((void *)0x7ffffffff000, 8192));
  char *low = mmap(NULL, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  YES((uintptr_t)low < 1ul << 31);

  say("-- errors");
  TRY(mmap(NULL, 0, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  TRY(mmap(NULL, 4096, rw, MAP_ANONYMOUS, -1, 0));
  TRY(mmap(NULL, 4096, rw, MAP_PRIVATE, 77, 0));
  TRY(mmap(NULL, 4096, rw, MAP_PRIVATE, -1, 0));
  TRY(mmap(NULL, 1ul << 47, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  TRY(mmap(NULL, -1ul, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  int ro = NEED(open("f", O_RDONLY)), wo = NEED(open("f", O_WRONLY)), p[2], dir = NEED(open(".", O_RDONLY));
  TRY(mmap(NULL, 4096, rw, MAP_SHARED, ro, 0));
  OK(mmap(NULL, 4096, rw, MAP_PRIVATE, ro, 0));
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, wo, 0));
  TRY(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, wo, 0));
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, dir, 0));
  NEED(pipe(p));
  TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, p[0], 0));
  char *readonly = NEED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 0));
  TRY(mprotect(readonly, 4096, rw));
  TRY(msync(readonly, 4096, MS_SYNC | MS_ASYNC));
  TRY(msync(readonly + 1, 4096, MS_SYNC));
  TRY(msync(BAD, 4096, MS_SYNC));
  munmap(readonly, 4096);
  TRY(msync(readonly, 4096, MS_SYNC));

  say("-- /dev/zero");
  int zero = NEED(open("/dev/zero", O_RDWR));
  char *z = NEED(mmap(NULL, 4096, rw, MAP_PRIVATE, zero, 0));
  z[9] = 1;
  say("%d %d", z[8], z[9]);
  z = NEED(mmap(NULL, 4096, rw, MAP_SHARED, zero, 0));
  CHILD("child", { z[0] = 5; });
  TRY(z[0]);

  say("-- buffers inside mappings work as call arguments");
  char *buffer = NEED(mmap(NULL, 1 << 20, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  int in = NEED(open("big", O_CREAT | O_RDWR, 0600));
  memset(buffer, 'q', 1 << 20);
  TRY(write(in, buffer, 1 << 20));
  memset(buffer, 0, 1 << 20);
  TRY(pread(in, buffer, 1 << 20, 0));
  YES(buffer[0] == 'q' && buffer[(1 << 20) - 1] == 'q');
  char *roart = NEED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  TRY(pread(in, roart, 10, 0));
  TRY(pread(in, (void *)main, 10, 0));
  return 0;
}
