/* rename(2), renameat2(2): replacing files and directories, its errors, exchange and no-replace. */
#include "guest.h"
#include <linux/fs.h>

static ino_t ino(const char *path) {
  struct stat st;
  return lstat(path, &st) ? 0 : st.st_ino;
}

static long renameat2_(const char *a, const char *b, unsigned flags) {
  return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, flags);
}

int main(void) {
  begin();
  put_file("a", "A", 0644);
  put_file("b", "B", 0644);
  ino_t ia = ino("a");
  int old = NEED(open("b", O_RDONLY));
  TRY(rename("a", "b"));
  show_file("b");
  YES(ino("b") == ia);
  TRY(access("a", F_OK));
  struct stat st;
  fstat(old, &st);
  say("replaced file: nlink %ld", (long)st.st_nlink);
  char c;
  TRY(read(old, &c, 1));
  YES(c == 'B');
  TRY(rename("missing", "x"));
  TRY(rename("b", "missing/x"));
  TRY(rename("b", "b"));
  NEED(link("b", "b2"));
  TRY(rename("b", "b2")); /* two names of one file: nothing happens */
  TRY(access("b", F_OK));

  say("-- directories");
  mkdir("d1", 0755);
  mkdir("d2", 0755);
  TRY(rename("d1", "b"));
  TRY(rename("b", "d1"));
  TRY(rename("d1", "d2"));
  TRY(access("d1", F_OK));
  put_file("d2/f", "x", 0644);
  mkdir("d3", 0755);
  TRY(rename("d3", "d2"));
  TRY(rename("d2", "d2/inside"));
  TRY(rename("d2", "d2"));
  TRY(rename("d2/f", "d2"));
  TRY(rename("d2", "d2/f"));
  TRY(rename("d3/", "d4/"));
  TRY(rename("b", "b3/"));
  TRY(rename("d4", "."));
  TRY(rename(".", "d5"));
  TRY(rename("d4/..", "d5"));
  int here = NEED(open("d2", O_RDONLY));
  TRY(rename("d2", "d6"));
  TRY(faccessat(here, "f", F_OK, 0));
  TRY(access("d6/f", F_OK));
  NEED(chdir("d6"));
  NEED(rename("../d6", "../d7"));
  char cwd[PATH_MAX];
  YES(getcwd(cwd, sizeof cwd) && strcmp(strrchr(cwd, '/'), "/d7") == 0);
  NEED(rename("../d4", "sub"));
  NEED(chdir("sub"));
  TRY(access("../f", F_OK));
  NEED(chdir("../.."));
  TRY(access("d7/sub", F_OK));

  say("-- symlinks are renamed themselves");
  symlink("nowhere", "l");
  TRY(rename("l", "l2"));
  TRY(readlink("l2", cwd, sizeof cwd));
  put_file("t", "T", 0644);
  TRY(rename("t", "l2"));
  YES(lstat("l2", &st) == 0 && S_ISREG(st.st_mode));

  say("-- renameat2");
  put_file("x", "X", 0644);
  put_file("y", "Y", 0644);
  TRY(renameat2_("x", "y", RENAME_NOREPLACE));
  TRY(renameat2_("x", "z", RENAME_NOREPLACE));
  TRY(renameat2_("z", "y", RENAME_EXCHANGE));
  show_file("y");
  show_file("z");
  TRY(renameat2_("z", "nothing", RENAME_EXCHANGE));
  TRY(renameat2_("z", "d7", RENAME_EXCHANGE));
  YES(stat("z", &st) == 0 && S_ISDIR(st.st_mode));
  TRY(access("z/f", F_OK));
  TRY(renameat2_("z", "y", RENAME_EXCHANGE | RENAME_NOREPLACE));
  TRY(renameat2_("z", "y", 64));
  TRY(rename(BAD, "x"));
  TRY(rename("y", BAD));
  return 0;
}
