/* Robust futexes: a dying thread or process marks what it held and wakes a waiter; lists, pending entry, limits. */
#include "guest.h"
#include <linux/futex.h>

static pthread_mutex_t *m;
struct node { struct robust_list list; uint32_t futex; };

static void *die_holding(void *unused) {
  (void)unused;
  pthread_mutex_lock(m);
  return NULL;
}

static void make(int shared) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&a, shared);
  pthread_mutex_init(m, &a);
}

static void raw(uint32_t *word, uint32_t *word2, bool pending, bool set_owner) {
  struct robust_list_head head = {.futex_offset = offsetof(struct node, futex)};
  struct node *n = (struct node *)((char *)word - offsetof(struct node, futex)), *n2 = (struct node *)((char *)word2 - offsetof(struct node, futex));
  head.list.next = &n->list;
  n->list.next = &n2->list;
  n2->list.next = &head.list;
  if (pending) head.list.next = &head.list, head.list_op_pending = &n->list;
  if (syscall(SYS_set_robust_list, &head, sizeof head)) _exit(1);
  *word = set_owner ? (uint32_t)gettid() | FUTEX_WAITERS : 12345;
  *word2 = gettid();
  syscall(SYS_exit, 0);
}

int main(void) {
  begin();
  m = NEED(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_t t;
  say("-- a thread dies");
  make(PTHREAD_PROCESS_PRIVATE);
  pthread_create(&t, NULL, die_holding, NULL);
  pthread_join(t, NULL);
  ERR(pthread_mutex_lock(m));
  ERR(pthread_mutex_consistent(m));
  ERR(pthread_mutex_unlock(m));
  ERR(pthread_mutex_lock(m));
  ERR(pthread_mutex_unlock(m));
  say("-- not repaired");
  make(PTHREAD_PROCESS_PRIVATE);
  pthread_create(&t, NULL, die_holding, NULL);
  pthread_join(t, NULL);
  ERR(pthread_mutex_lock(m));
  ERR(pthread_mutex_unlock(m));
  ERR(pthread_mutex_lock(m));
  say("-- a process dies, one waits");
  make(PTHREAD_PROCESS_SHARED);
  int p[2];
  NEED(pipe(p));
  pid_t holder = fork();
  if (!holder) {
    pthread_mutex_lock(m);
    write(p[1], "x", 1);
    for (;;) pause();
  }
  char c;
  read(p[0], &c, 1);
  pid_t waiter = fork();
  if (!waiter) {
    int e = pthread_mutex_lock(m);
    pthread_mutex_consistent(m);
    pthread_mutex_unlock(m);
    _exit(e == EOWNERDEAD ? 11 : e);
  }
  until_blocked(waiter, waiter);
  kill(holder, SIGKILL);
  reap("holder", holder);
  reap("waiter", waiter);
  ERR(pthread_mutex_trylock(m));
  ERR(pthread_mutex_unlock(m));
  say("-- exec lets go as well");
  holder = fork();
  if (!holder) {
    pthread_mutex_lock(m);
    execlp("true", "true", NULL);
    _exit(9);
  }
  reap("holder", holder);
  ERR(pthread_mutex_lock(m));
  pthread_mutex_consistent(m);
  ERR(pthread_mutex_unlock(m));

  say("-- the list itself");
  struct node *nodes = (struct node *)((char *)m + 4096);
  for (int kind = 0; kind < 3; kind++) {
    memset(nodes, 0, sizeof *nodes * 2);
    pid_t pid = fork();
    if (!pid) raw(&nodes[0].futex, &nodes[1].futex, kind == 1, kind != 2);
    reap("owner", pid);
    say("kind %d: died %d waiters %d owner kept %d; second died %d", kind, !!(nodes[0].futex & FUTEX_OWNER_DIED), !!(nodes[0].futex & FUTEX_WAITERS),
        nodes[0].futex == 12345, !!(nodes[1].futex & FUTEX_OWNER_DIED));
  }
  void *head = NULL;
  size_t len = 0;
  TRY(syscall(SYS_get_robust_list, 0, &head, &len));
  YES(head != NULL);
  TRY(len);
  TRY(syscall(SYS_set_robust_list, &head, 8));
  TRY(syscall(SYS_get_robust_list, 0, BAD, &len));
  TRY(syscall(SYS_get_robust_list, 99999999, &head, &len));
  CHILD("a bad list is harmless", { syscall(SYS_set_robust_list, BAD, 24); syscall(SYS_exit, 4); });
  CHILD("an endless list ends", {
    struct robust_list_head h;
    struct robust_list loop = {&loop};
    h.list.next = &loop;
    h.futex_offset = 8;
    h.list_op_pending = NULL;
    syscall(SYS_set_robust_list, &h, sizeof h);
    syscall(SYS_exit, 5);
  });

  say("-- clear_child_tid");
  uint32_t *word = (uint32_t *)nodes;
  *word = 7;
  pid_t pid = fork();
  if (!pid) {
    YES(syscall(SYS_set_tid_address, word) == gettid());
    syscall(SYS_exit, 0);
  }
  reap("child", pid);
  TRY(*word);
  return 0;
}
