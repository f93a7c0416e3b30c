/*
 * Host calls: thin wrappers that return -errno, print nothing, keep no state.
 *
 * Sizes and offsets come as double where they may pass 2^31: Bun's FFI passes doubles and 32-bit integers in a few
 * nanoseconds, 64-bit integers in tens. Every export is declared once for TypeScript in host.ts.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })

/*
 * Time. A sandbox whose clocks go on from saved values, on a host without time namespaces, has them shifted here: by
 * nanoseconds, as a time namespace would.
 */
static int64_t monotonic_shift, boottime_shift;
int h_clock_shift(double monotonic, double boottime)
{
	monotonic_shift = (int64_t)monotonic;
	boottime_shift = (int64_t)boottime;
	return 0;
}
static int read_clock(int clock, struct timespec *ts)
{
	if (clock_gettime(clock, ts) < 0)
		return -errno;
	int64_t shift = 0;
	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE)
		shift = monotonic_shift;
	else if (clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM)
		shift = boottime_shift;
	if (shift != 0) {
		int64_t nsec = ts->tv_nsec + shift % 1000000000;
		ts->tv_sec += shift / 1000000000 + (nsec >= 1000000000) - (nsec < 0);
		ts->tv_nsec = (nsec + 1000000000) % 1000000000;
	}
	return 0;
}
double h_clock_ns(int clock)
{
	struct timespec ts = { 0, 0 };
	read_clock(clock, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}
/* out: seconds (as double), nanoseconds (as double). */
int h_clock_get(int clock, double *out)
{
	struct timespec ts;
	int r = read_clock(clock, &ts);
	if (r < 0)
		return r;
	out[0] = (double)ts.tv_sec;
	out[1] = (double)ts.tv_nsec;
	return 0;
}

/* Files. */
int h_openat2(int dirfd, const char *path, int flags, int mode, int resolve)
{
	struct open_how how = { .flags = (uint32_t)flags | O_CLOEXEC, .mode = (uint32_t)mode, .resolve = (uint32_t)resolve };
	return R(syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}
int h_close(int fd) { return R(close(fd)); }
int h_dup_to(int fd, int to) { return R(dup2(fd, to)); }
int h_dup(int fd) { return R(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }
int h_statx(int dirfd, const char *path, int flags, int mask, void *out) { return R(syscall(SYS_statx, dirfd, path, flags, mask, out)); }
double h_pread(int fd, void *buf, double n, double off) { return R(pread(fd, buf, (size_t)n, (off_t)off)); }
double h_pwrite(int fd, const void *buf, double n, double off) { return R(pwrite(fd, buf, (size_t)n, (off_t)off)); }
double h_read(int fd, void *buf, double n) { return R(read(fd, buf, (size_t)n)); }
double h_write(int fd, const void *buf, double n) { return R(write(fd, buf, (size_t)n)); }
double h_lseek(int fd, double off, int whence) { return R(lseek(fd, (off_t)off, whence)); }
int h_getdents64(int fd, void *buf, int n) { return R(syscall(SYS_getdents64, fd, buf, n)); }
int h_readlinkat(int dirfd, const char *path, char *buf, int n) { return R(readlinkat(dirfd, path, buf, n)); }
int h_mkdirat(int dirfd, const char *path, int mode) { return R(mkdirat(dirfd, path, mode)); }
int h_mknodat(int dirfd, const char *path, int mode, double dev) { return R(mknodat(dirfd, path, mode, (dev_t)dev)); }
int h_symlinkat(const char *target, int dirfd, const char *path) { return R(symlinkat(target, dirfd, path)); }
int h_linkat(int fromdir, const char *from, int todir, const char *to, int flags) { return R(linkat(fromdir, from, todir, to, flags)); }
int h_unlinkat(int dirfd, const char *path, int flags) { return R(unlinkat(dirfd, path, flags)); }
int h_renameat2(int fromdir, const char *from, int todir, const char *to, int flags) { return R(syscall(SYS_renameat2, fromdir, from, todir, to, flags)); }
int h_fchmod(int fd, int mode) { return R(fchmod(fd, mode)); }
int h_fchmodat(int dirfd, const char *path, int mode) { return R(fchmodat(dirfd, path, mode, 0)); }
int h_fchownat(int dirfd, const char *path, double uid, double gid, int flags) { return R(fchownat(dirfd, path, (uid_t)uid, (gid_t)gid, flags)); }
/* times: four doubles: atime sec, nsec, mtime sec, nsec; nsec may be UTIME_NOW or UTIME_OMIT. */
int h_utimensat(int dirfd, const char *path, const double *times, int flags)
{
	struct timespec ts[2] = { { (time_t)times[0], (long)times[1] }, { (time_t)times[2], (long)times[3] } };
	return R(utimensat(dirfd, path, ts, flags));
}
int h_ftruncate(int fd, double size) { return R(ftruncate(fd, (off_t)size)); }
int h_fallocate(int fd, int mode, double off, double len) { return R(fallocate(fd, mode, (off_t)off, (off_t)len)); }
int h_fsync(int fd) { return R(fsync(fd)); }
int h_fdatasync(int fd) { return R(fdatasync(fd)); }
/* out: type, bsize, blocks, bfree, bavail, files, ffree, namelen, flags. */
int h_fstatfs(int fd, double *out)
{
	struct statfs s;
	if (fstatfs(fd, &s) < 0)
		return -errno;
	double v[] = { (double)(unsigned long)s.f_type, s.f_bsize, s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, s.f_namelen, s.f_flags };
	memcpy(out, v, sizeof v);
	return 0;
}
int h_fgetxattr(int fd, const char *name, void *buf, int n) { return R(fgetxattr(fd, name, buf, n)); }
int h_fsetxattr(int fd, const char *name, const void *buf, int n, int flags) { return R(fsetxattr(fd, name, buf, n, flags)); }
int h_flistxattr(int fd, char *buf, int n) { return R(flistxattr(fd, buf, n)); }
int h_fremovexattr(int fd, const char *name) { return R(fremovexattr(fd, name)); }
/* On paths, for files that cannot be opened (through /proc/self/fd/N of an O_PATH descriptor). */
int h_getxattr(const char *path, const char *name, void *buf, int n) { return R(getxattr(path, name, buf, n)); }
int h_setxattr(const char *path, const char *name, const void *buf, int n, int flags) { return R(setxattr(path, name, buf, n, flags)); }
int h_listxattr(const char *path, char *buf, int n) { return R(listxattr(path, buf, n)); }
int h_removexattr(const char *path, const char *name) { return R(removexattr(path, name)); }
int h_flock(int fd, int op) { return R(flock(fd, op)); }
int h_fcntl(int fd, int cmd, int arg) { return R(fcntl(fd, cmd, arg)); }
int h_memfd_create(const char *name, int flags) { return R(syscall(SYS_memfd_create, name, flags)); }
double h_copy_file_range(int in, double inoff, int out, double outoff, double n)
{
	off_t a = (off_t)inoff, b = (off_t)outoff;
	return R(copy_file_range(in, &a, out, &b, (size_t)n, 0));
}

/* Terminals and devices: arg is a buffer, or NULL for value. */
int h_ioctl(int fd, double request, void *arg) { return R(ioctl(fd, (unsigned long)request, arg)); }
int h_ioctl_value(int fd, double request, double value) { return R(ioctl(fd, (unsigned long)request, (long)value)); }
int h_isatty(int fd) { return isatty(fd); }
int h_poll1(int fd, int events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r = poll(&p, 1, timeout_ms);
	return r < 0 ? -errno : r == 0 ? 0 : p.revents;
}

/*
 * Reading and writing without waiting, whatever the flags of the open file, which others may share. Where the file knows
 * no RWF_NOWAIT (named pipes, terminals) it is asked first; then a write is kept so short that a pipe that is ready takes it.
 */
double h_read_nowait(int fd, void *buf, double n)
{
	struct iovec v = { buf, (size_t)n };
	long r = preadv2(fd, &v, 1, -1, RWF_NOWAIT);
	if (r >= 0 || errno != EOPNOTSUPP)
		return R(r);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (!(fcntl(fd, F_GETFL) & O_NONBLOCK) && poll(&p, 1, 0) == 0)
		return -EAGAIN;
	return R(read(fd, buf, (size_t)n));
}
double h_write_nowait(int fd, const void *buf, double n)
{
	struct iovec v = { (void *)buf, (size_t)n };
	long r = pwritev2(fd, &v, 1, -1, RWF_NOWAIT);
	if (r >= 0 || errno != EOPNOTSUPP)
		return R(r);
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		return R(write(fd, buf, (size_t)n));
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	if (poll(&p, 1, 0) == 0)
		return -EAGAIN;
	return R(write(fd, buf, n > 4096 ? 4096 : (size_t)n));
}

/* Readiness. */
int h_epoll_create(void) { return R(epoll_create1(EPOLL_CLOEXEC)); }
int h_epoll_ctl(int ep, int op, int fd, int events, int key)
{
	struct epoll_event ev = { .events = (uint32_t)events, .data.u32 = (uint32_t)key };
	return R(epoll_ctl(ep, op, fd, &ev));
}
/* out: pairs of key, events. */
int h_epoll_wait(int ep, int32_t *out, int max, int timeout_ms)
{
	struct epoll_event ev[64];
	int n = epoll_wait(ep, ev, max < 64 ? max : 64, timeout_ms);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		out[2 * i] = (int32_t)ev[i].data.u32;
		out[2 * i + 1] = (int32_t)ev[i].events;
	}
	return n;
}
int h_eventfd(int value, int flags) { return R(eventfd((unsigned)value, flags | EFD_CLOEXEC)); }
int h_pipe2(int32_t *out, int flags) { return R(pipe2(out, flags)); }

/* Sockets and descriptor passing. */
int h_socketpair(int type, int32_t *out) { return R(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out)); }
int h_unix_socket(int type) { return R(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)); }
static socklen_t unix_address(struct sockaddr_un *sa, const char *path, int len)
{
	memset(sa, 0, sizeof *sa);
	sa->sun_family = AF_UNIX;
	if (len > (int)sizeof sa->sun_path)
		len = sizeof sa->sun_path;
	memcpy(sa->sun_path, path, len);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}
