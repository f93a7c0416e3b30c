/*
 * The first process of the container that is attacked (README.md). It has a secret in its memory and one in a file,
 * notes what others could have changed of it, and makes ordinary calls all the time; every signal is one too many.
 *
 * /control is a directory that only the test and it have: "phase" (0 before, 1 during, 2 after the attack) and "stop".
 * First it prints what an attacker may know of it, at the end a report.
 */
#include <dirent.h>
#include <pty.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include "../hostile.h"

static volatile char secret[64] = "";
static volatile uint32_t word = 7;
static volatile sig_atomic_t signals, last_signal;

struct shared {
  volatile int phase, stop;
  volatile long calls[3], refused[3], wrong;
  volatile double worst[3];
  /* Which call that was, in the attack, and how long ago the attack had begun. */
  volatile char longest[32];
  volatile double begun, at;
  volatile char what[128];
};
static struct shared *shared;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void count_signal(int signo) {
  if (signo == SIGCHLD) return;
  signals++;
  last_signal = signo;
}

static int lacks_room(void) {
  return errno == EAGAIN || errno == ENFILE || errno == EMFILE || errno == ENOMEM || errno == ENOSPC || errno == ENOBUFS;
}

static void note(const char *what, double since, int right) {
  int failed = errno, phase = shared->phase;
  double took = now_ms() - since;
  if (took > shared->worst[phase]) {
    shared->worst[phase] = took;
    if (phase == 1) {
      snprintf((char *)shared->longest, sizeof shared->longest, "%s", what);
      shared->at = since - shared->begun;
    }
  }
  shared->calls[phase]++;
  if (right) return;
  errno = failed;
  if (lacks_room()) {
    shared->refused[phase]++;
    if (phase != 2) return;
  }
  shared->wrong++;
  snprintf((char *)shared->what, sizeof shared->what, "%s in phase %d: %s", what, phase, strerror(failed));
}

/* The ordinary calls. */
static void bystand(pid_t parent) {
  char text[64];
  int pipes[2];
  if (pipe(pipes) < 0) _exit(9);
  for (unsigned long round = 1; !shared->stop; round++) {
    double at = now_ms();
    errno = 0;
    note("getppid", at, getppid() == parent);
    at = now_ms();
    int fd = open("/tmp/own", O_RDONLY);
    note("open", at, fd >= 0);
    if (fd >= 0) {
      at = now_ms();
      note("read", at, read(fd, text, sizeof text) == 4);
      close(fd);
    }
    at = now_ms();
    fd = open("/secret", O_RDONLY);
    note("open of a file of the host", at, fd >= 0);
    if (fd >= 0) close(fd);
    unsigned long got = 0;
    at = now_ms();
    int moved = write(pipes[1], &round, sizeof round) == sizeof round && read(pipes[0], &got, sizeof got) == sizeof got;
    note("pipe", at, moved && got == round);
    if (round % 64 == 0) {
      at = now_ms();
      pid_t child = fork();
      if (child == 0) _exit(42);
      int status = 0;
      note("fork", at, child > 0 && waitpid(child, &status, 0) == child && status == 42 << 8);
      at = now_ms();
      fd = open("/tmp/new", O_RDWR | O_CREAT | O_TRUNC, 0600);
      note("create", at, fd >= 0 && write(fd, text, 8) == 8 && ftruncate(fd, 0) == 0);
      if (fd >= 0) close(fd);
    }
    at = now_ms();
    usleep(500);
    note("nanosleep", at + 0.5, 1);
  }
  _exit(0);
}

static char *state_of(void) {
  static const char *const files[] = {"/proc/self/mountinfo", "/proc/self/limits", "/proc/self/oom_score_adj", "/proc/self/comm",
    "/proc/self/timerslack_ns", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness",
    "/proc/sys/kernel/dmesg_restrict", "/tmp/own", "/secret"};
  static const char *const folders[] = {"/", "/proc/self/fd", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"};
  char *text = malloc(1 << 17);
  size_t n = 0, room = 1 << 17;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    int fd = open(files[i], O_RDONLY);
    n += (size_t)snprintf(text + n, room - n, "%s:\n", files[i]);
    for (ssize_t got; fd >= 0 && n < room - 1 && (got = read(fd, text + n, room - n - 1)) > 0;) n += (size_t)got;
    close(fd);
  }
  FILE *status = fopen("/proc/self/status", "r");
  for (char line[512]; status != NULL && fgets(line, sizeof line, status) != NULL;)
    if (strncmp(line, "Uid", 3) == 0 || strncmp(line, "Gid", 3) == 0 || strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNew", 5) == 0 ||
        strncmp(line, "Seccomp", 7) == 0 || strncmp(line, "Cpus_", 5) == 0 || strncmp(line, "NSpgid", 6) == 0)
      n += (size_t)snprintf(text + n, room - n, "%s", line);
  fclose(status);
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    DIR *folder = opendir(folders[i]);
    unsigned long names = 0, sum = 0;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL; names++)
      for (const char *p = entry->d_name; *p; p++) sum += (unsigned char)*p;
    if (folder != NULL) closedir(folder);
    n += (size_t)snprintf(text + n, room - n, "%s: %lu names %lu\n", folders[i], names, sum);
  }
  char cwd[256] = "", host[64] = "";
  struct stat own;
  stat("/secret", &own);
  getcwd(cwd, sizeof cwd);
  gethostname(host, sizeof host);
  n += (size_t)snprintf(text + n, room - n, "nice %d policy %d cwd %s host %s umask %o secret %o %d, %d and %d\n", getpriority(PRIO_PROCESS, 0),
    sched_getscheduler(0), cwd, host, umask(022), own.st_mode, (int)own.st_uid, getpgrp(), getsid(0));
  text[n] = 0;
  return text;
}

