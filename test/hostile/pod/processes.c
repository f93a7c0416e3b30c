/*
 * Everything that one process can do to another one by its number, to every number there is up to 400 and to those that
 * the victim has: signals of all kinds, groups, sessions, owners of files, timers; memory, descriptors, comparisons;
 * limits, priorities, processors. To the users of a pod: by user id.
 *
 * variants: numbers everybody owners
 * prints: ^[1-9]\d* tried\n$
 */
#include <sys/prctl.h>
#include <linux/futex.h>
#include "pod.h"

static long tried, mine_from, mine_to;

/* Whose number is it: one of ours, or of the container that stands for the sandbox? Whoever can be reached must be. */
static int is_mine(pid_t pid) {
  if (!shares_pids()) return pid == getpid() || pid == getppid() || pid == 1;
  return pid >= mine_from && pid <= mine_to;
}

#define TRY(call) \
  do { \
    tried++; \
    if ((call) >= 0) harm("%s with %d", #call, pid); \
  } while (0)

static void attack(pid_t pid) {
  char bytes[64] = "";
  struct iovec here = {bytes, sizeof bytes}, there = {(void *)fact("SECRET"), sizeof bytes};
  struct sched_param none = {0};
  siginfo_t info = {.si_code = SI_QUEUE};
  cpu_set_t set;
  struct rlimit64 limit = {7, 7};
  void *head;
  size_t size;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  TRY(kill(pid, SIGUSR1));
  TRY(kill(pid, SIGCONT));
  TRY(kill(pid, 0));
  TRY(kill(-pid, SIGUSR1));
  TRY(syscall(SYS_tkill, pid, SIGUSR1));
  TRY(syscall(SYS_tgkill, pid, pid, SIGUSR1));
  TRY(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info));
  TRY(syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGUSR1, &info));
  TRY(process_vm_readv(pid, &here, 1, &there, 1, 0));
  TRY(process_vm_writev(pid, &here, 1, &there, 1, 0));
  TRY(syscall(SYS_kcmp, getpid(), pid, 1, 0, 0));
  TRY(syscall(SYS_ptrace, 16 /* ATTACH */, pid, 0, 0));
  TRY(syscall(SYS_ptrace, 0x4206 /* SEIZE */, pid, 0, 0));
  TRY(syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, &limit, NULL));
  TRY(setpriority(PRIO_PROCESS, (id_t)pid, 19));
  TRY(setpriority(PRIO_PGRP, (id_t)pid, 19));
  TRY(sched_setscheduler(pid, SCHED_BATCH, &none));
  TRY(sched_setparam(pid, &none));
  TRY(sched_setaffinity(pid, sizeof set, &set));
  TRY(syscall(SYS_get_robust_list, pid, &head, &size));
  TRY(setpgid(pid, 0));
  TRY(syscall(SYS_migrate_pages, pid, 8, &head, &head));
  TRY(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG));
  tried++;
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  /* Who is seen may be named. */
  if (fd >= 0 && !shares_pids()) harm("pidfd_open of %d", pid);
  if (fd >= 0) {
    TRY(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0));
    TRY(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 4));
    TRY(syscall(SYS_pidfd_getfd, fd, 3, 0));
    TRY(syscall(SYS_setns, fd, 0x20000));
    TRY(syscall(SYS_process_madvise, fd, &there, 1, 4, 0));
    TRY(waitid(3 /* P_PIDFD */, (id_t)fd, &info, WEXITED | WNOHANG));
    close(fd);
  }
  struct sigevent event = {.sigev_notify = 4 /* SIGEV_THREAD_ID */, .sigev_signo = SIGUSR1};
  event._sigev_un._tid = pid;
  timer_t timer;
  TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
}

/* A signal by way of a file's owner. Root may do that to whoever it sees, as on Linux. */
static void own(pid_t pid) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) cannot("socketpair");
  for (int kind = 0; kind < 3; kind++) {
    struct f_owner_ex owner = {kind, pid};
    tried++;
    if (fcntl(ends[0], F_SETOWN_EX, &owner) == 0 && !shares_pids()) harm("F_SETOWN_EX %d of %d", kind, pid);
    fcntl(ends[0], F_SETSIG, SIGUSR1);
    fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
    char byte = 1;
    write(ends[1], &byte, 1);
    read(ends[0], &byte, 1);
  }
  if (fcntl(ends[0], F_SETOWN, -pid) == 0 && !shares_pids()) harm("F_SETOWN of group %d", pid);
  close(ends[0]);
  close(ends[1]);
}

int main(int argc, char **argv) {
  mine_from = mine_to = getpid();
  for (int signo = 1; signo < 65; signo++) signal(signo, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  if (IS("everybody")) {
    /* As root of a shared pid space it would reach whom it may, as on Linux: there it has no CAP_KILL. */
    pid_t child = fork();
    if (child == 0) pause();
    for (int signo = 1; signo < 65; signo++) tried++, kill(-1, signo);
    setpriority(PRIO_USER, 0, 19);
    for (int uid = 0; uid < 3000; uid++) {
      tried++;
      int done = setpriority(PRIO_USER, (id_t)uid, 5);
      if (done == 0 && uid == (int)fact("UID") && uid != (int)getuid()) harm("setpriority of user %d", uid);
    }
    kill(0, SIGUSR1);
  } else {
    pid_t last = shares_pids() ? (pid_t)fact("CHILD") : 400;
    for (pid_t pid = 2; pid <= last; pid++) {
      if (is_mine(pid)) continue;
      if (IS("numbers")) attack(pid);
      else if (!shares_pids() || getuid() != 0) own(pid);
      else tried++;
    }
    if (IS("numbers") && !shares_pids()) {
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      tried++;
    }
  }
  printf("%ld tried\n", tried);
  return 0;
}