/* path: len bytes; abstract names begin with NUL, file names end with NUL. */
int h_unix_bind(int fd, const char *path, int len)
{
	struct sockaddr_un sa;
	socklen_t n = unix_address(&sa, path, len);
	return R(bind(fd, (struct sockaddr *)&sa, n));
}
int h_unix_connect(int fd, const char *path, int len)
{
	struct sockaddr_un sa;
	socklen_t n = unix_address(&sa, path, len);
	return R(connect(fd, (struct sockaddr *)&sa, n));
}
int h_listen(int fd, int backlog) { return R(listen(fd, backlog)); }
int h_accept(int fd, int flags) { return R(accept4(fd, NULL, NULL, flags | SOCK_CLOEXEC)); }
int h_shutdown(int fd, int how) { return R(shutdown(fd, how)); }
/* fds: nfds descriptors to send along. */
int h_sendmsg(int fd, const void *buf, int n, const int32_t *fds, int nfds, int flags)
{
	struct iovec iov = { (void *)buf, (size_t)n };
	char control[CMSG_SPACE(sizeof(int) * 64)] = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (nfds > 64)
		return -EINVAL;
	if (nfds > 0) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	return R(sendmsg(fd, &m, flags | MSG_NOSIGNAL));
}
/* fds: room for *nfds descriptors (at most 64); *nfds becomes how many came (close-on-exec). */
int h_recvmsg(int fd, void *buf, int n, int32_t *fds, int32_t *nfds, int flags)
{
	struct iovec iov = { buf, (size_t)n };
	char control[CMSG_SPACE(sizeof(int) * 64)];
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int max = *nfds;
	*nfds = 0;
	long r = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		const int *got = (const int *)CMSG_DATA(c);
		for (int i = 0; i < count; i++) {
			if (*nfds < max)
				fds[(*nfds)++] = got[i];
			else
				close(got[i]);
		}
	}
	return (int)r;
}
/* out: pid, uid, gid of the peer. */
int h_peercred(int fd, double *out)
{
	struct ucred c;
	socklen_t n = sizeof c;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) < 0)
		return -errno;
	out[0] = c.pid;
	out[1] = c.uid;
	out[2] = c.gid;
	return 0;
}

