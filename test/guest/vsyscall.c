/*
 * The legacy vsyscall page at its fixed address: gettimeofday, time, getcpu, with good and bad pointers, and an address in
 * it that is no entry. Each in a child, since a host without the page ends it.
 */
#include "guest.h"

#define ENTRY(n) (0xffffffffff600000ul + 0x400ul * (n))

static void in_child(const char *what, void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    body();
    fflush(stdout);
    _exit(0);
  }
  int status;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) printf("%s: %s\n", what, signal_name(WTERMSIG(status)));
  else printf("%s: exited %d\n", what, WEXITSTATUS(status));
}

static void clock_entry(void) {
  struct timeval seen = {0, 0};
  long result = ((long (*)(struct timeval *, void *))ENTRY(0))(&seen, NULL);
  time_t now = time(NULL);
  printf("gettimeofday %ld, right %d\n", result, seen.tv_sec >= now - 2 && seen.tv_sec <= now + 2);
}
static void time_entry(void) {
  time_t seen = 0, result = ((time_t(*)(time_t *))ENTRY(1))(&seen), now = time(NULL);
  printf("time same %d, right %d\n", seen == result, seen >= now - 2 && seen <= now + 2);
}
static void cpu_entry(void) {
  unsigned cpu = 99999;
  long result = ((long (*)(unsigned *, unsigned *, void *))ENTRY(2))(&cpu, NULL, NULL);
  printf("getcpu %ld, a number %d\n", result, cpu < 99999);
}
static void bad_pointer(void) {
  printf("bad pointer %ld\n", ((long (*)(struct timeval *, void *))ENTRY(0))(BAD, NULL));
}
static void no_entry(void) { ((void (*)(void))(ENTRY(0) + 0x10))(); }
static void fourth_entry(void) { ((void (*)(void))ENTRY(3))(); }
static void read_it(void) { printf("%d\n", *(volatile char *)ENTRY(0) & 0); }

int main(void) {
  in_child("gettimeofday", clock_entry);
  in_child("time", time_entry);
  in_child("getcpu", cpu_entry);
  in_child("bad pointer", bad_pointer);
  in_child("no entry", no_entry);
  in_child("fourth entry", fourth_entry);
  in_child("read", read_it);
  return 0;
}
