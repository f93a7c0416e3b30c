/*
 * Calls that walk or wake whatever there is thousands of: descriptors, threads, processes, epoll items, timers.
 *
 * variants: poll poll-wait select epoll-not-ready epoll-close epoll-fan close-range exit-files threads-exit threads-exec threads-kill futex-wake kill-all signal-all timers proc-list
 * seconds: 60
 * expect: exit 0 or killed by SIGKILL
 * prints: done
 */
#include "hostile.h"
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <linux/futex.h>

static void many_files(void) {
  struct rlimit limit = {1 << 20, 1 << 20};
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) cannot("setrlimit");
}

static volatile int here;
static int word;

static void *sleeper(void *argument) {
  (void)argument;
  __atomic_add_fetch(&here, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  return NULL;
}

static void many_threads(int count) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 16384);
  pthread_t thread;
  int made = 0;
  while (made < count && pthread_create(&thread, &attributes, sleeper, NULL) == 0) made++;
  while (here < made) usleep(1000);
}

static int many_processes(int count) {
  int made = 0;
  for (; made < count; made++) {
    pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      signal(SIGUSR1, SIG_IGN);
      for (;;) pause();
    }
  }
  return made;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "again") == 0) return puts("done"), 0;
  if (IS("poll") || IS("poll-wait")) {
    int count = 300000, fd = IS("poll") ? open("/dev/zero", O_RDONLY) : eventfd(0, 0);
    many_files();
    struct pollfd *list = calloc((size_t)count, sizeof *list);
    for (int i = 0; i < count; i++) list[i].fd = fd, list[i].events = IS("poll") ? POLLPRI : POLLIN;
    for (int i = 0; i < 3; i++) poll(list, (nfds_t)count, IS("poll") ? 0 : 200);
  } else if (IS("select")) {
    many_files();
    int last = 1000000;
    if (dup2(open("/dev/zero", O_RDONLY), last) < 0) cannot("dup2");
    unsigned char *set = calloc(1, 131072);
    for (int i = 0; i < 3; i++) {
      memset(set, 0, 131072);
      set[last / 8] |= (unsigned char)(1 << (last % 8));
      syscall(SYS_select, last + 1, NULL, NULL, set, &(struct timeval){0, 1000});
    }
  } else if (IS("epoll-not-ready") || IS("epoll-close")) {
    /* All listed as ready, and not ready any more when somebody looks. */
    many_files();
    int epoll = epoll_create1(0), event = eventfd(1, EFD_NONBLOCK), count = 100000;
    for (int i = 0; i < count; i++) {
      int fd = dup(event);
      if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}) < 0) cannot("item %d", i);
    }
    uint64_t value;
    if (IS("epoll-not-ready")) read(event, &value, sizeof value);
    struct epoll_event out;
    epoll_wait(epoll, &out, 1, 0);
    poll(&(struct pollfd){.fd = epoll, .events = POLLIN}, 1, 0);
    close(epoll);
  } else if (IS("epoll-fan")) {
    /* Four layers of instances, each watching all of the layer below: one event has 60^4 ways up. */
    int layers[4][60], event = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 60; j++) {
        layers[i][j] = epoll_create1(0);
        for (int k = 0; k < (i == 0 ? 1 : 60); k++)
          epoll_ctl(layers[i][j], EPOLL_CTL_ADD, i == 0 ? event : layers[i - 1][k], &(struct epoll_event){.events = EPOLLIN});
      }
    uint64_t one = 1;
    write(event, &one, sizeof one);
  } else if (IS("close-range") || IS("exit-files")) {
    many_files();
    int fd = open("/dev/null", O_RDONLY);
    for (int i = 0; i < 300000; i++)
      if (dup(fd) < 0) cannot("dup");
    if (IS("close-range")) syscall(SYS_close_range, 3, ~0u, 0);
  } else if (IS("threads-exit")) many_threads(2000);
  else if (IS("threads-exec")) {
    many_threads(2000);
    execl("/proc/self/exe", "crowd", "again", NULL);
  } else if (IS("threads-kill")) {
    int ready[2];
    pipe(ready);
    pid_t child = fork();
    if (child == 0) {
      many_threads(2000);
      write(ready[1], "", 1);
      for (;;) pause();
    }
    char byte;
    read(ready[0], &byte, 1);
    kill(child, SIGKILL);
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) cannot("status %x", status);
  } else if (IS("futex-wake")) {
    many_threads(2000);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
  } else if (IS("kill-all") || IS("signal-all")) {
    signal(SIGUSR1, SIG_IGN);
    printf("%d processes\n", many_processes(600));
    usleep(300000);
    for (int i = 0; i < 5; i++) kill(0, IS("signal-all") ? SIGUSR1 : SIGCONT);
    puts("done");
    fflush(stdout);
    kill(0, SIGKILL);
  } else if (IS("timers")) {
    signal(SIGRTMIN, SIG_IGN);
    for (int p = 0; p < 10; p++)
      if (fork() == 0) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
        for (int i = 0; i < 4000; i++) {
          timer_t timer;
          if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0) break;
          timer_settime(timer, 0, &(struct itimerspec){{0, 1}, {0, 1}}, NULL);
        }
        sleep(2);
        _exit(0);
      }
    while (wait(NULL) > 0);
  } else if (IS("proc-list")) {
    printf("%d processes\n", many_processes(500));
    for (int i = 0; i < 20; i++) {
      DIR *dir = opendir("/proc");
      for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[300], text[4096];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd >= 0) read(fd, text, sizeof text), close(fd);
      }
      closedir(dir);
    }
  }
  puts("done");
  fflush(stdout);
  _exit(0);
}
