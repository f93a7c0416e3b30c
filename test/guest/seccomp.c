/* seccomp: strict mode, a filter that gives an errno or kills, inheritance. */
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

int main(void) {
  begin();
  CHILD("strict: write and exit are allowed", {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    write(1, "still writing\n", 14);
    syscall(SYS_exit, 3);
  });
  CHILD("strict: getpid kills", {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_getpid);
    syscall(SYS_exit, 3);
  });
  CHILD("filter", {
    struct sock_filter f[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_yield, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog p = {sizeof f / sizeof *f, f};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
    TRY(prctl(PR_GET_SECCOMP));
    errno = 0;
    long r = syscall(SYS_getppid);
    say("getppid: %ld errno %d", r, errno);
    CHILD("inherited", { syscall(SYS_getppid); _exit(errno); });
    syscall(SYS_sched_yield);
    _exit(0);
  });
  return 0;
}
