/* statx(2): masks, flags and errors, and agreement with stat. */
#include "guest.h"

static long statx_(int dir, const char *path, int flags, unsigned mask, void *out) {
  return syscall(SYS_statx, dir, path, flags, mask, out);
}

int main(void) {
  begin();
  struct statx x;
  struct stat st;
  put_file("f", "123", 0604);
  symlink("f", "l");
  TRY(statx_(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
  stat("f", &st);
  YES((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
  YES(x.stx_ino == st.st_ino && x.stx_mode == st.st_mode && x.stx_nlink == st.st_nlink);
  YES(x.stx_uid == st.st_uid && x.stx_gid == st.st_gid && x.stx_size == (uint64_t)st.st_size);
  YES(x.stx_blksize == st.st_blksize && x.stx_blocks == (uint64_t)st.st_blocks);
  YES(x.stx_mtime.tv_sec == st.st_mtim.tv_sec && x.stx_mtime.tv_nsec == st.st_mtim.tv_nsec);
  YES(x.stx_ctime.tv_sec == st.st_ctim.tv_sec && x.stx_ctime.tv_nsec == st.st_ctim.tv_nsec);
  YES(((uint64_t)x.stx_dev_major << 8 | x.stx_dev_minor) == st.st_dev || x.stx_dev_minor > 255);
  TRY(statx_(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
  YES(S_ISLNK(x.stx_mode));
  TRY(statx_(AT_FDCWD, "l", 0, STATX_TYPE, &x));
  YES(S_ISREG(x.stx_mode));
  int fd = NEED(open("f", O_RDONLY));
  TRY(statx_(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
  TRY(x.stx_size);
  TRY(statx_(fd, NULL, AT_EMPTY_PATH, STATX_SIZE, &x));
  TRY(statx_(fd, "", 0, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", AT_STATX_SYNC_TYPE, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", 0x1, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", 0, STATX__RESERVED, &x));
  TRY(statx_(AT_FDCWD, "f", 0, 0, &x));
  TRY(statx_(AT_FDCWD, "missing", 0, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f/x", 0, STATX_SIZE, &x));
  TRY(statx_(77, "f", 0, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, BAD, 0, STATX_SIZE, &x));
  TRY(statx_(AT_FDCWD, "f", 0, STATX_SIZE, BAD));
  TRY(statx_(AT_FDCWD, "/dev/zero", 0, STATX_BASIC_STATS, &x));
  say("zero is %u:%u", x.stx_rdev_major, x.stx_rdev_minor);
  TRY(statx_(AT_FDCWD, "/proc", 0, STATX_BASIC_STATS, &x));
  YES(x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
  YES(x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
  TRY(statx_(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
  YES(x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
  return 0;
}
