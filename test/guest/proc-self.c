/* /proc/self: exe, cwd, root, fd, maps, status, stat, statm, cmdline, environ, comm, task, limits, and their errors. */
#include "proc.h"
#include <sys/prctl.h>

/* The value of "Key:\tvalue" in /proc/self/status. */
static char *field(const char *key) {
  static char value[256];
  char *at = slurp("/proc/self/status");
  size_t n = strlen(key);
  while (at && strncmp(at, key, n)) at = (at = strchr(at, '\n')) ? at + 1 : NULL;
  if (!at) return "missing";
  at += n + 1;
  while (*at == ' ' || *at == '\t') at++;
  size_t len = strcspn(at, "\n");
  memcpy(value, at, len);
  value[len] = 0;
  return value;
}

static void *thread(void *unused) {
  (void)unused;
  char path[64];
  prctl(PR_SET_NAME, "other name");
  sprintf(path, "/proc/self/task/%d/comm", gettid());
  say("thread comm %s", strtok(slurp(path), "\n"));
  TRY(access("/proc/thread-self/comm", F_OK));
  say("thread-self %s", strtok(slurp("/proc/thread-self/comm"), "\n"));
  say("Threads %s", field("Threads"));
  return NULL;
}

int main(int argc, char **argv) {
  if (argc == 1) { /* run again under a known name and environment */
    char *again[] = {"program name", "first", "", "last one", NULL}, *env[] = {"A=1", "EMPTY=", NULL};
    execve("/proc/self/exe", again, env);
  }
  begin();
  char b[PATH_MAX], c[PATH_MAX];
  ssize_t n = readlink("/proc/self", b, sizeof b - 1);
  b[n] = 0;
  YES(atoi(b) == getpid());
  n = readlink("/proc/self/exe", b, sizeof b);
  b[n] = 0;
  struct stat st, st2;
  stat("/proc/self/exe", &st);
  stat(b, &st2);
  YES(st.st_ino == st2.st_ino);
  n = readlink("/proc/self/cwd", b, sizeof b);
  b[n] = 0;
  YES(strcmp(b, getcwd(c, sizeof c)) == 0);
  n = readlink("/proc/self/root", b, sizeof b);
  say("root %.*s", (int)n, b);

  say("-- cmdline, environ, comm");
  int fd = open("/proc/self/cmdline", O_RDONLY);
  n = read(fd, b, sizeof b);
  for (int i = 0; i < n; i += strlen(b + i) + 1) say("  \"%s\"", b + i);
  close(fd);
  fd = open("/proc/self/environ", O_RDONLY);
  n = read(fd, b, sizeof b);
  for (int i = 0; i < n; i += strlen(b + i) + 1) say("  \"%s\"", b + i);
  close(fd);
  (void)argv;
  prctl(PR_SET_NAME, "a very long name indeed");
  say("comm %s", strtok(slurp("/proc/self/comm"), "\n"));
  fd = open("/proc/self/comm", O_WRONLY);
  TRY(write(fd, "written", 7));
  close(fd);
  prctl(PR_GET_NAME, b);
  say("name %s", b);
  say("Name %s", field("Name"));

  say("-- fd");
  put_file("file", "x", 0644);
  int f = NEED(open("file", O_RDONLY)), p[2];
  NEED(pipe(p));
  sprintf(b, "/proc/self/fd/%d", f);
  n = readlink(b, c, sizeof c);
  c[n] = 0;
  say("file %s", strrchr(c, '/'));
  lstat(b, &st);
  say("link mode %o size %ld", st.st_mode, (long)st.st_size);
  sprintf(b, "/proc/self/fd/%d", p[1]);
  lstat(b, &st);
  say("pipe writer's link mode %o", st.st_mode);
  n = readlink(b, c, sizeof c);
  c[n] = 0;
  fstat(p[1], &st);
  sprintf(b, "pipe:[%ld]", (long)st.st_ino);
  YES(strcmp(b, c) == 0);
  sprintf(b, "/proc/self/fd/%d", p[1]);
  int again = OK(open(b, O_WRONLY));
  write(again, "through proc", 12);
  n = read(p[0], b, 100);
  say("%.*s", (int)n, b);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  fstat(s, &st);
  sprintf(b, "/proc/self/fd/%d", s);
  n = readlink(b, c, sizeof c);
  c[n] = 0;
  sprintf(b, "socket:[%ld]", (long)st.st_ino);
  YES(strcmp(b, c) == 0);
  sprintf(b, "/proc/self/fd/%d", s);
  TRY(open(b, O_RDWR));
  TRY(open("/proc/self/fd/99", O_RDONLY));
  DIR *d = opendir("/proc/self/fd");
  int count = 0, mine = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    count++;
    mine += atoi(e->d_name) == f || atoi(e->d_name) == p[0] || atoi(e->d_name) == dirfd(d);
  }
  YES(count >= 6 && mine == 3);
  closedir(d);
  sprintf(b, "/proc/self/fdinfo/%d", f);
  lseek(f, 1, SEEK_SET);
  slurp(b);
  YES(strstr(text, "pos:\t1\n") != NULL && strstr(text, "flags:\t") != NULL);

  say("-- maps");
  char *page = NEED(mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(page + 4096, 4096, PROT_NONE);
  char *shared = NEED(mmap(NULL, 4096, PROT_READ, MAP_SHARED, f, 0));
  slurp("/proc/self/maps");
  sprintf(b, "%lx-%lx ---p 00000000 00:00 0", (long)page + 4096, (long)page + 8192);
  YES(strstr(text, b) != NULL);
  sprintf(b, "%lx-%lx r--s 00000000 ", (long)shared, (long)shared + 4096);
  char *line = strstr(text, b);
  YES(line != NULL && strstr(line, "/file\n") != NULL);
  YES(strstr(text, "[stack]") != NULL);
  YES(strstr(text, "[heap]") != NULL);
  YES(strstr(text, "[vdso]") != NULL);
  unsigned long lo, hi, last = 0;
  char perms[8];
  bool sorted = true, text_found = false, stack_found = false;
  for (line = text; *line; line = strchr(line, '\n') + 1) {
    if (sscanf(line, "%lx-%lx %4s", &lo, &hi, perms) != 3) { sorted = false; break; }
    sorted = sorted && lo >= last && hi > lo;
    last = hi;
    if ((unsigned long)main >= lo && (unsigned long)main < hi) text_found = strcmp(perms, "r-xp") == 0;
    if ((unsigned long)&lo >= lo && (unsigned long)&lo < hi) stack_found = strcmp(perms, "rw-p") == 0;
  }
  YES(sorted && text_found && stack_found);
  munmap(page, 3 * 4096);
  YES(strstr(slurp("/proc/self/smaps"), "Rss:") != NULL);

  say("-- status, stat, statm");
  YES(atoi(field("Pid")) == getpid() && atoi(field("PPid")) == getppid() && atoi(field("Tgid")) == getpid());
  say("State %s, Uid %s, Gid %s, Threads %s, Umask %s", field("State"), strdup(field("Uid")), strdup(field("Gid")), strdup(field("Threads")), strdup(field("Umask")));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  raise(SIGUSR1);
  signal(SIGUSR2, SIG_IGN);
  handle(SIGHUP, ignore, 0);
  say("SigPnd %s", field("SigPnd"));
  say("SigBlk %s", field("SigBlk"));
  say("SigIgn %s", field("SigIgn"));
  say("SigCgt %s", field("SigCgt"));
  YES(atol(field("VmRSS")) > 0 && atol(field("VmSize")) > 0 && atol(field("VmPeak")) > 0);
  int pid, ppid, pgrp, session;
  char state;
  slurp("/proc/self/stat");
  char *close_paren = strrchr(text, ')');
  YES(close_paren && sscanf(text, "%d", &pid) == 1 && sscanf(close_paren + 2, "%c %d %d %d", &state, &ppid, &pgrp, &session) == 4);
  YES(pid == getpid() && ppid == getppid() && pgrp == getpgrp() && session == getsid(0) && state == 'R');
  int fields = 0;
  for (char *at = strtok(close_paren + 1, " \n"); at; at = strtok(NULL, " \n")) fields++;
  say("fields after the name %d", fields);
  long size, resident;
  YES(sscanf(slurp("/proc/self/statm"), "%ld %ld", &size, &resident) == 2 && size >= resident && resident > 0);

  say("-- threads");
  pthread_t t;
  pthread_create(&t, NULL, thread, NULL);
  pthread_join(t, NULL);
  d = opendir("/proc/self/task");
  count = 0;
  for (int i = 0; i < 100; i++, rewinddir(d), sleep_ms(1)) {
    count = 0;
    for (struct dirent *e; (e = readdir(d));) count += e->d_name[0] != '.';
    if (count == 1) break;
  }
  TRY(count);

  say("-- others");
  YES(strstr(slurp("/proc/self/limits"), "Max open files") != NULL);
  YES(strstr(slurp("/proc/self/mounts"), " / ") != NULL);
  YES(strstr(slurp("/proc/self/mountinfo"), " / ") != NULL);
  slurp("/proc/self/cgroup");
  TRY(access("/proc/self/oom_score_adj", F_OK));
  TRY(open("/proc/99999999/status", O_RDONLY));
  TRY(open("/proc/self/nothing", O_RDONLY));
  TRY(mkdir("/proc/x", 0700));
  TRY(unlink("/proc/self/status"));
  pid_t kid = fork();
  if (!kid) for (;;) pause();
  sprintf(b, "/proc/%d/status", kid);
  fd = OK(open(b, O_RDONLY));
  sprintf(b, "/proc/%d", kid);
  int dir = OK(open(b, O_RDONLY | O_DIRECTORY));
  kill(kid, SIGKILL);
  waitpid(kid, NULL, 0);
  TRY(read(fd, c, 100));
  TRY(openat(dir, "status", O_RDONLY));
  TRY(access(b, F_OK));
  CHILD("nobody looks at root", {
    setresuid(65534, 65534, 65534);
    sprintf(b, "/proc/%d/", getppid());
    strcpy(c, b);
    TRY(readlink(strcat(c, "exe"), text, 100));
    strcpy(c, b);
    TRY(open(strcat(c, "environ"), O_RDONLY));
    strcpy(c, b);
    OK(open(strcat(c, "status"), O_RDONLY));
    strcpy(c, b);
    TRY(opendir(strcat(c, "fd")) ? 0 : -1);
  });
  return 0;
}
