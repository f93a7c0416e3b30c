/*
 * What hostile guests share. Each is a program whose first comment says what it tries, and in "key: value" lines what
 * must come of it; README.md beside this file explains the lines.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The variant that this run is to try ("" without variants). */
#define VARIANT (argc > 1 ? argv[1] : "")
#define IS(name) (strcmp(VARIANT, name) == 0)

/* The attack cannot be made as it was meant: the test fails with this line. */
__attribute__((noreturn, format(printf, 1, 2), unused)) static void cannot(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vprintf(format, list);
  printf(": %s\n", strerror(errno));
  fflush(stdout);
  _exit(99);
}

/* Memory that costs nothing until it is touched. */
__attribute__((unused)) static void *map_anonymous(size_t length) {
  void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) cannot("mmap of %zu bytes", length);
  return at;
}

/* A new file in memory (tmpfs) of this size, without content. */
__attribute__((unused)) static int memory_file(const char *name, off_t size) {
  char path[128];
  snprintf(path, sizeof path, "/dev/shm/%s", name);
  int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
  if (fd < 0 || ftruncate(fd, size) < 0) cannot("%s", path);
  unlink(path);
  return fd;
}

#endif
