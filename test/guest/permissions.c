/* Permission checks as uid 65534: owner, group, other, supplementary groups, directories, sticky bit, access(2). */
#include "guest.h"
#include <grp.h>

static void try_all(const char *path) {
  for (int m = 0; m < 3; m++) {
    static const char *names[] = {"r", "w", "rw"};
    int fd = open(path, (int[]){O_RDONLY, O_WRONLY, O_RDWR}[m]);
    say("  %s %s: %s", path, names[m], fd < 0 ? errno_name(errno) : "ok");
    if (fd >= 0) close(fd);
  }
}

int main(void) {
  begin();
  umask(0);
  const char *modes[] = {"0400", "0200", "0077", "0040", "0707", "0007", "0006", "0000", "0770"};
  for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
    char name[16];
    int mode = strtol(modes[i], NULL, 8);
    sprintf(name, "own%s", modes[i]);
    put_file(name, "", mode), chown(name, 65534, 0);
    sprintf(name, "grp%s", modes[i]);
    put_file(name, "", mode), chown(name, 0, 65534);
    sprintf(name, "sup%s", modes[i]);
    put_file(name, "", mode), chown(name, 0, 5000);
    sprintf(name, "oth%s", modes[i]);
    put_file(name, "", mode);
  }
  put_file("private", "", 0600);
  mkdir("noexec", 0766), put_file("noexec/f", "", 0666);
  mkdir("noread", 0711), put_file("noread/f", "", 0666);
  mkdir("sticky", 01777), put_file("sticky/root", "", 0666), put_file("sticky/mine", "", 0600);
  chown("sticky/mine", 65534, 65534);
  mkdir("open", 0777), put_file("open/root", "", 0600);
  mkdir("closed", 0755), put_file("closed/f", "", 0666);
  put_file("script", "#!/bin/true\n", 0644);
  put_file("xonly", "#!/bin/true\n", 0711);
  say("-- root");
  try_all("own0000");
  TRY(access("own0000", R_OK | W_OK));
  TRY(access("own0000", X_OK));
  TRY(access("xonly", X_OK));
  TRY(access("own0000", 8));
  CHILD("access uses the real uid", {
    NEED(setresuid(65534, 0, 0));
    TRY(access("private", R_OK));
    TRY(faccessat(AT_FDCWD, "private", R_OK, AT_EACCESS));
    OK(open("private", O_RDONLY));
  });
  CHILD("the file system uid decides", {
    syscall(SYS_setfsuid, 65534);
    TRY(open("private", O_RDONLY));
    syscall(SYS_setfsuid, 0);
    OK(open("private", O_RDONLY));
  });
  CHILD("nobody", {
    gid_t groups[] = {5000};
    NEED(setgroups(1, groups));
    NEED(setresgid(65534, 65534, 65534));
    NEED(setresuid(65534, 65534, 65534));
    const char *kinds[] = {"own", "grp", "sup", "oth"};
    for (int k = 0; k < 4; k++)
      for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        char name[16];
        sprintf(name, "%s%s", kinds[k], modes[i]);
        try_all(name);
      }
    say("-- directories");
    TRY(access("noexec/f", F_OK));
    TRY(open("noexec/f", O_RDONLY));
    OK(opendir("noexec") ? 0 : -1);
    OK(open("noread/f", O_RDONLY));
    TRY(open("noread", O_RDONLY));
    TRY(chdir("noexec"));
    TRY(open("new", O_CREAT | O_WRONLY, 0600));
    TRY(mkdir("closed/d", 0700));
    TRY(unlink("closed/f"));
    TRY(rename("closed/f", "open/f"));
    TRY(symlink("x", "closed/l"));
    TRY(unlink("open/root"));
    TRY(unlink("sticky/root"));
    TRY(rename("sticky/root", "sticky/x"));
    TRY(rename("sticky/root", "open/x"));
    OK(open("sticky/new", O_CREAT | O_WRONLY, 0600));
    TRY(rename("sticky/new", "sticky/root"));
    TRY(rename("sticky/new", "sticky/mine"));
    TRY(unlink("sticky/mine"));
    TRY(execl("script", "script", NULL));
    TRY(access("script", X_OK));
    TRY(access("xonly", X_OK));
    TRY(access("xonly", R_OK));
    TRY(mknod("open/null", S_IFCHR | 0666, 0x103));
    OK(mknod("open/fifo", S_IFIFO | 0666, 0));
    TRY(chroot("open"));
    TRY(truncate("closed/f", 0));
    TRY(truncate("private", 0));
    TRY(setuid(0));
    TRY(setgid(0));
    TRY(setgroups(1, groups));
    TRY(kill(getppid(), 0));
  });
  return 0;
}
