/* futex(2): wait, wake, bitset, requeue, wake_op, time-outs, private and shared, errors. */
#include "guest.h"
#include <linux/futex.h>

static long futex(uint32_t *a, int op, uint32_t val, const void *t, uint32_t *a2, uint32_t v3) {
  return syscall(SYS_futex, a, op, val, t, a2, v3);
}

static uint32_t *words; /* shared memory */
static volatile int woken;

struct arg { uint32_t *word; uint32_t mask; int op; volatile long result; volatile pid_t tid; };

static void *waiter(void *p) {
  struct arg *a = p;
  a->tid = gettid();
  a->result = a->mask ? futex(a->word, FUTEX_WAIT_BITSET | a->op, 0, NULL, NULL, a->mask) : futex(a->word, FUTEX_WAIT | a->op, 0, NULL, NULL, 0);
  __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static pthread_t threads[8];
static struct arg args[8];

static void start(int n, uint32_t *word, const uint32_t *masks, int op) {
  woken = 0;
  for (int i = 0; i < n; i++) {
    args[i] = (struct arg){word, masks ? masks[i] : 0, op, -99, 0};
    pthread_create(&threads[i], NULL, waiter, &args[i]);
  }
  for (int i = 0; i < n; i++) {
    while (!args[i].tid) sleep_ms(1);
    until_blocked(getpid(), args[i].tid);
  }
}

static void settle(int want) {
  for (int i = 0; i < 2000 && woken < want; i++) sleep_ms(1);
  sleep_ms(10);
}

static void join(int n) {
  for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

int main(void) {
  begin();
  words = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  static uint32_t mine[8];
  struct timespec t = {0, 20000000}, bad = {0, 1000000000}, none = {0, 0};
  TRY(futex(mine, FUTEX_WAIT, 5, NULL, NULL, 0));
  TRY(futex(mine, FUTEX_WAKE, 1, NULL, NULL, 0));
  int64_t begun = now_ns();
  TRY(futex(mine, FUTEX_WAIT, 0, &t, NULL, 0));
  YES(now_ns() - begun >= 20000000);
  TRY(futex(mine, FUTEX_WAIT, 0, &none, NULL, 0));
  TRY(futex(mine, FUTEX_WAIT, 0, &bad, NULL, 0));
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  TRY(futex(mine, FUTEX_WAIT_BITSET, 0, &at, NULL, FUTEX_BITSET_MATCH_ANY));
  clock_gettime(CLOCK_REALTIME, &at);
  TRY(futex(mine, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &at, NULL, FUTEX_BITSET_MATCH_ANY));
  TRY(futex(mine, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0));

  for (int op = 0; op <= FUTEX_PRIVATE_FLAG; op += FUTEX_PRIVATE_FLAG) {
    say("-- wake %s", op ? "private" : "shared");
    start(3, mine, NULL, op);
    TRY(futex(mine, FUTEX_WAKE | op, 1, NULL, NULL, 0));
    settle(1);
    TRY(woken);
    TRY(futex(mine, FUTEX_WAKE | op, 0, NULL, NULL, 0)); /* even zero wakes one */
    settle(2);
    TRY(woken);
    TRY(futex(mine, FUTEX_WAKE | op, INT_MAX, NULL, NULL, 0));
    join(3);
    say("results %ld %ld %ld", args[0].result, args[1].result, args[2].result);
  }
  say("-- private and shared do not meet");
  start(1, mine, NULL, FUTEX_PRIVATE_FLAG);
  TRY(futex(mine, FUTEX_WAKE, 1, NULL, NULL, 0));
  TRY(futex(mine, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
  join(1);

  say("-- bitset");
  uint32_t masks[3] = {1, 2, 3};
  start(3, mine, masks, 0);
  TRY(futex(mine, FUTEX_WAKE_BITSET, 9, NULL, NULL, 4));
  TRY(futex(mine, FUTEX_WAKE_BITSET, 9, NULL, NULL, 1));
  settle(2);
  TRY(woken);
  TRY(futex(mine, FUTEX_WAKE_BITSET, 9, NULL, NULL, 2));
  join(3);
  TRY(futex(mine, FUTEX_WAKE_BITSET, 9, NULL, NULL, 0));

  say("-- requeue");
  start(4, mine, NULL, 0);
  TRY(futex(mine, FUTEX_REQUEUE, 1, (void *)2, mine + 1, 0));
  settle(1);
  TRY(woken);
  TRY(futex(mine + 1, FUTEX_WAKE, 9, NULL, NULL, 0));
  settle(3);
  TRY(futex(mine, FUTEX_WAKE, 9, NULL, NULL, 0));
  join(4);
  start(3, mine, NULL, 0);
  TRY(futex(mine, FUTEX_CMP_REQUEUE, 1, (void *)9, mine + 1, 7));
  TRY(futex(mine, FUTEX_CMP_REQUEUE, 1, (void *)9, mine + 1, 0));
  TRY(futex(mine + 1, FUTEX_WAKE, 9, NULL, NULL, 0));
  join(3);

  say("-- wake_op");
  mine[1] = 10;
  start(2, mine, NULL, 0);
  TRY(futex(mine, FUTEX_WAKE_OP, 1, (void *)1, mine + 1, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 99)));
  TRY(mine[1]);
  mine[2] = 1;
  TRY(futex(mine + 2, FUTEX_WAKE_OP, 1, (void *)9, mine, FUTEX_OP(FUTEX_OP_OR, 4, FUTEX_OP_CMP_EQ, 0)));
  TRY(mine[0]);
  join(2);
  mine[0] = 0;
  static const struct { int op; uint32_t from, arg; const char *name; } ops[] = {{FUTEX_OP_SET, 9, 3, "set"}, {FUTEX_OP_ADD, 9, 3, "add"},
    {FUTEX_OP_OR, 9, 6, "or"}, {FUTEX_OP_ANDN, 15, 6, "andn"}, {FUTEX_OP_XOR, 9, 3, "xor"}, {FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 0, 5, "set shifted"}};
  for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
    mine[1] = ops[i].from;
    futex(mine, FUTEX_WAKE_OP, 1, (void *)1, mine + 1, FUTEX_OP(ops[i].op, ops[i].arg, FUTEX_OP_CMP_GT, 0));
    say("%s: %u", ops[i].name, mine[1]);
  }

  say("-- between processes, by different addresses");
  int fd = NEED(open("f", O_CREAT | O_RDWR, 0600));
  NEED(ftruncate(fd, 4096));
  uint32_t *one = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  pid_t kid = fork();
  if (!kid) {
    uint32_t *two = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    _exit(futex(two + 3, FUTEX_WAIT, 0, NULL, NULL, 0) ? errno : 0);
  }
  until_blocked(kid, kid);
  TRY(futex(one + 3, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
  TRY(futex(one + 3, FUTEX_WAKE, 1, NULL, NULL, 0));
  reap("waiter", kid);
  kid = fork();
  if (!kid) _exit(futex(words, FUTEX_WAIT, 0, NULL, NULL, 0) ? errno : 0);
  until_blocked(kid, kid);
  TRY(futex(words, FUTEX_WAKE, 1, NULL, NULL, 0));
  reap("waiter", kid);
  kid = fork();
  if (!kid) { alarm(1); futex(mine, FUTEX_WAIT, 0, NULL, NULL, 0); _exit(0); }
  until_blocked(kid, kid);
  TRY(futex(mine, FUTEX_WAKE, 1, NULL, NULL, 0)); /* a private page copied by fork is another futex */
  kill(kid, SIGKILL);
  reap("not woken", kid);

  say("-- errors");
  TRY(futex((void *)((char *)mine + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
  TRY(futex((void *)((char *)mine + 1), FUTEX_WAKE, 1, NULL, NULL, 0));
  TRY(futex(BAD, FUTEX_WAIT, 0, NULL, NULL, 0));
  uint32_t *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(gone, 4096);
  TRY(futex(gone, FUTEX_WAIT, 0, NULL, NULL, 0));
  TRY(futex(gone, FUTEX_WAKE, 1, NULL, NULL, 0));
  TRY(futex(mine, FUTEX_WAIT, 0, BAD, NULL, 0));
  TRY(futex(mine, 99, 0, NULL, NULL, 0));
  TRY(futex(mine, FUTEX_REQUEUE, -1, (void *)1, mine + 1, 0));
  TRY(futex(mine, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));
  return 0;
}
