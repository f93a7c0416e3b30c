/*
 * Changes the arguments of its calls after its own system call filter has looked at them: the filter forbids a directory
 * of mode 0777, another thread writes that mode into the mailbox all the time.
 *
 * expect: exit 0
 * prints: ^0 of \d+ directories have the forbidden mode\n$
 * seconds: 40
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include "stub.h"

static volatile int has_mailbox, enough, stopped;
static void no_mailbox(int signo) {
  (void)signo;
  siglongjmp(stub_rescue, 1);
}

static void *flipper(void *arg) {
  volatile struct slot *slot = slot_of_thread(0);
  (void)arg;
  while (!enough) {
    slot->regs[13] = 0777;
    slot->regs[13] = 0700;
  }
  stopped = 1;
  return NULL;
}

int main(void) {
  signal(SIGSEGV, no_mailbox);
  if (sigsetjmp(stub_rescue, 1) == 0) {
    (void)slot_of_thread(0)->state;
    has_mailbox = 1;
  }
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0777, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog prog = {sizeof filter / sizeof *filter, filter};
  umask(0);
  mkdir("/tmp/hostile-fetch", 0700);
  if (chdir("/tmp/hostile-fetch") < 0) cannot("a directory");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0) cannot("a filter");
  pthread_t t;
  if (has_mailbox && pthread_create(&t, NULL, flipper, NULL) != 0) cannot("a thread");
  int made = 0, forbidden = 0;
  for (int i = 0; i < 4000; i++) {
    struct stat st;
    if (mkdir("d", 0700) == 0 && stat("d", &st) == 0) {
      made++;
      if ((st.st_mode & 0777) == 0777) forbidden++;
    }
    rmdir("d");
  }
  for (enough = 1; has_mailbox && !stopped;) __asm__ volatile("pause");
  printf("%d of %d directories have the forbidden mode\n", forbidden, made);
  return 0;
}
