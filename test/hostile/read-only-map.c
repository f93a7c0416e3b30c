/*
 * Writes through a mapping of something that may only be read: a file of root's, opened for reading, mapped shared, and
 * then made writable by the stub's own instructions behind the kernel's back. The same with sealed memory.
 *
 * platforms: systrap
 * variants: file memfd sealed future host
 * expect: exit 0
 * prints: ^held\n$
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "stub.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif

int main(int argc, char **argv) {
  int writable = -1, readable = -1;
  char path[64];
  if (IS("file") || IS("host")) {
    const char *name = IS("file") ? "/dev/shm/hostile-map" : "/tmp/hostile-map";
    writable = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
    if (writable < 0 || write(writable, "before", 6) != 6) cannot("%s", name);
    /* Mapped by one who may write to it, too: the descriptors for that are there. */
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0) == MAP_FAILED) cannot("mmap");
    readable = open(name, O_RDONLY);
  } else {
    writable = memfd_create("hostile", MFD_ALLOW_SEALING);
    if (writable < 0 || write(writable, "before", 6) != 6) cannot("memfd");
    if (IS("sealed") && fcntl(writable, F_ADD_SEALS, F_SEAL_WRITE) < 0) cannot("F_SEAL_WRITE");
    if (IS("future") && fcntl(writable, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0) cannot("F_SEAL_FUTURE_WRITE");
    snprintf(path, sizeof path, "/proc/self/fd/%d", writable);
    readable = IS("memfd") ? open(path, O_RDONLY) : writable;
  }
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    if (setgid(1000) < 0 || setuid(1000) < 0) _exit(98);
    if (readable != writable) close(writable);
    char *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, readable, 0);
    if (at == MAP_FAILED) _exit(IS("sealed") && errno == EPERM ? 0 : 97);
    stub_open();
    if (stub_call(SYS_mprotect, (long)at, 4096, PROT_READ | PROT_WRITE, 0, 0, 0) != 0) _exit(0);
    memcpy(at, "AFTER!", 6);
    _exit(1);
  }
  int status;
  waitpid(pid, &status, 0);
  char now[7] = {0};
  if (pread(writable, now, 6, 0) != 6) cannot("pread");
  unlink(IS("file") ? "/dev/shm/hostile-map" : "/tmp/hostile-map");
  if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) printf("status %x\n", (unsigned)status);
  else printf("%s\n", strcmp(now, "before") == 0 ? "held" : now);
  return 0;
}
