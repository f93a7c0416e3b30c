/* The limits of arguments and environment: 128 KiB a string, a quarter of the stack limit together. */
#include "guest.h"
#include <sys/resource.h>

static char *numbers(int n) {
  char **list = calloc(n + 1, sizeof *list);
  for (int i = 0; i < n; i++) list[i] = "12345678901234567890123456789012345678901234567890";
  return (char *)list;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[0], "count") == 0) {
    unsigned long total = 0, env = 0;
    for (int i = 0; i < argc; i++) total += strlen(argv[i]) + 1;
    for (char **e = environ; *e; e++) env += strlen(*e) + 1;
    say("argc %d, %lu bytes, environment %lu bytes, last ends %s", argc, total, env, argv[argc - 1] + strlen(argv[argc - 1]) - 1);
    _exit(0);
  }
  begin();
  struct rlimit stack = {8 << 20, RLIM_INFINITY};
  getrlimit(RLIMIT_STACK, &stack);
  stack.rlim_cur = 8 << 20;
  TRY(setrlimit(RLIMIT_STACK, &stack));
  char *big = malloc(200000), *none[] = {NULL};
  memset(big, 'b', 200000);
  big[131071] = 0;
  char *one[] = {"count", big, NULL};
  CHILD("one string of 128 KiB with its NUL", { execve("/proc/self/exe", one, none); say("%s", errno_name(errno)); });
  CHILD("one byte more", { big[131071] = 'b'; big[131072] = 0; execve("/proc/self/exe", one, none); say("%s", errno_name(errno)); });
  char *env[] = {big, NULL}, *two[] = {"count", "x", NULL};
  CHILD("in the environment", { execve("/proc/self/exe", two, env); say("%s", errno_name(errno)); });
  CHILD("one byte more", { big[131071] = 'b'; big[131072] = 0; execve("/proc/self/exe", two, env); say("%s", errno_name(errno)); });
  char **many = (char **)numbers(30000);
  many[0] = "count";
  CHILD("30,000 arguments of 51 bytes", { execve("/proc/self/exe", many, none); say("%s", errno_name(errno)); });
  many = (char **)numbers(60000);
  many[0] = "count";
  CHILD("60,000 arguments of 51 bytes", { execve("/proc/self/exe", many, none); say("%s", errno_name(errno)); });
  CHILD("the limit follows the stack limit", {
    stack.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_STACK, &stack);
    char **some = (char **)numbers(4000);
    some[0] = "count";
    execve("/proc/self/exe", some, none);
    some = (char **)numbers(10000);
    some[0] = "count";
    say("4,000: %s", errno_name(errno));
    TRY(execve("/proc/self/exe", some, none));
  });
  CHILD("10,000 with a small stack", {
    stack.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_STACK, &stack);
    char **some = (char **)numbers(10000);
    some[0] = "count";
    TRY(execve("/proc/self/exe", some, none));
  });
  char *empty[] = {"count", "", "", NULL}, *odd[] = {"", "=", "novalue", "A=1", "A=2", NULL};
  CHILD("empty strings", { execve("/proc/self/exe", empty, odd); });
  TRY(sysconf(_SC_ARG_MAX));
  return 0;
}
