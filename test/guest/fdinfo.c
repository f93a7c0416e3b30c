/* /proc/self/fdinfo: position, flags, and what each kind of descriptor adds. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* Its lines, without what depends on the run. */
static void info(const char *what, int fd) {
  char path[64], text[2000];
  sprintf(path, "/proc/self/fdinfo/%d", fd);
  int f = open(path, O_RDONLY);
  ssize_t n = read(f, text, sizeof text - 1);
  text[n > 0 ? n : 0] = 0;
  close(f);
  say("%s", what);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    if (!strncmp(line, "mnt_id", 6) || !strncmp(line, "ino:", 4) || !strncmp(line, "eventfd-id", 10)) continue;
    char *ino = strstr(line, " ino:");
    if (ino) *ino = 0;
    if (strncmp(line, "Pid", 3) && strncmp(line, "NSpid", 5)) say("  %s", line);
    else YES(atoi(strchr(line, '\t')) == getpid());
  }
}

int main(void) {
  begin();
  int event = eventfd(300, EFD_SEMAPHORE | EFD_CLOEXEC);
  info("eventfd", event);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 3);
  info("signalfd", signalfd(-1, &set, SFD_NONBLOCK));
  info("timerfd", timerfd_create(CLOCK_MONOTONIC, 0));
  int poller = epoll_create1(0);
  struct epoll_event ev = {EPOLLIN | EPOLLET, {.u64 = 0x1234567890}};
  epoll_ctl(poller, EPOLL_CTL_ADD, event, &ev);
  info("epoll", poller);
  info("pidfd", syscall(SYS_pidfd_open, getpid(), 0));
  int file = open("f", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  write(file, "abc", 3);
  info("file", file);
  int p[2];
  pipe2(p, O_NONBLOCK);
  info("pipe, reading", p[0]);
  info("pipe, writing", p[1]);
  info("path", open(".", O_PATH));
  info("directory", open("/", O_RDONLY | O_DIRECTORY));
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  info("socket", pair[0]);
  return 0;
}