/* Sleeps on a word of its own: a wake-up that nobody here sends is somebody else's. */
static void *sleep_on_word(void *arg) {
  (void)arg;
  while (!shared->stop) {
    struct timespec second = {0, 200000000};
    if (syscall(SYS_futex, &word, 128 /* private */, 7, &second, NULL, 0) == 0) {
      shared->wrong++;
      snprintf((char *)shared->what, sizeof shared->what, "woken by nobody");
    }
  }
  return NULL;
}

/* Hands to whoever asks, over a socket of the network, what must be of no use: its root, its /proc directory, a pidfd. */
static void *hand_out(void *arg) {
  int listener = *(int *)arg;
  for (;;) {
    int peer = accept(listener, NULL, NULL);
    if (peer < 0) return NULL;
    int fds[4] = {open("/", O_PATH | O_DIRECTORY), open("/proc/self", O_RDONLY | O_DIRECTORY), (int)syscall(SYS_pidfd_open, getpid(), 0),
      open("/proc/self/ns/mnt", O_RDONLY)};
    char control[CMSG_SPACE(sizeof fds)], byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(head), fds, sizeof fds);
    sendmsg(peer, &message, MSG_NOSIGNAL);
    for (int i = 0; i < 4; i++) close(fds[i]);
    close(peer);
  }
}

static int there(const char *name) {
  return access(name, F_OK) == 0;
}

int main(int argc, char **argv) {
  /* Somebody looks in. */
  if (argc > 1) return strcmp(argv[1], "look") == 0 ? 0 : 2;
  signal(SIGPIPE, SIG_IGN);
  for (int signo = 1; signo < 65; signo++)
    if (signo != SIGPIPE && signo != SIGSEGV && signo != SIGBUS && signo != SIGILL) signal(signo, count_signal);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 3;
  int fd = open("/secret", O_RDONLY);
  if (fd < 0 || read(fd, (char *)secret, sizeof secret - 1) < 20) return 4;
  close(fd);
  fd = open("/tmp/own", O_CREAT | O_RDWR, 0600);
  if (fd < 0 || write(fd, "own\n", 4) != 4) return 5;
  fd = open("/dev/shm/own", O_CREAT | O_RDWR, 0666);
  if (fd < 0 || write(fd, (char *)secret, strlen((char *)secret)) < 1) return 5;
  int master, slave;
  if (openpty(&master, &slave, NULL, NULL, NULL) < 0) return 6;
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0victim"};
  if (bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t) + 7) < 0 || listen(listener, 8) < 0) return 7;
  pthread_t thread;
  pthread_create(&thread, NULL, sleep_on_word, NULL);
  pthread_create(&thread, NULL, hand_out, &listener);
  pid_t me = getpid(), bystander = fork();
  if (bystander == 0) bystand(me);
  char before[64];
  strcpy(before, (char *)secret);
  /* The first time, so that what it opens for itself is open. */
  free(state_of());
  char *state = state_of();
  printf("facts: {\"pid\": %d, \"child\": %d, \"secret\": %lu, \"word\": %lu, \"slave\": %d}\n", me, bystander, (unsigned long)secret,
    (unsigned long)&word, slave);
  fflush(stdout);
  while (!there("/control/stop")) {
    if (shared->phase == 0) shared->begun = now_ms();
    shared->phase = there("/control/after") ? 2 : there("/control/during") ? 1 : 0;
    usleep(20000);
  }
  const char *changed = "";
  char *now = state_of(), *p = state, *q = now;
  if (strcmp(state, now) != 0) {
    while (*p == *q) p++, q++;
    while (q > now && q[-1] != '\n') q--;
    changed = strtok(q, "\n");
  }
  if (strcmp(before, (char *)secret) != 0) changed = "the secret in memory";
  if (word != 7) changed = "the word in memory";
  char echo[4] = "";
  if (write(master, "abc\n", 4) != 4 || read(slave, echo, 4) != 4 || memcmp(echo, "abc\n", 4) != 0) changed = "the terminal";
  shared->stop = 1;
  int status = -1;
  for (int i = 0; i < 400 && waitpid(bystander, &status, WNOHANG) != bystander; i++) usleep(10000);
  if (status != 0) changed = "the bystander is gone";
  printf("report: {\"wrong\": %ld, \"what\": \"%s\", \"changed\": \"", shared->wrong, (char *)shared->what);
  for (const char *c = changed == NULL ? "?" : changed; *c; c++) putchar(*c == '"' || *c == '\\' || *c == '\t' ? ' ' : *c);
  printf("\", \"signals\": %d, \"signal\": %d, \"calls\": [%ld, %ld, %ld], \"refused\": %ld, \"longest\": \"%s after %.0f ms\", \"worst\": [%.1f, %.1f, %.1f]}\n", (int)signals,
    (int)last_signal, shared->calls[0], shared->calls[1], shared->calls[2], shared->refused[1], (char *)shared->longest, shared->at, shared->worst[0], shared->worst[1],
    shared->worst[2]);
  fflush(stdout);
  _exit(0);
}