/*
 * Sockets of the network outside, which the broker has made. Calls without waiting; addresses are struct sockaddr_in or
 * sockaddr_in6 in n bytes, whose length is the result.
 */
int h_recv(int fd, void *buf, int n, int flags) { return R(recv(fd, buf, (size_t)n, flags | MSG_DONTWAIT)); }
int h_send(int fd, const void *buf, int n, int flags) { return R(send(fd, buf, (size_t)n, flags | MSG_DONTWAIT | MSG_NOSIGNAL)); }
/* The length of the value, which is cut to n bytes. */
int h_getsockopt(int fd, int level, int name, void *value, int n)
{
	socklen_t length = (socklen_t)n;
	return getsockopt(fd, level, name, value, &length) < 0 ? -errno : (int)length;
}
int h_setsockopt(int fd, int level, int name, const void *value, int n) { return R(setsockopt(fd, level, name, value, (socklen_t)n)); }
int h_sockname(int fd, int peer, void *address, int n)
{
	socklen_t length = (socklen_t)n;
	return (peer ? getpeername : getsockname)(fd, address, &length) < 0 ? -errno : (int)length;
}
/* A new connection and where it comes from: its descriptor, without waiting. */
int h_accept_from(int fd, void *address, int n)
{
	socklen_t length = (socklen_t)n;
	return R(accept4(fd, address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

/* Processes. */
int h_kill(int pid, int signo) { return R(kill(pid, signo)); }
/* mask: n bytes, one bit a CPU. */
int h_sched_setaffinity(int tid, const void *mask, int n) { return R(syscall(SYS_sched_setaffinity, tid, n, mask)); }
/* For the threads of a process group, or one thread, from now on. */
int h_set_nice(int group, int id, int nice) { return R(setpriority(group ? PRIO_PGRP : PRIO_PROCESS, (id_t)id, nice)); }
/* The name of a user as the host's databases have it, whatever the environment says: its length, or -errno. */
int h_user_name(double uid, char *out, int n)
{
	char text[4096];
	struct passwd entry, *found;
	int error = getpwuid_r((uid_t)uid, &entry, text, sizeof text, &found);
	if (error)
		return -error;
	if (!found)
		return -ENOENT;
	int length = (int)strlen(found->pw_name);
	if (length > n)
		return -ERANGE;
	memcpy(out, found->pw_name, (size_t)length);
	return length;
}
int h_getpid(void) { return getpid(); }
int h_getuid(void) { return getuid(); }
int h_getgid(void) { return getgid(); }
int h_setsid(void) { return R(setsid()); }
/* out: pid, wait status. 0 when nothing has changed. */
int h_wait(int pid, int options, int32_t *out)
{
	int status = 0;
	pid_t r = waitpid(pid, &status, options | __WALL);
	if (r < 0)
		return -errno;
	out[0] = r;
	out[1] = status;
	return r > 0 ? 1 : 0;
}
int h_pidfd_open(int pid) { return R(syscall(SYS_pidfd_open, pid, 0)); }
int h_getrandom(void *buf, int n) { return R(syscall(SYS_getrandom, buf, n, 0)); }
int h_getrlimit(int what, double *out)
{
	struct rlimit r;
	if (getrlimit(what, &r) < 0)
		return -errno;
	out[0] = r.rlim_cur == RLIM_INFINITY ? -1 : (double)r.rlim_cur;
	out[1] = r.rlim_max == RLIM_INFINITY ? -1 : (double)r.rlim_max;
	return 0;
}

/* Memory. */
double h_mmap_shared(int fd, double off, double len) { void *p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)off); return p == MAP_FAILED ? -errno : (double)(uintptr_t)p; }
double h_mmap_anonymous(double len) { void *p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); return p == MAP_FAILED ? -errno : (double)(uintptr_t)p; }
int h_munmap(void *p, double len) { return R(munmap(p, (size_t)len)); }
double h_vm_read(int pid, void *remote, void *local, double n)
{
	struct iovec l = { local, (size_t)n }, r = { remote, (size_t)n };
	return R(syscall(SYS_process_vm_readv, pid, &l, 1, &r, 1, 0));
}
double h_vm_write(int pid, void *remote, const void *local, double n)
{
	struct iovec l = { (void *)local, (size_t)n }, r = { remote, (size_t)n };
	return R(syscall(SYS_process_vm_writev, pid, &l, 1, &r, 1, 0));
}

/* Process environment facts. */
#include <sys/auxv.h>
double h_getauxval(int type) { return (double)getauxval((unsigned long)type); }
