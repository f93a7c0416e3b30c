/* Extended attributes of the user namespace: set, get, list, remove, errors. */
#include "guest.h"
#include <sys/xattr.h>

int main(void) {
  begin();
  char b[256] = "";
  put_file("f", "", 0644);
  symlink("f", "l");
  mkdir("d", 0755);
  TRY(setxattr("f", "user.a", "value", 5, 0));
  TRY(getxattr("f", "user.a", b, sizeof b));
  say("\"%s\"", b);
  TRY(getxattr("f", "user.a", b, 0));
  TRY(getxattr("f", "user.a", b, 2));
  TRY(getxattr("f", "user.none", b, sizeof b));
  TRY(setxattr("f", "user.a", "other", 5, XATTR_CREATE));
  TRY(setxattr("f", "user.b", "other", 5, XATTR_REPLACE));
  TRY(setxattr("f", "user.a", "new", 3, XATTR_REPLACE));
  TRY(setxattr("f", "user.b", "", 0, XATTR_CREATE));
  TRY(setxattr("f", "user.c", "x", 1, 4));
  long n = TRY(listxattr("f", b, sizeof b));
  bool a = false, bb = false;
  for (char *at = b; at < b + n; at += strlen(at) + 1) a |= !strcmp(at, "user.a"), bb |= !strcmp(at, "user.b");
  YES(a && bb);
  TRY(listxattr("f", b, 3));
  TRY(listxattr("f", NULL, 0));
  TRY(getxattr("l", "user.a", b, sizeof b));
  TRY(lgetxattr("l", "user.a", b, sizeof b));
  TRY(lsetxattr("l", "user.a", "x", 1, 0));
  TRY(removexattr("f", "user.b"));
  TRY(removexattr("f", "user.b"));
  TRY(setxattr("d", "user.dir", "x", 1, 0));
  int fd = NEED(open("f", O_RDONLY));
  TRY(fgetxattr(fd, "user.a", b, sizeof b));
  TRY(fsetxattr(fd, "user.fd", "1", 1, 0));
  TRY(fremovexattr(fd, "user.fd"));
  TRY(flistxattr(fd, b, sizeof b));
  TRY(setxattr("f", "noprefix", "x", 1, 0));
  TRY(setxattr("f", "user.", "x", 1, 0));
  TRY(setxattr("f", "", "x", 1, 0));
  TRY(getxattr("missing", "user.a", b, sizeof b));
  TRY(setxattr("f", BAD, "x", 1, 0));
  TRY(setxattr("f", "user.a", BAD, 1, 0));
  TRY(getxattr("f", "user.a", BAD, 10));
  char longname[300] = "user.";
  memset(longname + 5, 'n', 260);
  TRY(setxattr("f", longname, "x", 1, 0));
  TRY(fgetxattr(77, "user.a", b, sizeof b));
  CHILD("nobody", {
    NEED(setresuid(65534, 65534, 65534));
    TRY(getxattr("f", "user.a", b, sizeof b));
    TRY(setxattr("f", "user.a", "x", 1, 0));
    TRY(setxattr("f", "trusted.a", "x", 1, 0));
  });
  return 0;
}
