/* memfd_create(2): a file in memory, sealed, mapped, passed by /proc and exec. */
#include "guest.h"
#include <linux/memfd.h>

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) _exit(21);
  begin();
  int fd = OK(memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  char b[64] = "", link[64];
  TRY(fcntl(fd, F_GETFD));
  TRY(write(fd, "hello", 5));
  TRY(lseek(fd, 0, SEEK_SET));
  TRY(read(fd, b, 64));
  struct stat st;
  fstat(fd, &st);
  say("mode %o size %ld nlink %ld", st.st_mode, (long)st.st_size, (long)st.st_nlink);
  sprintf(link, "/proc/self/fd/%d", fd);
  memset(b, 0, 64);
  TRY(readlink(link, b, 63));
  say("%s", b);
  int again = OK(open(link, O_RDONLY));
  TRY(pread(again, b, 5, 0));
  TRY(ftruncate(fd, 8192));
  char *m = NEED(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  m[4096] = 'm';
  TRY(pread(fd, b, 1, 4096));
  say("%c", b[0]);

  say("-- seals");
  TRY(fcntl(fd, F_GET_SEALS));
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
  TRY(ftruncate(fd, 10));
  TRY(ftruncate(fd, 16384));
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
  TRY(ftruncate(fd, 20000));
  TRY(pwrite(fd, "x", 1, 16384));
  TRY(pwrite(fd, "x", 1, 0));
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  munmap(m, 8192);
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  TRY(pwrite(fd, "x", 1, 0));
  TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  TRY(fcntl(fd, F_GET_SEALS));
  int plain = OK(memfd_create("", 0));
  TRY(fcntl(plain, F_GET_SEALS));
  TRY(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
  int file = open("f", O_CREAT | O_RDWR, 0600);
  TRY(fcntl(file, F_GET_SEALS));

  say("-- errors");
  char name[300];
  memset(name, 'n', 299);
  name[250] = 0;
  TRY(memfd_create(name, 0));
  name[249] = 0;
  OK(memfd_create(name, 0));
  TRY(memfd_create("x", 0x100));
  TRY(memfd_create(BAD, 0));

  say("-- run a program from it");
  int self = NEED(open("/proc/self/exe", O_RDONLY)), copy = NEED(memfd_create("program", MFD_CLOEXEC));
  char block[65536];
  for (ssize_t n; (n = read(self, block, sizeof block)) > 0;) write(copy, block, n);
  CHILD("as it is", {
    char *args[] = {"x", "y", NULL};
    fexecve(copy, args, environ);
    say("%s", errno_name(errno));
  });
  CHILD("reopened read-only", {
    char path[64];
    sprintf(path, "/proc/self/fd/%d", copy);
    int ro = open(path, O_RDONLY | O_CLOEXEC);
    close(copy);
    char *args[] = {"x", "y", NULL};
    fexecve(ro, args, environ);
    say("%s", errno_name(errno));
  });
  return 0;
}
