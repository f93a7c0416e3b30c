/* utimensat, futimens, utimes, utime: exact values, NOW and OMIT, who may; and which calls move which time. */
#include "guest.h"
#include <utime.h>

static struct stat at(const char *path) {
  struct stat st;
  NEED(lstat(path, &st));
  return st;
}

static bool before(struct timespec a, struct timespec b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static void show(const char *path) {
  struct stat st = at(path);
  say("  %s atime %ld.%09ld mtime %ld.%09ld", path, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

#define SET(path, a, an, m, mn, flags) utimensat(AT_FDCWD, path, (struct timespec[]){{a, an}, {m, mn}}, flags)
/* Run an action between two looks at the times of a path, and say which moved. */
#define MOVES(path, action) \
  do { \
    struct stat x = at(path); sleep_ms(15); action; struct stat y = at(path); \
    say("%s: mtime %s, ctime %s", #action, before(x.st_mtim, y.st_mtim) ? "moves" : "stays", before(x.st_ctim, y.st_ctim) ? "moves" : "stays"); \
  } while (0)

int main(void) {
  begin();
  put_file("f", "x", 0644);
  symlink("f", "l");
  TRY(SET("f", 1000, 123456789, 2000, 987654321, 0));
  show("f");
  TRY(SET("f", 0, UTIME_OMIT, 3000, 5, 0));
  show("f");
  TRY(SET("f", 4000, 0, 0, UTIME_OMIT, 0));
  show("f");
  TRY(SET("f", 0, UTIME_OMIT, 0, UTIME_OMIT, 0));
  show("f");
  TRY(SET("f", 0, 1000000000, 0, 0, 0));
  TRY(SET("f", 0, -1, 0, 0, 0));
  TRY(SET("l", 77, 1, 88, 2, AT_SYMLINK_NOFOLLOW));
  show("l");
  show("f");
  TRY(SET("l", 78, 1, 89, 2, 0));
  show("f");
  TRY(SET("missing", 1, 1, 1, 1, 0));
  TRY(SET("f", 1, 1, 1, 1, 0x10));
  time_t t = time(NULL);
  TRY(SET("f", 0, UTIME_NOW, 0, UTIME_NOW, 0));
  YES(at("f").st_mtim.tv_sec - t < 10 && at("f").st_atim.tv_sec - t < 10);
  int fd = NEED(open("f", O_RDWR));
  TRY(futimens(fd, (struct timespec[]){{5, 6}, {7, 8}}));
  show("f");
  TRY(utimes("f", (struct timeval[]){{9, 10}, {11, 12}}));
  show("f");
  TRY(utime("f", &(struct utimbuf){13, 14}));
  show("f");
  TRY(utimensat(AT_FDCWD, "f", NULL, 0));
  TRY(syscall(SYS_utimensat, fd, NULL, NULL, 0));
  TRY(syscall(SYS_utimensat, AT_FDCWD, NULL, NULL, 0));
  TRY(syscall(SYS_utimensat, AT_FDCWD, "f", BAD, 0));
  TRY(SET("f", 0x7fffffff, 0, 1, 0, 0));
  show("f");
  TRY(SET("f", -5, 0, -1000, 999999999, 0));
  show("f");

  say("-- who may");
  put_file("root-rw", "", 0666);
  put_file("root-r", "", 0644);
  CHILD("nobody", {
    NEED(setresuid(65534, 65534, 65534));
    TRY(utimensat(AT_FDCWD, "root-rw", NULL, 0));
    TRY(SET("root-rw", 0, UTIME_NOW, 0, UTIME_NOW, 0));
    TRY(SET("root-rw", 1, 1, 1, 1, 0));
    TRY(SET("root-rw", 0, UTIME_NOW, 0, UTIME_OMIT, 0));
    TRY(utimensat(AT_FDCWD, "root-r", NULL, 0));
    TRY(SET("root-r", 0, UTIME_OMIT, 0, UTIME_OMIT, 0));
  });

  say("-- which call moves what");
  char c;
  mkdir("d", 0755);
  MOVES("f", pwrite(fd, "y", 1, 0));
  MOVES("f", pwrite(fd, "y", 0, 0));
  MOVES("f", pread(fd, &c, 1, 0));
  MOVES("f", chmod("f", 0600));
  MOVES("f", chown("f", 0, 0));
  MOVES("f", ftruncate(fd, 10));
  MOVES("f", ftruncate(fd, 10));
  MOVES("f", truncate("f", 10));
  MOVES("f", link("f", "f2"));
  MOVES("f", rename("f2", "f3"));
  MOVES("f", unlink("f3"));
  MOVES("f", SET("f", 1, 1, 1, 1, 0));
  MOVES("d", put_file("d/x", "", 0600));
  MOVES("d", chmod("d/x", 0640));
  MOVES("d", rename("d/x", "d/y"));
  MOVES("d", unlink("d/y"));
  MOVES("d", mkdir("d/sub", 0755));
  MOVES("d", rmdir("d/sub"));
  MOVES("d", unlink("d/none"));
  return 0;
}
