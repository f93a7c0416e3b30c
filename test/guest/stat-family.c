/* stat, lstat, fstat, newfstatat, statfs: types, sizes, links, identity, and how they change. */
#include "guest.h"
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static void show(const char *path) {
  struct stat st;
  if (lstat(path, &st)) { say("%s: %s", path, errno_name(errno)); return; }
  const char *type = S_ISREG(st.st_mode) ? "file" : S_ISDIR(st.st_mode) ? "dir" : S_ISLNK(st.st_mode) ? "link"
    : S_ISFIFO(st.st_mode) ? "fifo" : S_ISSOCK(st.st_mode) ? "socket" : S_ISCHR(st.st_mode) ? "char" : "block";
  say("%s: %s %04o uid %d gid %d", path, type, st.st_mode & 07777, st.st_uid, st.st_gid);
  if (!S_ISDIR(st.st_mode)) say("  nlink %ld size %ld", (long)st.st_nlink, (long)st.st_size);
}

int main(void) {
  begin();
  struct stat a, b;
  put_file("f", "12345", 0640);
  mkdir("d", 01777);
  symlink("f", "l");
  mkfifo("p", 0622);
  link("f", "f2");
  const char *all[] = {"f", "f2", "d", "l", "p", "missing", "f/x", "d/.", "/dev/null", "/dev/zero"};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) show(all[i]);
  stat("f", &a);
  stat("f2", &b);
  YES(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  stat("l", &b);
  YES(a.st_ino == b.st_ino);
  int fd = NEED(open("f2", O_RDWR));
  fstat(fd, &b);
  YES(a.st_ino == b.st_ino);
  stat("d", &b);
  YES(a.st_ino != b.st_ino && a.st_dev == b.st_dev);
  stat("/dev/null", &b);
  say("null is %d:%d", major(b.st_rdev), minor(b.st_rdev));
  YES(a.st_dev != b.st_dev);
  unlink("f2");
  fstat(fd, &a);
  TRY(a.st_nlink);
  TRY(ftruncate(fd, 1 << 20));
  fstat(fd, &a);
  TRY(a.st_size);
  YES(a.st_blocks * 512 < a.st_size);
  YES(a.st_blksize >= 512);
  char *big = calloc(1, 1 << 16);
  TRY(pwrite(fd, big, 1 << 16, 0));
  fstat(fd, &a);
  YES(a.st_blocks * 512 >= 1 << 16 || a.st_blocks == 0); /* delayed allocation may still hide it */
  TRY(fstatat(AT_FDCWD, "", &a, 0));
  TRY(fstatat(fd, "", &a, AT_EMPTY_PATH));
  TRY(fstatat(AT_FDCWD, "", &a, AT_EMPTY_PATH));
  YES(S_ISDIR(a.st_mode));
  TRY(fstatat(fd, "x", &a, 0));
  TRY(fstatat(AT_FDCWD, "l", &a, AT_SYMLINK_NOFOLLOW));
  YES(S_ISLNK(a.st_mode));
  TRY(fstatat(AT_FDCWD, "f", &a, 0x10000000));
  TRY(fstatat(77, "f", &a, 0));
  TRY(fstat(77, &a));
  TRY(stat("", &a));
  TRY(syscall(SYS_stat, "f", BAD));
  TRY(syscall(SYS_stat, BAD, &a));
  TRY(syscall(SYS_lstat, "f", BAD));
  TRY(syscall(SYS_fstat, fd, BAD));
  int pipes[2];
  NEED(pipe(pipes));
  fstat(pipes[0], &a);
  fstat(pipes[1], &b);
  YES(S_ISFIFO(a.st_mode) && a.st_ino == b.st_ino);
  say("pipe mode %o", a.st_mode & 07777);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  fstat(s, &a);
  YES(S_ISSOCK(a.st_mode));
  say("socket mode %o nlink %ld size %ld", a.st_mode & 07777, (long)a.st_nlink, (long)a.st_size);

  say("-- statfs");
  struct statfs fs;
  TRY(statfs(".", &fs));
  YES(fs.f_bsize > 0 && fs.f_blocks >= fs.f_bfree && fs.f_bfree >= fs.f_bavail && fs.f_namelen == 255);
  TRY(fstatfs(fd, &fs));
  TRY(statfs("/proc", &fs));
  say("proc type %lx", (long)fs.f_type);
  TRY(statfs("missing", &fs));
  TRY(statfs(".", BAD));
  TRY(fstatfs(77, &fs));
  TRY(statfs("/dev/shm", &fs));
  say("shm type %lx", (long)fs.f_type);
  return 0;
}
