/* chmod and chown families: who may, what happens to set-id bits, set-gid directories, errors. */
#include "guest.h"

static void show(const char *path) {
  struct stat st;
  if (lstat(path, &st)) say("  %s: %s", path, errno_name(errno));
  else say("  %s %04o %d:%d", path, st.st_mode & 07777, st.st_uid, st.st_gid);
}

int main(void) {
  begin();
  put_file("f", "x", 0644);
  symlink("f", "l");
  TRY(chmod("f", 04755));
  show("f");
  TRY(chmod("l", 0600));
  show("f");
  TRY(fchmodat(AT_FDCWD, "f", 02751, 0));
  show("f");
  int fd = NEED(open("f", O_RDWR));
  TRY(fchmod(fd, 07777));
  show("f");
  TRY(chmod("f", 0170644));
  show("f");
  TRY(chmod("missing", 0600));
  TRY(chmod("f/x", 0600));
  TRY(fchmod(77, 0600));
  TRY(chmod(BAD, 0600));

  say("-- chown clears set-id bits of files");
  chmod("f", 06755);
  TRY(chown("f", 1000, 2000));
  show("f");
  chmod("f", 06745); /* set-gid without group execute is not privilege */
  TRY(chown("f", -1, 2001));
  show("f");
  TRY(chown("f", 1001, -1));
  show("f");
  chmod("f", 06755);
  TRY(chown("f", -1, -1));
  show("f");
  TRY(lchown("l", 7, 8));
  show("l");
  show("f");
  TRY(chown("l", 9, 10));
  show("l");
  show("f");
  TRY(fchown(fd, 11, 12));
  TRY(fchownat(AT_FDCWD, "l", 13, 14, AT_SYMLINK_NOFOLLOW));
  TRY(fchownat(fd, "", 15, 16, AT_EMPTY_PATH));
  show("l");
  show("f");
  TRY(chown("missing", 1, 1));
  TRY(fchown(77, 1, 1));
  TRY(fchownat(AT_FDCWD, "f", 1, 1, 0x4000));

  say("-- a write by someone without privilege clears set-id bits");
  chown("f", 0, 0);
  chmod("f", 06777);
  CHILD("writer", {
    NEED(setresuid(65534, 65534, 65534));
    int w = NEED(open("f", O_WRONLY));
    TRY(write(w, "y", 1));
  });
  show("f");

  say("-- set-gid directories");
  mkdir("d", 0755);
  chown("d", 0, 4242);
  chmod("d", 02755);
  put_file("d/f", "", 0644);
  mkdir("d/sub", 0755);
  show("d/f");
  show("d/sub");

  say("-- without privilege");
  put_file("mine", "", 0644);
  chown("mine", 65534, 65534);
  put_file("theirs", "", 0666);
  chmod(".", 0777);
  CHILD("nobody", {
    gid_t groups[] = {65534, 5000};
    NEED(setgroups(2, groups));
    NEED(setresgid(65534, 65534, 65534));
    NEED(setresuid(65534, 65534, 65534));
    TRY(chmod("mine", 0600));
    TRY(chmod("theirs", 0600));
    TRY(chown("mine", 0, -1));
    TRY(chown("mine", -1, 0));
    TRY(chown("mine", -1, 5000));
    TRY(chown("mine", 65534, -1));
    TRY(chown("theirs", -1, -1));
    TRY(chown("theirs", 65534, -1));
    chown("mine", -1, 65534);
    TRY(chmod("mine", 02755));
    show("mine");
    chown("mine", -1, 5000);
    TRY(chmod("mine", 02755));
    show("mine");
  });
  show("mine");
  return 0;
}
