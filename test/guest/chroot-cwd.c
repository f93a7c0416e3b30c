/* chroot, chdir, fchdir, getcwd: confinement of paths, dot-dot at the root, the directory outside, permissions. */
#include "guest.h"

static void cwd(void) {
  char b[PATH_MAX];
  long n = syscall(SYS_getcwd, b, sizeof b);
  if (n < 0) say("getcwd: %s", errno_name(errno));
  else {
    char *at = strstr(b, guest_dir);
    if (at) memmove(at, at + strlen(guest_dir), strlen(at + strlen(guest_dir)) + 1), n -= strlen(guest_dir);
    say("cwd %s, length %ld", b, n);
  }
}

int main(void) {
  begin();
  char b[PATH_MAX];
  cwd();
  mkdir("a", 0755);
  mkdir("a/b", 0755);
  put_file("a/inside", "inside", 0644);
  put_file("outside", "outside", 0644);
  symlink("/inside", "a/abs");
  symlink("../../../../inside", "a/b/up");
  TRY(chdir("a/b"));
  cwd();
  TRY(chdir("../../a/./b/.."));
  cwd();
  TRY(syscall(SYS_getcwd, b, 3));
  TRY(syscall(SYS_getcwd, BAD, 100));
  TRY(syscall(SYS_getcwd, b, 0));
  TRY(chdir("missing"));
  TRY(chdir("inside"));
  TRY(chdir(""));
  TRY(chdir(BAD));
  int top = NEED(open("..", O_RDONLY | O_DIRECTORY)), file = NEED(open("inside", O_RDONLY));
  TRY(fchdir(file));
  TRY(fchdir(77));
  TRY(fchdir(top));
  cwd();
  int path = NEED(open("a", O_PATH));
  TRY(fchdir(path));
  cwd();
  fchdir(top);

  say("-- chroot");
  CHILD("jail", {
    TRY(chroot("a"));
    cwd(); /* still outside: unreachable */
    show_file("outside");
    TRY(access("/outside", F_OK));
    show_file("/inside");
    TRY(chdir("/"));
    cwd();
    show_file("/abs");
    show_file("/b/up");
    show_file("../../../inside");
    TRY(chdir(".."));
    cwd();
    struct stat root;
    struct stat up;
    stat("/", &root);
    stat("/..", &up);
    YES(root.st_ino == up.st_ino);
    TRY(chdir("/b"));
    cwd();
    TRY(access("/tmp", F_OK));
    TRY(fchdir(top)); /* an open directory is a way out, as on Linux */
    show_file("outside");
    CHILD("inherited", { TRY(access("/inside", F_OK)); });
  });
  CHILD("errors", {
    TRY(chroot("missing"));
    TRY(chroot("outside"));
    TRY(chroot(BAD));
    setresuid(65534, 65534, 65534);
    TRY(chroot("a"));
    TRY(chdir("a"));
  });
  say("-- permissions of the way");
  mkdir("closed", 0700);
  mkdir("closed/in", 0777);
  int in = NEED(open("closed/in", O_RDONLY));
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    TRY(chdir("closed"));
    TRY(chdir("closed/in"));
    TRY(fchdir(in));
    cwd();
    TRY(access(".", F_OK));
    TRY(access("..", F_OK));
    TRY(access("../in", F_OK));
    TRY(access("../..", F_OK));
  });
  say("-- renamed and removed");
  NEED(chdir("a/b"));
  NEED(rename("../../a", "../../z"));
  cwd();
  NEED(rmdir("../b/../b") == -1 ? unlink("up") : 0);
  TRY(rmdir("../b"));
  cwd();
  TRY(chdir(guest_dir));
  char deep[5000] = "";
  int made = 0;
  for (; made < 50; made++) {
    char name[101];
    memset(name, 'd', 100);
    name[100] = 0;
    if (mkdir(name, 0755) || chdir(name)) break;
  }
  TRY(made);
  TRY(syscall(SYS_getcwd, deep, sizeof deep)); /* longer than PATH_MAX */
  for (; made > 0; made--) { char name[101]; memset(name, 'd', 100); name[100] = 0; chdir(".."); rmdir(name); }
  cwd();
  return 0;
}
