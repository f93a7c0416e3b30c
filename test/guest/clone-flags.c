/* clone and clone3: each sharing flag alone, tids written where asked, exit signals, bad combinations. */
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int value;
static int fd;
static volatile pid_t seen_tid, seen_pid;

static int body(void *what) {
  const char *kind = what;
  value = 7;
  seen_tid = gettid();
  seen_pid = getpid();
  if (strcmp(kind, "fs") == 0) { chdir("sub"); umask(077); }
  if (strcmp(kind, "files") == 0) { fd = dup2(1, 40); close(41); }
  if (strcmp(kind, "sig") == 0) { signal(SIGUSR1, SIG_IGN); }
  if (strcmp(kind, "parent") == 0) return getppid() == atoi(getenv("GRANDPARENT")) ? 0 : 1;
  return 3;
}

static void run(const char *name, int flags, const char *what) {
  int status;
  value = 1;
  pid_t pid = clone(body, stack + sizeof stack, flags, (void *)what);
  if (pid < 0) { say("%s: %s", name, errno_name(errno)); return; }
  pid_t got = waitpid(pid, &status, __WALL);
  say("%s: %s %s, value %d", name, got == pid ? "waited" : errno_name(errno), WIFEXITED(status) ? "exited" : "killed", value);
}

static volatile int chld;
static void on_signal(int n) { chld = n; }

int main(void) {
  begin();
  mkdir("sub", 0755);
  dup2(1, 41);
  run("nothing shared", SIGCHLD, "");
  run("VM", CLONE_VM | SIGCHLD, "");
  run("VM and VFORK", CLONE_VM | CLONE_VFORK | SIGCHLD, "");
  run("FS", CLONE_FS | SIGCHLD, "fs");
  char cwd[PATH_MAX];
  YES(strcmp(strrchr(getcwd(cwd, sizeof cwd), '/'), "/sub") == 0);
  say("umask %03o", umask(022));
  run("FS not shared", SIGCHLD, "fs");
  say("umask %03o", umask(022));
  chdir("..");
  run("FILES", CLONE_FILES | SIGCHLD, "files");
  TRY(fcntl(40, F_GETFD));
  TRY(fcntl(41, F_GETFD));
  run("SIGHAND", CLONE_SIGHAND | CLONE_VM | SIGCHLD, "sig");
  struct sigaction sa;
  sigaction(SIGUSR1, NULL, &sa);
  YES(sa.sa_handler == SIG_IGN);
  signal(SIGUSR1, SIG_DFL);
  run("SIGHAND without VM", CLONE_SIGHAND | SIGCHLD, "");
  run("THREAD without SIGHAND", CLONE_THREAD | CLONE_VM | SIGCHLD, "");
  run("NEWNS with FS", CLONE_NEWNS | CLONE_FS | SIGCHLD, "");
  run("no exit signal", 0, "");
  run("exit signal USR2 blocked by default action is ours", CLONE_VM | SIGCHLD, "");
  handle(SIGUSR2, on_signal, SA_RESTART);
  run("exit signal USR2", SIGUSR2, "");
  say("signal %s", chld ? signal_name(chld) : "none");
  pid_t pid = clone(body, stack + sizeof stack, SIGUSR2, "");
  int status;
  TRY(waitpid(pid, &status, 0)); /* not a SIGCHLD child */
  YES(waitpid(pid, &status, __WCLONE) == pid);

  say("-- tids");
  pid_t *tids = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, &tids[0], &tids[1], 0);
  if (!pid) _exit(tids[1] == gettid() ? 0 : 1);
  YES(tids[0] == pid);
  reap("child's tid was set", pid);
  pid = syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, NULL, BAD, NULL, 0);
  if (!pid) _exit(0);
  reap("a bad parent tid pointer does not matter", pid);

  say("-- CLONE_PARENT");
  char text[16];
  sprintf(text, "%d", getpid());
  setenv("GRANDPARENT", text, 1);
  pid = fork();
  if (!pid) {
    pid_t sibling = clone(body, stack + sizeof stack, CLONE_PARENT | SIGCHLD, "parent");
    _exit(sibling > 0 && waitpid(sibling, &status, 0) == -1 && errno == ECHILD ? 0 : 1);
  }
  int sum = 0;
  for (int i = 0; i < 2; i++) { wait(&status); sum += status; }
  say("both are ours, statuses %d", sum);

  say("-- clone3");
  struct clone_args a = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};
  int pidfd = -1;
  a.pidfd = (uintptr_t)&pidfd;
  pid = syscall(SYS_clone3, &a, sizeof a);
  if (!pid) _exit(5);
  YES(pidfd >= 0);
  siginfo_t si;
  TRY(waitid(P_PIDFD, pidfd, &si, WEXITED));
  TRY(si.si_status);
  a = (struct clone_args){.exit_signal = 65};
  TRY(syscall(SYS_clone3, &a, sizeof a));
  a = (struct clone_args){.exit_signal = SIGCHLD, .flags = SIGCHLD};
  TRY(syscall(SYS_clone3, &a, sizeof a));
  a = (struct clone_args){.exit_signal = SIGCHLD};
  TRY(syscall(SYS_clone3, &a, 8));
  TRY(syscall(SYS_clone3, BAD, sizeof a));
  a.stack = 4096;
  TRY(syscall(SYS_clone3, &a, sizeof a));
  char big[256] = {0};
  big[200] = 1;
  TRY(syscall(SYS_clone3, big, sizeof big));
  a = (struct clone_args){.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
  pid = syscall(SYS_clone3, &a, sizeof a);
  if (!pid) {
    sigaction(SIGUSR2, NULL, &sa);
    _exit(sa.sa_handler == SIG_DFL ? 0 : 1);
  }
  reap("CLEAR_SIGHAND", pid);
  a.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM;
  TRY(syscall(SYS_clone3, &a, sizeof a));

  say("-- unshare");
  CHILD("unshare files", {
    TRY(unshare(CLONE_FILES));
    TRY(unshare(CLONE_FS));
    TRY(unshare(CLONE_SIGHAND));
    TRY(unshare(0x1));
  });
  return 0;
}
