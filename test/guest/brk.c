/* brk(2): growing, shrinking, zeroed pages, refusal. */
#include "guest.h"
#include <sys/resource.h>

int main(void) {
  begin();
  char *start = (char *)syscall(SYS_brk, 0);
  YES(start != NULL);
  YES((char *)syscall(SYS_brk, start + 100) == start + 100);
  char *page = (char *)(((uintptr_t)start + 4095) & -4096);
  YES((char *)syscall(SYS_brk, page + 3 * 4096) == page + 3 * 4096);
  page[0] = 'x';
  page[3 * 4096 - 1] = 'y';
  YES((char *)syscall(SYS_brk, page + 4096) == page + 4096);
  YES(page[0] == 'x');
  TRY(madvise(page + 4096, 4096, MADV_NORMAL));
  YES((char *)syscall(SYS_brk, page + 3 * 4096) == page + 3 * 4096);
  YES(page[3 * 4096 - 1] == 0);
  YES((char *)syscall(SYS_brk, 8) == page + 3 * 4096);
  YES((char *)syscall(SYS_brk, -1L) == page + 3 * 4096);
  YES((char *)syscall(SYS_brk, page + (1ul << 46)) == page + 3 * 4096);
  CHILD("its own in the child", {
    YES((char *)syscall(SYS_brk, 0) == page + 3 * 4096);
    YES((char *)syscall(SYS_brk, page + 5 * 4096) == page + 5 * 4096);
    page[0] = 'c';
  });
  YES((char *)syscall(SYS_brk, 0) == page + 3 * 4096);
  YES(page[0] == 'x');
  CHILD("RLIMIT_DATA", {
    struct rlimit few = {1 << 20, 1 << 20};
    NEED(setrlimit(RLIMIT_DATA, &few));
    YES((char *)syscall(SYS_brk, page + (8 << 20)) == page + 3 * 4096);
    TRY(mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    OK(mmap(NULL, 8 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  });
  char *obstacle = mmap(page + 8 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  YES(obstacle == page + 8 * 4096);
  YES((char *)syscall(SYS_brk, page + 20 * 4096) == page + 3 * 4096);
  munmap(obstacle, 4096);
  YES((char *)syscall(SYS_brk, page + 20 * 4096) == page + 20 * 4096);
  return 0;
}
