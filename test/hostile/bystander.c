/*
 * bystander SECONDS UID COMMAND…: the first process of a hostile test.
 *
 * Starts the bystander, which makes ordinary calls all the time and remembers the longest of each; lets it run alone for
 * a moment; then starts the attack beside it, waits for its end or for SECONDS, and goes on for a moment. The last line
 * that it prints is the report that test/hostile.ts reads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GETPPID, STAT, READ, PIPE, SLEEP, KINDS };
static const char *const kinds[KINDS] = {"getppid", "stat", "read", "pipe", "nanosleep"};
enum { BEFORE, DURING, AFTER, PHASES };

static struct shared {
  volatile int phase;
  volatile int stop;
  volatile long calls[PHASES];
  volatile double worst[PHASES][KINDS];
  volatile long wrong;
  volatile char what[80];
} *shared;

#define FILE_PATH "/tmp/bystander-file"
#define CONTENT "what the bystander wrote"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void note(int kind, double since, int right) {
  double took = now_ms() - since;
  int phase = shared->phase;
  if (took > shared->worst[phase][kind]) shared->worst[phase][kind] = took;
  shared->calls[phase]++;
  if (!right) {
    shared->wrong++;
    snprintf((char *)shared->what, sizeof shared->what, "%s in phase %d", kinds[kind], phase);
  }
}

static void bystand(pid_t parent) {
  struct stat file;
  int pipes[2];
  char text[64];
  unsigned long round = 0;
  if (pipe(pipes) < 0) _exit(9);
  while (!shared->stop) {
    double at = now_ms();
    note(GETPPID, at, syscall(SYS_getppid) == parent);
    at = now_ms();
    note(STAT, at, stat(FILE_PATH, &file) == 0 && file.st_size == sizeof CONTENT);
    at = now_ms();
    int fd = open(FILE_PATH, O_RDONLY);
    int n = (int)read(fd, text, sizeof text);
    note(READ, at, fd >= 0 && n == sizeof CONTENT && strcmp(text, CONTENT) == 0 && close(fd) == 0);
    at = now_ms();
    unsigned long sent = ++round, got = 0;
    int moved = write(pipes[1], &sent, sizeof sent) == sizeof sent && read(pipes[0], &got, sizeof got) == sizeof got;
    note(PIPE, at, moved && got == sent);
    at = now_ms();
    /* Leaves the attack some of the processor; how late it comes back counts, too. */
    struct timespec pause = {0, 300000};
    int slept = nanosleep(&pause, NULL);
    note(SLEEP, at + 0.3, slept == 0);
  }
  _exit(0);
}

static void spell(int status, char *text, size_t size) {
  if (WIFSIGNALED(status)) snprintf(text, size, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
  else snprintf(text, size, "exit %d", WEXITSTATUS(status));
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  double limit_ms = atof(argv[1]) * 1e3;
  int uid = atoi(argv[2]);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 3;
  int fd = open(FILE_PATH, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (write(fd, CONTENT, sizeof CONTENT) != sizeof CONTENT) return 4;
  close(fd);
  pid_t parent = getpid(), bystander = fork();
  if (bystander == 0) bystand(parent);
  usleep(700000);
  printf("attack begins\n");
  fflush(stdout);
  shared->phase = DURING;
  double begun = now_ms();
  pid_t attack = fork();
  if (attack == 0) {
    setpgid(0, 0);
    if (uid != 0 && (setgid((gid_t)uid) < 0 || setuid((uid_t)uid) < 0)) _exit(8);
    execv(argv[3], argv + 3);
    _exit(7);
  }
  char how[64] = "goes on";
  int status, ended = 0;
  while (!ended && now_ms() - begun < limit_ms) {
    /* Orphans of the attack come to the first process: anybody may be first. */
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
      if (pid == attack) {
        ended = 1;
        spell(status, how, sizeof how);
      } else if (pid == bystander) shared->wrong += 1000000;
    }
    usleep(2000);
  }
  double took = now_ms() - begun;
  kill(-attack, SIGKILL);
  usleep(200000);
  shared->phase = AFTER;
  usleep(200000);
  shared->stop = 1;
  int alive = 0;
  for (double end = now_ms() + 3000; now_ms() < end && !alive; usleep(2000)) {
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
      if (pid == bystander) alive = status == 0;
  }
  printf("\nreport: {\"how\": \"%s\", \"took\": %.0f, \"alive\": %d, \"wrong\": %ld, \"what\": \"%s\"", how, took, alive,
         shared->wrong, (char *)shared->what);
  const char *const names[PHASES] = {"before", "during", "after"};
  for (int phase = 0; phase < PHASES; phase++) {
    int worst = 0;
    for (int kind = 1; kind < KINDS; kind++)
      if (shared->worst[phase][kind] > shared->worst[phase][worst]) worst = kind;
    printf(", \"%s\": {\"calls\": %ld, \"worst\": %.1f, \"call\": \"%s\"}", names[phase], shared->calls[phase],
           shared->worst[phase][worst], kinds[worst]);
  }
  printf("}\n");
  return 0;
}
