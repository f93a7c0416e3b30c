/* mprotect(2): what is allowed afterwards, splitting, faults that a handler repairs, errors. */
#include "guest.h"

static volatile int faults, code;
static char *volatile repair;
static volatile bool right;

static void fix(int n, siginfo_t *si, void *uc) {
  (void)n, (void)uc;
  faults++;
  code = si->si_code;
  right = (char *)si->si_addr >= repair && (char *)si->si_addr < repair + 4096;
  if (mprotect(repair, 4096, PROT_READ | PROT_WRITE)) _exit(9);
}

int main(void) {
  begin();
  handle_info(SIGSEGV, fix, 0);
  char *m = NEED(mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(m, 'i', 8 * 4096);
  TRY(mprotect(m + 4096, 4096, PROT_READ));
  repair = m + 4096;
  char c = m[4096];
  say("read %c, faults %d", c, faults);
  m[4096 + 7] = 'w';
  say("write: faults %d code %d addr %s", faults, code, right ? "right" : "wrong");
  TRY(mprotect(m + 8192, 8192, PROT_NONE));
  repair = m + 8192;
  c = m[8192 + 1];
  say("none: faults %d code %d addr %s value %c", faults, code, right ? "right" : "wrong", c);
  repair = m + 12288;
  m[12288] = 'z';
  say("its neighbour: faults %d", faults);

  say("-- a write barrier over many pages, as a garbage collector does it");
  char *heap = NEED(mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(heap, 0, 64 * 4096);
  TRY(mprotect(heap, 64 * 4096, PROT_READ));
  faults = 0;
  for (int i = 0; i < 64; i++) {
    repair = heap + i * 4096;
    heap[i * 4096 + 5] = i;
    heap[i * 4096 + 6] = i;
  }
  int sum = 0;
  for (int i = 0; i < 64; i++) sum += heap[i * 4096 + 5];
  say("faults %d sum %d", faults, sum);

  say("-- code");
  unsigned char *code_page = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memcpy(code_page, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
  TRY(mprotect(code_page, 4096, PROT_READ | PROT_EXEC));
  TRY(((int (*)(void))code_page)());
  TRY(mprotect(code_page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
  code_page[1] = 43;
  TRY(((int (*)(void))code_page)());

  say("-- errors");
  TRY(mprotect(m + 1, 4096, PROT_READ));
  TRY(mprotect(m, 0, PROT_READ));
  TRY(mprotect(m, 4096, 0x100));
  TRY(mprotect(BAD, 4096, PROT_READ));
  TRY(mprotect((void *)4096, 4096, PROT_READ));
  munmap(m + 5 * 4096, 4096);
  TRY(mprotect(m + 4 * 4096, 4 * 4096, PROT_READ)); /* a hole in the middle: the part before it changes */
  repair = m + 4 * 4096;
  faults = 0;
  m[4 * 4096] = 1;
  say("before the hole: faults %d", faults);
  m[7 * 4096] = 1;
  say("after the hole: faults %d", faults);

  say("-- inherited over fork");
  mprotect(m, 4096, PROT_READ);
  signal(SIGSEGV, SIG_DFL);
  CHILD("child", { m[0] = 1; });
  TRY(mprotect((void *)((uintptr_t)main & -4096), 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
  m = NULL;
  return 0;
}
