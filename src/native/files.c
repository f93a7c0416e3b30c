/*
 * Host files as the directory file system needs them: attributes as doubles, opening that can only ever give a regular
 * file or a directory, changes that never follow a link.
 *
 * `dirfd` is a directory, `name` one component (or "" for dirfd itself). All functions return -errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

/* Inode numbers above 2^53 (stacked file systems put ids in the high bits) are folded, see foldIno in host-fs.ts. */
static double fold_ino(uint64_t ino)
{
	uint32_t hi = (uint32_t)(ino >> 32);
	hi = (hi ^ (hi >> 21)) & 0x1fffff;
	return (double)hi * 4294967296.0 + (double)(uint32_t)ino;
}

/*
 * out: mode, nlink, uid, gid, ino, size, blocks, blksize, rdev, dev, atime s, ns, mtime s, ns, ctime s, ns,
 * btime s, ns, btime known.
 */
int h_stat(int dirfd, const char *name, double *out)
{
	struct statx s;
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
	if (syscall(SYS_statx, dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, &s) < 0)
		return -errno;
	out[0] = s.stx_mode;
	out[1] = s.stx_nlink;
	out[2] = s.stx_uid;
	out[3] = s.stx_gid;
	out[4] = fold_ino(s.stx_ino);
	out[5] = (double)s.stx_size;
	out[6] = (double)s.stx_blocks;
	out[7] = s.stx_blksize;
	out[8] = (double)(uint32_t)((s.stx_rdev_minor & 0xff) | (s.stx_rdev_major & 0xfff) << 8 | (s.stx_rdev_minor & ~0xffu) << 12);
	out[9] = (double)s.stx_dev_major * 1048576.0 + s.stx_dev_minor;
	out[10] = (double)s.stx_atime.tv_sec;
	out[11] = s.stx_atime.tv_nsec;
	out[12] = (double)s.stx_mtime.tv_sec;
	out[13] = s.stx_mtime.tv_nsec;
	out[14] = (double)s.stx_ctime.tv_sec;
	out[15] = s.stx_ctime.tv_nsec;
	out[16] = (double)s.stx_btime.tv_sec;
	out[17] = s.stx_btime.tv_nsec;
	out[18] = (s.stx_mask & STATX_BTIME) != 0;
	return 0;
}

static int open_beneath(int dirfd, const char *name, int flags, int mode)
{
	struct open_how how = { .flags = (uint32_t)flags | O_CLOEXEC | O_NOFOLLOW, .mode = (uint32_t)mode, .resolve = BENEATH };
	int fd;
	/* EAGAIN: a rename on the host raced with the walk. */
	for (int tries = 0; tries < 16; tries++) {
		fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* A directory, for use as dirfd (flags O_PATH) or for reading (O_RDONLY). */
int h_open_directory(int dirfd, const char *name, int flags) { return open_beneath(dirfd, name, flags | O_DIRECTORY, 0); }

/*
 * A regular file with inode number `ino`; -ESTALE when the name leads elsewhere by now, -ENXIO when it is no regular
 * file. O_NONBLOCK: even if a FIFO has taken the name meanwhile, opening it neither waits nor transfers anything.
 */
int h_open_regular(int dirfd, const char *name, int flags, double ino)
{
	struct stat st;
	int fd = open_beneath(dirfd, name, flags | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fold_ino(st.st_ino) != ino) {
		int regular = S_ISREG(st.st_mode);
		close(fd);
		return regular ? -ESTALE : -ENXIO;
	}
	return fd;
}

/* A new regular file, open for reading and writing. */
int h_create_regular(int dirfd, const char *name, int mode) { return open_beneath(dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_NOCTTY, mode); }

int h_syncfs(int fd) { return syncfs(fd) < 0 ? -errno : 0; }

/* chmod that does not follow links. */
int h_chmod(int dirfd, const char *name, int mode)
{
	int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
	if (syscall(452 /* fchmodat2 */, dirfd, name, mode, flags) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	/* Before Linux 6.6: only what can be opened. */
	if (!*name)
		return fchmod(dirfd, mode) < 0 ? -errno : 0;
	int fd = open_beneath(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	int result = fchmod(fd, mode) < 0 ? -errno : 0;
	close(fd);
	return result;
}
