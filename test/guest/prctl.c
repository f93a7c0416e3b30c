/* prctl(2): name, dumpable, no-new-privs, keepcaps, death signal, THP, timer slack, errors; inheritance. */
#include "guest.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    char n[32] = "";
    prctl(PR_GET_NAME, n);
    say("after exec: name %s, no_new_privs %d, dumpable %d, keepcaps %d", n, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS));
    _exit(0);
  }
  begin();
  char name[32] = "";
  TRY(prctl(PR_SET_NAME, "0123456789abcdefghij"));
  TRY(prctl(PR_GET_NAME, name));
  say("%s", name);
  TRY(prctl(PR_SET_NAME, ""));
  TRY(prctl(PR_GET_NAME, name));
  say("\"%s\"", name);
  prctl(PR_SET_NAME, "parent");
  CHILD("inherited", { prctl(PR_GET_NAME, name); say("%s", name); });
  TRY(prctl(PR_SET_NAME, BAD));
  TRY(prctl(PR_GET_NAME, BAD));
  TRY(prctl(PR_GET_DUMPABLE));
  TRY(prctl(PR_SET_DUMPABLE, 0));
  TRY(prctl(PR_GET_DUMPABLE));
  TRY(prctl(PR_SET_DUMPABLE, 2));
  TRY(prctl(PR_SET_DUMPABLE, 1));
  TRY(prctl(PR_GET_KEEPCAPS));
  TRY(prctl(PR_SET_KEEPCAPS, 1));
  TRY(prctl(PR_GET_KEEPCAPS));
  TRY(prctl(PR_SET_KEEPCAPS, 2));
  TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  CHILD("no_new_privs", {
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    execl("/proc/self/exe", "self", "x", NULL);
  });
  TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
  int sig = 99;
  TRY(prctl(PR_GET_PDEATHSIG, &sig));
  TRY(sig);
  TRY(prctl(PR_SET_PDEATHSIG, 65));
  TRY(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  TRY(prctl(PR_GET_PDEATHSIG, &sig));
  TRY(sig);
  CHILD("not inherited", { prctl(PR_GET_PDEATHSIG, &sig); TRY(sig); });
  TRY(prctl(PR_SET_PDEATHSIG, 0));
  TRY(prctl(PR_GET_TIMERSLACK));
  TRY(prctl(PR_SET_TIMERSLACK, 1000));
  TRY(prctl(PR_GET_TIMERSLACK));
  TRY(prctl(PR_SET_TIMERSLACK, 0));
  TRY(prctl(PR_GET_TIMERSLACK));
  TRY(prctl(PR_GET_SECCOMP));
  TRY(prctl(PR_CAPBSET_READ, 0));
  TRY(prctl(PR_CAPBSET_READ, 999));
  TRY(prctl(PR_GET_SECUREBITS));
  TRY(prctl(12345));
  TRY(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));

  return 0;
}
