/* What the programs about /proc share. */
#ifndef PROC_H
#define PROC_H

#include "guest.h"

static char text[1 << 20];

static char *slurp(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) { say("%s: %s", path, errno_name(errno)); text[0] = 0; return text; }
  ssize_t n, at = 0;
  while ((n = read(fd, text + at, sizeof text - 1 - at)) > 0) at += n;
  text[at] = 0;
  close(fd);
  return text;
}

#endif
