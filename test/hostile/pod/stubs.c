/*
 * From inside the stub: a fork answered with the number of every other stub of the sandbox, those of the other container
 * among them; the stub's own calls on what is not there; the whole mailbox filled with noise.
 *
 * platforms: systrap
 * as: own-root shared-user
 * variants: forged calls noise
 * expect: exit 0 or killed by SIGKILL or exit 137
 * seconds: 40
 */
#include "../stub.h"
#include "pod.h"

static volatile uint64_t answer;
static volatile int go;

static void *answerer(void *arg) {
  volatile struct slot *slot = slot_of_thread(0);
  (void)arg;
  for (;;) {
    if (slot->state != STATE_REPLY || slot->reply != REPLY_COMMAND || slot->command.op != OP_FORK) continue;
    slot->command.result = (int64_t)answer;
    slot->event = EVENT_DONE;
    __atomic_store_n(&slot->state, STATE_EVENT, __ATOMIC_SEQ_CST);
    go = 1;
  }
  return NULL;
}

static void forged(int id) {
  pid_t child = fork();
  if (child < 0) cannot("fork");
  if (child == 0) {
    pthread_t thread;
    answer = (uint64_t)id;
    if (pthread_create(&thread, NULL, answerer, NULL) != 0) _exit(0);
    for (int tries = 0; tries < 20 && !go; tries++) {
      pid_t made = fork();
      if (made == 0) _exit(0);
      if (made > 0 && go) kill(made, SIGKILL);
      if (made > 0) waitpid(made, NULL, 0);
    }
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

static void calls(void) {
  pid_t child = fork();
  if (child == 0) {
    stub_open();
    /* What its filter lets pass, on what is not its own: other descriptors, other channels, words that others wait on. */
    for (int fd = 5; fd < 32; fd++) {
      long at = stub_call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (at > 0) harm("descriptor %d of the stub can be mapped", fd);
    }
    uint64_t noise = 1;
    for (int i = 0; i < 1000; i++) stub_call(SYS_write, FD_DOORBELL, (long)&noise, 8, 0, 0, 0);
    stub_call(SYS_futex, (long)fact("WORD"), 1, 1000, 0, 0, 0);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  static const int refused[] = {SYS_kill, SYS_tgkill, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_open, SYS_openat, SYS_socket,
    SYS_prlimit64, SYS_setpriority, SYS_sched_setaffinity, SYS_kcmp, SYS_pidfd_getfd, SYS_shmget, SYS_keyctl, SYS_mount, SYS_unshare, SYS_setns, SYS_execve};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    for (int pid = 1; pid < 24; pid++) {
      int status;
      child = fork();
      if (child == 0) {
        stub_open();
        long result = stub_call(refused[i], pid, 10, 0, 0, 0, 0);
        _exit(result >= 0 ? 77 : 0);
      }
      if (child < 0 || waitpid(child, &status, 0) != child) cannot("fork");
      if (WIFEXITED(status) && WEXITSTATUS(status) == 77) harm("call %d of a stub on %d", refused[i], pid);
    }
}

static void noise(void) {
  for (int round = 0; round < 60; round++) {
    pid_t child = fork();
    if (child == 0) {
      srand((unsigned)round);
      volatile uint32_t *words = (volatile uint32_t *)slot_of_thread(0);
      for (;;) {
        words[rand() % 1024] = (uint32_t)rand();
        if (rand() % 8 == 0) getppid();
      }
    }
    usleep(20000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
  }
}

int main(int argc, char **argv) {
  if (IS("forged"))
    for (int id = 1; id < 40; id++) forged(id);
  if (IS("calls")) calls();
  if (IS("noise")) noise();
  printf("done\n");
  return 0;
}
