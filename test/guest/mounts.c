/* mount(2), umount2(2), pivot_root(2): new mounts, binds, moves, read-only and other flags, and who may not. */
#include "guest.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static void seen(const char *path) {
  struct statvfs fs;
  if (statvfs(path, &fs)) { say("  %s: %s", path, errno_name(errno)); return; }
  say("  %s:%s%s%s%s%s", path, fs.f_flag & ST_RDONLY ? " ro" : "", fs.f_flag & ST_NOSUID ? " nosuid" : "",
    fs.f_flag & ST_NODEV ? " nodev" : "", fs.f_flag & ST_NOEXEC ? " noexec" : "", fs.f_flag & ST_NOATIME ? " noatime" : "");
}

/* How often a place below the working directory is in /proc/self/mounts. */
static int listed(const char *name) {
  char cwd[PATH_MAX], path[PATH_MAX + 64], line[1024];
  if (!getcwd(cwd, sizeof cwd)) return -1;
  snprintf(path, sizeof path, " %s/%s ", cwd, name);
  FILE *f = fopen("/proc/self/mounts", "r");
  int n = 0;
  while (fgets(line, sizeof line, f)) n += strstr(line, path) != NULL;
  fclose(f);
  return n;
}

int main(void) {
  begin();
  if (unshare(CLONE_NEWNS)) { say("no mount namespace: %s", errno_name(errno)); return 0; }
  NEED(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
  struct stat st, other;
  mkdir("t", 0700);
  mkdir("b", 0755);
  mkdir("src", 0755);
  put_file("src/f", "source", 0644);
  put_file("file", "file", 0644);
  put_file("t/hidden", "", 0644);

  say("-- tmpfs");
  TRY(mount("none", "t", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=750,uid=7,gid=8"));
  seen("t");
  stat("t", &st);
  say("  mode %o owner %d:%d", st.st_mode & 07777, st.st_uid, st.st_gid);
  stat(".", &other);
  YES(st.st_dev != other.st_dev);
  TRY(access("t/hidden", F_OK));
  TRY(listed("t"));
  put_file("t/a", "in tmpfs", 0644);
  char big[65536] = "";
  int fd = NEED(open("t/big", O_CREAT | O_WRONLY, 0644));
  YES(write(fd, big, sizeof big) < 65536);
  TRY(write(fd, big, sizeof big));
  close(fd);
  TRY(unlink("t/big"));
  TRY(rename("t/a", "a"));
  TRY(link("t/a", "a"));
  TRY(rmdir("t"));
  TRY(rename("t", "t2"));
  TRY(mknod("t/null", S_IFCHR | 0666, 0x103));
  TRY(open("t/null", O_RDWR));
  TRY(access("t/../src/f", F_OK));
  TRY(mount("none", "t", "tmpfs", MS_REMOUNT | MS_RDONLY, NULL));
  seen("t");
  TRY(open("t/new", O_CREAT | O_WRONLY, 0644));
  TRY(open("t/a", O_WRONLY));
  TRY(open("t/a", O_RDONLY | O_TRUNC));
  TRY(unlink("t/a"));
  TRY(chmod("t/a", 0600));
  TRY(mkdir("t/a", 0700));
  TRY(access("t/a", W_OK));
  show_file("t/a");
  TRY(mount("none", "t", "tmpfs", MS_REMOUNT, "size=1m"));
  seen("t");

  say("-- one over the other");
  TRY(mount("none", "t", "tmpfs", 0, NULL));
  TRY(access("t/a", F_OK));
  TRY(listed("t"));
  TRY(umount("t"));
  TRY(access("t/a", F_OK));

  say("-- bind");
  TRY(mount("src", "b", NULL, MS_BIND, NULL));
  show_file("b/f");
  stat("b/f", &st);
  stat("src/f", &other);
  YES(st.st_ino == other.st_ino && st.st_dev == other.st_dev);
  put_file("b/g", "through the bind", 0644);
  show_file("src/g");
  TRY(rename("b/g", "src/h"));
  TRY(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC, NULL));
  seen("b");
  TRY(open("b/g", O_WRONLY));
  TRY(access("src/g", W_OK));
  put_file("script", "#!/bin/sh\n", 0755);
  TRY(mount("script", "file", NULL, MS_BIND, NULL));
  show_file("file");
  TRY(mount("src", "file", NULL, MS_BIND, NULL));
  TRY(mount("file", "src", NULL, MS_BIND, NULL));
  TRY(unlink("file"));
  TRY(umount("file"));
  show_file("file");
  NEED(mkdir("src/sub", 0755));
  NEED(mount("none", "src/sub", "tmpfs", 0, NULL));
  put_file("src/sub/x", "", 0644);
  mkdir("plain", 0755);
  mkdir("deep", 0755);
  TRY(mount("src", "plain", NULL, MS_BIND, NULL));
  TRY(access("plain/sub/x", F_OK));
  TRY(mount("src", "deep", NULL, MS_BIND | MS_REC, NULL));
  TRY(access("deep/sub/x", F_OK));
  TRY(umount("deep"));
  TRY(umount2("deep", MNT_DETACH));
  TRY(access("deep/sub", F_OK));
  TRY(umount("plain"));

  say("-- move");
  mkdir("m", 0755);
  TRY(mount("t", "m", NULL, MS_MOVE, NULL));
  TRY(access("m/a", F_OK));
  TRY(access("t/hidden", F_OK));
  TRY(mount("plain", "t", NULL, MS_MOVE, NULL));
  NEED(mkdir("m/in", 0755));
  TRY(mount("m", "m/in", NULL, MS_MOVE, NULL));

  say("-- busy");
  fd = NEED(open("m/a", O_RDONLY));
  TRY(umount("m"));
  TRY(umount2("m", MNT_DETACH));
  TRY(access("m/a", F_OK));
  TRY(read(fd, big, 4));
  close(fd);

  say("-- errors");
  TRY(umount("t"));
  TRY(umount("missing"));
  TRY(umount2("src/sub", 0x100));
  TRY(umount(BAD));
  TRY(mount("none", "missing", "tmpfs", 0, NULL));
  TRY(mount("none", "t", "nosuchfs", 0, NULL));
  TRY(mount("none", "t", NULL, 0, NULL));
  TRY(mount("none", "t", BAD, 0, NULL));
  TRY(mount("none", BAD, "tmpfs", 0, NULL));
  TRY(mount("none", "t", "tmpfs", 0, BAD));
  TRY(mount("none", "t", "tmpfs", 0, "size=many"));
  TRY(mount("none", "t", "tmpfs", 0, "nonsense"));
  TRY(mount("none", "src/f", "tmpfs", 0, NULL));
  TRY(mount("missing", "t", NULL, MS_BIND, NULL));
  TRY(mount(NULL, "t", NULL, MS_BIND, NULL));
  TRY(mount(NULL, "t", NULL, MS_REMOUNT, NULL));
  TRY(mount(NULL, "t", NULL, MS_PRIVATE, NULL));
  TRY(mount(NULL, "t", NULL, MS_PRIVATE | MS_SHARED, NULL));
  CHILD("nobody", {
    chmod(".", 0755);
    NEED(setresuid(65534, 65534, 65534));
    TRY(mount("none", "t", "tmpfs", 0, NULL));
    TRY(umount("src/sub"));
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(mount("none", "missing", "tmpfs", 0, NULL));
  });

  say("-- pivot_root");
  TRY(syscall(SYS_pivot_root, "t", "t"));
  NEED(mount("none", "t", "tmpfs", 0, NULL));
  NEED(mkdir("t/old", 0755));
  put_file("t/new-root", "", 0644);
  TRY(syscall(SYS_pivot_root, "t", "src"));
  CHILD("in the new root", {
    NEED(chdir("t"));
    TRY(syscall(SYS_pivot_root, ".", "old"));
    TRY(access("/new-root", F_OK));
    TRY(access("/old/tmp", F_OK));
    char cwd[PATH_MAX];
    say("cwd %s", getcwd(cwd, sizeof cwd) ? cwd : errno_name(errno));
    TRY(umount2("/old", MNT_DETACH));
    TRY(access("/old/tmp", F_OK));
  });
  return 0;
}
