/* O_TMPFILE: a file without a name, given one by linkat. */
#include "guest.h"

int main(void) {
  begin();
  struct stat st;
  char link[64];
  mkdir("d", 0755);
  int fd = OK(open("d", O_TMPFILE | O_RDWR, 0640));
  TRY(fstat(fd, &st));
  say("mode %o nlink %ld", st.st_mode, (long)st.st_nlink);
  TRY(rmdir("d"));
  mkdir("d", 0755);
  close(fd);
  fd = OK(open(".", O_TMPFILE | O_RDWR, 0604));
  TRY(write(fd, "named later", 11));
  sprintf(link, "/proc/self/fd/%d", fd);
  TRY(linkat(AT_FDCWD, link, AT_FDCWD, "name", AT_SYMLINK_FOLLOW));
  show_file("name");
  fstat(fd, &st);
  say("mode %o nlink %ld", st.st_mode, (long)st.st_nlink);
  int second = OK(open(".", O_TMPFILE | O_WRONLY, 0600));
  TRY(linkat(second, "", AT_FDCWD, "by-fd", AT_EMPTY_PATH));
  TRY(access("by-fd", F_OK));
  int third = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
  sprintf(link, "/proc/self/fd/%d", third);
  TRY(linkat(AT_FDCWD, link, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
  TRY(linkat(AT_FDCWD, link, AT_FDCWD, "name", AT_SYMLINK_FOLLOW));
  TRY(open(".", O_TMPFILE | O_RDONLY, 0600));
  TRY(open("name", O_TMPFILE | O_RDWR, 0600));
  TRY(open("missing", O_TMPFILE | O_RDWR, 0600));
  DIR *d = opendir(".");
  int n = 0;
  while (readdir(d)) n++;
  TRY(n);
  return 0;
}
