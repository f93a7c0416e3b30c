/* sigaltstack(2): where handlers run, nesting, overflow of the main stack, what fork, threads and exec inherit. */
#include "guest.h"
#include <setjmp.h>
#include <sys/resource.h>

static char alt[65536];
static volatile int on_alt, depth;
static sigjmp_buf back;

static bool inside(void) {
  char here;
  return &here >= alt && &here < alt + sizeof alt;
}

static void handler(int n) {
  on_alt = inside();
  stack_t ss;
  sigaltstack(NULL, &ss);
  depth = ss.ss_flags;
  if (n == SIGUSR2) {
    stack_t other = {.ss_sp = alt, .ss_size = sizeof alt};
    errno = 0;
    sigaltstack(&other, NULL);
    depth = errno;
  }
}

static void nested(int n) {
  (void)n;
  bool outer = inside();
  raise(SIGUSR1);
  on_alt = on_alt && outer;
}

static void overflow(int n, siginfo_t *si, void *uc) {
  (void)n, (void)uc;
  on_alt = inside();
  depth = si->si_code;
  siglongjmp(back, 1);
}

static volatile bool never_stop = true;

static int recurse(int n) {
  volatile char fill[4096];
  fill[0] = n;
  return never_stop ? recurse(n + 1) + fill[0] : 0;
}

static void *thread(void *unused) {
  (void)unused;
  stack_t ss;
  sigaltstack(NULL, &ss);
  say("a new thread: %s", ss.ss_flags == SS_DISABLE ? "disabled" : "inherited");
  return NULL;
}

int main(void) {
  begin();
  stack_t ss, old;
  TRY(sigaltstack(NULL, &old));
  YES(old.ss_flags == SS_DISABLE);
  handle(SIGUSR1, handler, SA_ONSTACK);
  raise(SIGUSR1);
  say("without one: on it %d, flags %d", on_alt, depth);
  ss = (stack_t){.ss_sp = alt, .ss_size = sizeof alt};
  TRY(sigaltstack(&ss, &old));
  TRY(sigaltstack(NULL, &old));
  YES(old.ss_sp == alt && old.ss_size == sizeof alt && old.ss_flags == 0);
  raise(SIGUSR1);
  say("with SA_ONSTACK: on it %d, flags %d", on_alt, depth);
  handle(SIGUSR1, handler, 0);
  raise(SIGUSR1);
  say("without SA_ONSTACK: on it %d, flags %d", on_alt, depth);
  handle(SIGUSR2, handler, SA_ONSTACK);
  raise(SIGUSR2);
  say("changed while in use: %s", errno_name(depth));
  handle(SIGUSR1, handler, SA_ONSTACK);
  handle(SIGTERM, nested, SA_ONSTACK);
  raise(SIGTERM);
  say("nested: on it %d", on_alt);

  say("-- errors");
  ss.ss_size = 100;
  TRY(sigaltstack(&ss, NULL));
  ss.ss_size = sizeof alt;
  ss.ss_flags = 99;
  TRY(sigaltstack(&ss, NULL));
  TRY(sigaltstack(BAD, NULL));
  TRY(sigaltstack(NULL, BAD));
  ss.ss_flags = SS_ONSTACK;
  TRY(sigaltstack(&ss, NULL));
  sigaltstack(NULL, &old);
  TRY(old.ss_flags);

  say("-- the main stack overflows");
  struct rlimit small = {256 << 10, RLIM_INFINITY};
  CHILD("caught", {
    small.rlim_max = small.rlim_cur;
    setrlimit(RLIMIT_STACK, &small);
    handle_info(SIGSEGV, overflow, SA_ONSTACK);
    if (!sigsetjmp(back, 1)) recurse(0);
    say("on it %d, code %s", on_alt, depth == SEGV_MAPERR ? "MAPERR" : depth == SEGV_ACCERR ? "ACCERR" : "other");
  });
  CHILD("no alternative", {
    setrlimit(RLIMIT_STACK, &small);
    ss.ss_flags = SS_DISABLE;
    sigaltstack(&ss, NULL);
    handle_info(SIGSEGV, overflow, SA_ONSTACK);
    recurse(0);
  });

  say("-- inheritance");
  CHILD("fork", { sigaltstack(NULL, &old); say("fork: %s", old.ss_sp == alt ? "inherited" : "lost"); });
  pthread_t t;
  pthread_create(&t, NULL, thread, NULL);
  pthread_join(t, NULL);
  ss.ss_flags = (int)(1u << 31); /* SS_AUTODISARM */
  TRY(sigaltstack(&ss, NULL));
  raise(SIGUSR1);
  say("autodisarm: on it %d, flags inside %d", on_alt, depth);
  sigaltstack(NULL, &old);
  YES(old.ss_flags == (int)(1u << 31));
  ss.ss_flags = SS_DISABLE;
  TRY(sigaltstack(&ss, NULL));
  sigaltstack(NULL, &old);
  YES(old.ss_flags == SS_DISABLE);
  return 0;
}
