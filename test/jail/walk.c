/*
 * Looks at a sandbox' jail from within: joins the namespaces of the sandbox process PID, takes its ids, capabilities and
 * descriptors, and opens everything that it can name there for writing. One line for each finding:
 *
 *   writable PATH         a path of the jail that could be opened for writing, or a directory that took a file
 *   above FD DEV:INO MODE a descriptor of a directory: where going up from it ends, and whether that is "ro" or "rw"
 *   reopened FD           a regular file that the process holds for reading only could be opened anew for writing
 *   reached PATH          a file of the host below a descriptor of a directory that must never be writable
 *   looked N              how many paths were tried, so that nothing found is not nothing looked at
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static int looked;
static void die(const char *what)
{
	fprintf(stderr, "walk: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void try_path(const char *path, int depth)
{
	struct stat st;
	if (lstat(path, &st) < 0 || looked > 50000)
		return;
	looked++;
	if (S_ISLNK(st.st_mode))
		return;
	if (!S_ISDIR(st.st_mode)) {
		int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0)
			printf("writable %s\n", path);
		close(fd);
		return;
	}
	char name[4096];
	snprintf(name, sizeof name, "%s/.probe", path);
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd >= 0) {
		printf("writable %s\n", path);
		unlink(name);
		close(fd);
	}
	DIR *dir = depth < 8 ? opendir(path) : NULL;
	for (struct dirent *e; dir && (e = readdir(dir));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(name, sizeof name, "%s/%s", strcmp(path, "/") ? path : "", e->d_name);
		try_path(name, depth + 1);
	}
	if (dir)
		closedir(dir);
}

static void look_at(int number, int fd)
{
	struct stat st, up;
	char name[64];
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISREG(st.st_mode)) {
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		int flags = fcntl(fd, F_GETFL);
		if (flags & O_PATH || (flags & O_ACCMODE) != O_RDONLY)
			return;
		int again = open(name, O_WRONLY | O_NONBLOCK);
		if (again >= 0)
			printf("reopened %d\n", number);
		close(again);
		return;
	}
	if (!S_ISDIR(st.st_mode))
		return;
	int at = openat(fd, ".", O_PATH | O_DIRECTORY);
	if (at < 0)
		return;
	for (;;) {
		int above = openat(at, "..", O_PATH | O_DIRECTORY);
		if (above < 0 || fstat(at, &st) < 0 || fstat(above, &up) < 0)
			break;
		close(at);
		at = above;
		if (st.st_dev == up.st_dev && st.st_ino == up.st_ino)
			break;
	}
	struct statvfs v;
	fstatvfs(at, &v);
	printf("above %d %lu:%lu %s\n", number, (unsigned long)up.st_dev, (unsigned long)up.st_ino, v.f_flag & ST_RDONLY ? "ro" : "rw");
	static const char *const never[] = { "proc/sys/kernel/core_pattern", "proc/sysrq-trigger", "proc/self/mem", "sys/kernel/uevent_helper", "etc/passwd", "dev/kmsg", "dev/mem", "proc/1/root/etc/passwd", "proc/1/cwd/etc/passwd" };
	for (unsigned i = 0; i < sizeof never / sizeof *never; i++) {
		looked++;
		int target = openat(at, never[i], O_WRONLY | O_NONBLOCK | O_NOCTTY);
		if (target >= 0)
			printf("reached %s\n", never[i]);
		close(target);
	}
	close(at);
}

/* The number inside of an id outside. */
static uint32_t inside(const char *map, uint32_t id)
{
	FILE *file = fopen(map, "r");
	unsigned long from, to, count;
	while (file && fscanf(file, "%lu %lu %lu", &from, &to, &count) == 3)
		if (id >= to && id - to < count) {
			fclose(file);
			return (uint32_t)(from + id - to);
		}
	die(map);
	return 0;
}

int main(int argc, char **argv)
{
	char name[128], line[256];
	static int numbers[4096], copies[4096];
	int n = 0;
	unsigned uid = 0, gid = 0;
	uint64_t caps = 0;
	if (argc != 2)
		return 2;
	int pid = atoi(argv[1]);
	snprintf(name, sizeof name, "/proc/%d/status", pid);
	FILE *status = fopen(name, "r");
	if (!status)
		die(name);
	while (fgets(line, sizeof line, status)) {
		sscanf(line, "Uid: %u", &uid);
		sscanf(line, "Gid: %u", &gid);
		sscanf(line, "CapEff: %lx", (unsigned long *)&caps);
	}
	fclose(status);
	snprintf(name, sizeof name, "/proc/%d/uid_map", pid);
	uid = inside(name, uid);
	snprintf(name, sizeof name, "/proc/%d/gid_map", pid);
	gid = inside(name, gid);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		die("pidfd_open");
	snprintf(name, sizeof name, "/proc/%d/fd", pid);
	DIR *fds = opendir(name);
	for (struct dirent *e; fds && (e = readdir(fds)) && n < 4096;) {
		int number = atoi(e->d_name);
		if (e->d_name[0] == '.')
			continue;
		int copy = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (copy < 0)
			continue;
		numbers[n] = number;
		copies[n++] = copy;
	}
	if (n == 0)
		die("no descriptors");
	if (setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		die("setns");
	int child = fork();
	if (child == 0) {
		struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
		struct __user_cap_data_struct data[2] = { { (uint32_t)caps, (uint32_t)caps, 0 }, { (uint32_t)(caps >> 32), (uint32_t)(caps >> 32), 0 } };
		prctl(PR_SET_KEEPCAPS, 1);
		syscall(SYS_setgroups, 0, NULL);
		if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
			die("ids");
		if (syscall(SYS_capset, &head, data) < 0)
			die("capset");
		prctl(PR_SET_DUMPABLE, 1);
		try_path("/", 0);
		for (int i = 0; i < n; i++)
			look_at(numbers[i], copies[i]);
		printf("looked %d\n", looked);
		fflush(stdout);
		_exit(0);
	}
	int result;
	waitpid(child, &result, 0);
	return WIFEXITED(result) ? WEXITSTATUS(result) : 2;
}
