/*
 * Answers the kernel's fork command itself, with the process id of somebody else: what the kernel then does to the "child"
 * would happen to the bystander, another guest, or the sandbox process. Cut to 32 bits, 2^32 + id is that process too.
 *
 * platforms: systrap
 * variants: wide other one zero negative thread
 * expect: exit 0
 * prints: ^28 attempts, [1-9]\d* forged answers\n$
 * seconds: 40
 */
#include "stub.h"

static volatile uint64_t answer;
static volatile int go;

/* Answers for the stub of the first thread as soon as a fork command is there. */
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

int main(int argc, char **argv) {
  int attempts = 0, forged = 0;
  /* The children that the sandbox has by now: the first stub, spares, the bystander, its runner, ourselves. */
  for (int id = 2; id < 30; id++) {
    uint64_t forge = IS("wide")       ? (1ull << 32) + (uint64_t)id
                     : IS("other")    ? (uint64_t)id
                     : IS("one")      ? 1
                     : IS("zero")     ? 0
                     : IS("negative") ? (uint64_t)-id
                                      : (uint64_t)id + 0x100;
    fflush(stdout);
    pid_t victim = fork();
    if (victim < 0) cannot("fork");
    if (victim == 0) {
      pthread_t t;
      answer = forge;
      if (pthread_create(&t, NULL, answerer, NULL) != 0) _exit(0);
      for (int tries = 0; tries < 40 && !go; tries++) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        /* If the answer was believed, everything that is done to this child now is done to the other process. */
        if (child > 0 && go) kill(child, SIGKILL);
        if (child > 0) waitpid(child, NULL, 0);
      }
      _exit(go ? 77 : 0);
    }
    int status;
    if (waitpid(victim, &status, 0) != victim) cannot("waitpid");
    attempts++;
    if (WIFSIGNALED(status) || WEXITSTATUS(status) == 77) forged++;
  }
  printf("%d attempts, %d forged answers\n", attempts, forged);
  return 0;
}
