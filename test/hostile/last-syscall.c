/*
 * A `syscall` that is the last instruction of the memory that guests may map: the next one would be the stub's, whose own
 * calls the host answers.
 *
 * expect: exit 7
 */
#include "../../src/native/mailbox.h"
#include "hostile.h"

int main(void) {
  uint8_t *page = mmap((void *)(GUEST_END - 4096), 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (page == MAP_FAILED) cannot("mmap of the last page");
  page[4094] = 0x0f;
  page[4095] = 0x05;
  __asm__ volatile("jmp *%0" ::"r"(page + 4094), "a"(SYS_exit_group), "D"(7L));
  return 1;
}
