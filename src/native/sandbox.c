/*
 * Creating the sandbox process, and the parts of its jail that need C: namespaces, mounts, capabilities.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "asking.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define MS_REC_ 16384
#define MS_SLAVE_ (1 << 19)
#define MNT_DETACH_ 2

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })
/* The other way round: -errno becomes -1 and errno. */
#define R_(expr) ({ long r_ = (long)(expr); r_ < 0 ? (errno = (int)-r_, -1) : r_; })

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	long n = write(fd, text, strlen(text));
	int result = n < 0 ? -errno : 0;
	close(fd);
	return result;
}

/* What bt_launch was doing when it failed: told in settings[SETTING_STEP]. The texts are in src/boot/launch.ts. */
enum { STEP_CLONE = 1, STEP_CGROUP, STEP_MAPS, STEP_IDS, STEP_CAPABILITIES, STEP_MOUNTS, STEP_HELPER, STEP_DESCRIPTORS, STEP_TERMINAL, STEP_EXEC, STEP_CLOCK };
enum {
	SETTING_UID,     /* ids of the new process, as its user namespace numbers them */
	SETTING_GID,
	SETTING_SET_IDS, /* 1: it takes them on; 0: it keeps what it has */
	SETTING_LEAVE_GROUPS,
	SETTING_CAPS_LO, /* the capabilities that it keeps over the exec, and for good */
	SETTING_CAPS_HI,
	SETTING_DENY_SETGROUPS, /* as an unprivileged user must before gid_map */
	SETTING_HELPERS, /* 1: the maps are written by newuidmap and newgidmap */
	SETTING_TTY,     /* if not 0, the descriptor of the new process that becomes its controlling terminal; it is closed then */
	SETTING_DIE,     /* SIGKILL it when the calling thread ends */
	SETTING_HELPER,  /* its descriptor that shall lead to the set-up helper */
	SETTING_STEP,
	SETTING_CLOCK, /* 1: its clocks show what follows, by a time namespace of its own */
	SETTING_MONOTONIC_SEC,
	SETTING_MONOTONIC_NSEC,
	SETTING_BOOTTIME_SEC,
	SETTING_BOOTTIME_NSEC,
	SETTING_CLOCK_ERROR, /* answer: the errno for which it has none; it runs all the same */
	SETTINGS,
};

/* Runs newuidmap or newgidmap: PROGRAM PID and the numbers of `map`. 0 or -errno; -EPERM when it refuses. */
static int run_helper(const char *program, int pid, const char *map)
{
	char text[2048], number[16], *argv[160];
	int argc = 0;
	if (strlen(map) >= sizeof text)
		return -E2BIG;
	strcpy(text, map);
	snprintf(number, sizeof number, "%d", pid);
	argv[argc++] = (char *)program;
	argv[argc++] = number;
	for (char *save, *word = strtok_r(text, " \n", &save); word && argc < 158; word = strtok_r(NULL, " \n", &save))
		argv[argc++] = word;
	argv[argc] = NULL;
	char *envp[] = { NULL };
	volatile int failed = 0;
	int child = vfork();
	if (child == 0) {
		/* What it complains of is said by our own error. */
		int null = open("/dev/null", O_RDWR);
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		syscall(SYS_close_range, 3, ~0u, 0);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execve(program, argv, envp);
		failed = errno;
		_exit(127);
	}
	int status = 0;
	if (child < 0)
		return -errno;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return failed ? -failed : status == 0 ? 0 : -EPERM;
}
static int write_maps(int pid, const char *uid_map, const char *gid_map, const uint32_t *settings)
{
	char file[64];
	int r = 0;
	if (settings[SETTING_HELPERS]) {
		r = run_helper("/usr/bin/newuidmap", pid, uid_map);
		return r < 0 ? r : run_helper("/usr/bin/newgidmap", pid, gid_map);
	}
	if (settings[SETTING_DENY_SETGROUPS]) {
		snprintf(file, sizeof file, "/proc/%d/setgroups", pid);
		r = write_file(file, "deny");
	}
	snprintf(file, sizeof file, "/proc/%d/uid_map", pid);
	if (r == 0)
		r = write_file(file, uid_map);
	snprintf(file, sizeof file, "/proc/%d/gid_map", pid);
	return r == 0 ? write_file(file, gid_map) : r;
}

/*
 * The caller's limits must not starve the kernel process: soft limits go up to the hard ones, and those that a start
 * needs go further where the caller may raise them. What of it guests inherit is set when stubs start.
 */
static void raise_limits(int pid)
{
	static const struct {
		int which;
		rlim_t least;
	} wanted[] = {
		{ RLIMIT_NOFILE, 65536 },
		{ RLIMIT_STACK, 8 << 20 },
		{ RLIMIT_NPROC, RLIM_INFINITY },
		{ RLIMIT_AS, RLIM_INFINITY },
		{ RLIMIT_DATA, RLIM_INFINITY },
		{ RLIMIT_FSIZE, RLIM_INFINITY },
		{ RLIMIT_CPU, RLIM_INFINITY },
		{ RLIMIT_MEMLOCK, 8 << 20 },
	};
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		struct rlimit now, next;
		if (prlimit(pid, wanted[i].which, NULL, &now) < 0)
			continue;
		/* A stack without a limit would change where the host puts mappings. */
		rlim_t soft = wanted[i].which == RLIMIT_STACK ? wanted[i].least : now.rlim_max;
		if (now.rlim_max < wanted[i].least) {
			next = (struct rlimit){ wanted[i].least, wanted[i].least };
			if (prlimit(pid, wanted[i].which, &next, NULL) == 0)
				continue;
			soft = now.rlim_max;
		}
		next = (struct rlimit){ soft, now.rlim_max };
		prlimit(pid, wanted[i].which, &next, NULL);
	}
	/* A memory image of the kernel would show all guests. 1 rather than 0: see spawn_child. */
	struct rlimit core = { 1, 1 };
	if (prlimit(pid, RLIMIT_CORE, &core, NULL) < 0) {
		core = (struct rlimit){ 0, 0 };
		prlimit(pid, RLIMIT_CORE, &core, NULL);
	}
}

static int set_capabilities(const uint32_t permitted[2], const uint32_t inheritable[2])
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){ permitted[i], permitted[i], inheritable[i] };
	return R(syscall(SYS_capset, &head, data));
}
/*
 * Every capability set becomes just `keep` (as far as we have it), bounding and ambient too; securebits are set. System
 * calls only. 0 or -errno.
 */
static int keep_capabilities(const uint32_t keep[2], unsigned long securebits)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2];
	if (syscall(SYS_capget, &head, now) < 0)
		return -errno;
	uint32_t kept[2], before[2];
	for (int i = 0; i < 2; i++) {
		before[i] = now[i].permitted;
		kept[i] = now[i].permitted & keep[i];
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int cap = 0; cap < 64; cap++)
		if (!(kept[cap / 32] >> (cap % 32) & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	int r = set_capabilities(before, kept);
	for (int cap = 0; r == 0 && cap < 64; cap++)
		if (kept[cap / 32] >> (cap % 32) & 1)
			r = R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0));
	if (r == 0)
		r = R(prctl(PR_SET_SECUREBITS, securebits, 0, 0, 0));
	return r < 0 ? r : set_capabilities(kept, kept);
}
/* Uid 0 is nobody special, changing ids moves no capabilities, and no ambient ones are added: for good. */
#define SECUREBITS (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

/*
 * The set-up helper. Mounts, other ids and a root of its own need capabilities that the sandbox process must never have:
 * its JavaScript engine has threads from the start, and capabilities belong to threads. So the process that bt_launch makes
 * forks before its exec: the child keeps those capabilities, the parent execs with what it may keep for good. The
 * child does what the sandbox process asks of it, one request at a time, until the jail is closed; no guest has run
 * before. It stays the caller's image (copied on write) and only makes system calls.
 *
 * Where there is no helper (unit tests of platforms), the same functions work in the calling process.
 */
static int helper = -1;

/* The jail's root while it is not yet the root, its empty directory; /proc of the host. */
static int made_root = -1, empty_dir = -1, caller_proc = -1;

static int open_tree_(const char *path, uint64_t attributes)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | 0x8000 /* AT_RECURSIVE */);
	if (fd < 0)
		return -errno;
	struct mount_attr attr = { .attr_set = attributes };
	if (attributes && syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | 0x8000, &attr, sizeof attr) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}
/* An empty read-only tmpfs, mounted nowhere yet: the stubs' root is a directory in it, and it will be ours. */
static int make_root(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	int r = R(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0555", 0));
	if (r == 0)
		r = R(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "64k", 0));
	if (r == 0)
		r = R(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	if (r == 0)
		r = made_root = (int)R(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
	close(fs);
	if (r < 0)
		return r;
	if (mkdirat(made_root, "proc", 0555) < 0 || mkdirat(made_root, "empty", 0555) < 0)
		return -errno;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	if (syscall(SYS_mount_setattr, made_root, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
		return -errno;
	empty_dir = openat(made_root, "empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
	caller_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return empty_dir < 0 ? -errno : 0;
}
/* It becomes the root, by way of a directory of the host; all of the host goes away. */
static int enter_root(const char *at)
{
	if (syscall(SYS_move_mount, made_root, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0 || chdir(at) < 0)
		return -errno;
	/*
	 * Processes of our own pid namespace only, nothing of the host's settings, read-only. For reopening descriptors, and for
	 * what stubs use of memory and time. Hosts that hide parts of /proc from us (containers) refuse it: then we go without.
	 */
	mount("proc", "proc", "proc", 1 | 2 | 4 | 8 /* RDONLY|NOSUID|NODEV|NOEXEC */, "subset=pid,hidepid=ptraceable");
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	return R(umount2(".", MNT_DETACH_));
}

/* Bytes of a stub's arguments, with their NULs. */
#define TITLE_SIZE 256
/* Descriptors of a stub: those of its start, and two that it receives for a moment. */
#define STUB_NOFILE 32
/* Host threads of all stubs together (they have an id, and a user namespace, of their own). */
#define STUB_NPROC 8192
struct spawn {
	/* the stub's file, then what become its descriptors 3 to 6 */
	int fds[5];
	uint32_t uid, gid;
	int set_ids, clear_groups;
};
/*
 * What a stub inherits is decided here, and docs/security.md lists it. Memory is shared with the caller until exec: only
 * system calls.
 */
static int spawn_child(void *arg)
{
	struct spawn *s = arg;
	for (int signo = 1; signo < 65; signo++) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };
		sigaction(signo, &dfl, NULL);
	}
	/*
	 * A group of its own in the sandbox process' session: what a terminal sends to the foreground group does not reach it,
	 * and the sandbox process can still move stubs between groups.
	 */
	if (setpgid(0, 0) < 0)
		_exit(91);
	/* Out of the way of 3..7 first. */
	int fds[6];
	for (int i = 0; i < 5; i++)
		fds[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, 8);
	fds[5] = caller_proc >= 0 ? fcntl(caller_proc, F_DUPFD_CLOEXEC, 8) : open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* When the host runs out of memory, guests go first. */
	int adjust = fds[5] < 0 ? -1 : openat(fds[5], "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (adjust >= 0 && write(adjust, "1000", 4) < 0) { /* the host has other plans for us */ }
	if (empty_dir >= 0 && (fchdir(empty_dir) < 0 || chroot(".") < 0 || chdir("/") < 0))
		_exit(98);
	for (int i = 0; i < 4; i++)
		if (dup2(fds[1 + i], 3 + i) < 0)
			_exit(97);
	/* /proc as the caller sees it, until the stub has looked at its own memory map; then it closes it. */
	if (fds[5] >= 0 && dup2(fds[5], 7) < 0)
		_exit(97);
	/* No descriptor but ours: not even standard ones. */
	syscall(SYS_close_range, 0, 2, 0);
	syscall(SYS_close_range, 8, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	umask(077);
	syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL);
	static const struct {
		int which;
		rlim_t limit;
	} limits[] = {
		/* 1 and not 0: the host gives no core to a program that collects them either, see core(5). */
		{ RLIMIT_CORE, 1 },
		{ RLIMIT_NOFILE, STUB_NOFILE },
		/* Twice what the kernel grants guests: what a stub that has been taken over forks by itself has an end. */
		{ RLIMIT_NPROC, STUB_NPROC },
		{ RLIMIT_MSGQUEUE, 0 },
	};
	for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
		struct rlimit now;
		if (getrlimit(limits[i].which, &now) < 0)
			continue;
		/* Of processes the other half is left to who started us: where stubs have the user's id they count as the user's. */
		rlim_t most = limits[i].which == RLIMIT_NPROC && now.rlim_max != RLIM_INFINITY ? now.rlim_max / 2 : now.rlim_max;
		struct rlimit next = { limits[i].limit < most ? limits[i].limit : most, 0 };
		next.rlim_max = next.rlim_cur;
		setrlimit(limits[i].which, &next);
	}
	prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	if (s->clear_groups && syscall(SYS_setgroups, 0, NULL) < 0)
		_exit(95);
	if (s->set_ids && (syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0 || syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0))
		_exit(95);
	static const uint32_t none[2];
	/* Without the right to empty the bounding set (unit tests) the others are emptied all the same. */
	if (keep_capabilities(none, SECUREBITS) < 0 && set_capabilities(none, none) < 0)
		_exit(94);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(94);
	sigset_t nothing;
	sigemptyset(&nothing);
	sigprocmask(SIG_SETMASK, &nothing, NULL);
	/* Empty arguments make room for the guest's, which the kernel puts there for ps: src/boot/titles.ts. */
	char *argv[1 + TITLE_SIZE - sizeof "runts-stub" + 1] = { "runts-stub" }, *envp[] = { NULL };
	for (unsigned i = 1; i < sizeof argv / sizeof *argv - 1; i++)
		argv[i] = "";
	syscall(SYS_execveat, fds[0], "", argv, envp, AT_EMPTY_PATH);
	_exit(96);
}
static char spawn_stack[65536] __attribute__((aligned(16)));
/* parent: CLONE_PARENT, or 0. Returns the stub's pid. */
static int spawn(struct spawn *s, int parent)
{
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	/* CLONE_VFORK: we wait for its exec. No CLONE_SIGHAND, so its dispositions are its own. */
	int pid = clone(spawn_child, spawn_stack + sizeof spawn_stack, CLONE_VM | CLONE_VFORK | parent | SIGCHLD, s);
	int result = pid < 0 ? -errno : pid;
	/* The child's change of ids took it away from the memory that we share. */
	prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return result;
}

static int perform(const struct request *q, const int *fds, int parent)
{
	switch (q->op) {
	case ASK_OPEN_TREE:
		return open_tree_(q->path, q->attributes);
	case ASK_MAKE_ROOT:
		return make_root();
	case ASK_ENTER_ROOT:
		return enter_root(q->path);
	case ASK_SPAWN: {
		struct spawn s = { .uid = q->uid, .gid = q->gid, .set_ids = q->uid != (uint32_t)-1, .clear_groups = (int)q->clear_groups };
		memcpy(s.fds, fds, sizeof s.fds);
		return spawn(&s, parent);
	}
	case ASK_DONE:
		return (int)syscall(SYS_getpid);
	}
	return -EINVAL;
}

/* A message with up to ASK_FDS descriptors. 0 or -errno. */
static int send_with(int socket, const void *data, size_t size, const int *fds, int nfds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(ASK_FDS * sizeof(int))];
	} control;
	struct iovec iov = { (void *)data, size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (nfds > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	long n;
	while ((n = sendmsg(socket, &m, MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	return n < 0 ? -errno : 0;
}
/* The number of descriptors, or -errno; -EPIPE at the end. */
static int receive_with(int socket, void *data, size_t size, int *fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(ASK_FDS * sizeof(int))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	long n;
	while ((n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (n != (long)size)
		return n < 0 ? -errno : -EPIPE;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c == NULL || c->cmsg_type != SCM_RIGHTS)
		return 0;
	int nfds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), (size_t)nfds * sizeof(int));
	return nfds;
}

/* The helper's life. */
static void serve(int socket)
{
	static struct request q;
	for (;;) {
		int fds[ASK_FDS];
		int nfds = receive_with(socket, &q, sizeof q, fds);
		if (nfds < 0)
			_exit(0);
		struct answer a = { perform(&q, fds, CLONE_PARENT), 0 };
		a.has_fd = q.op == ASK_OPEN_TREE && a.result >= 0;
		int fd = a.result;
		send_with(socket, &a, sizeof a, &fd, a.has_fd);
		if (a.has_fd)
			close(fd);
		while (nfds > 0)
			close(fds[--nfds]);
		if (q.op == ASK_DONE)
			_exit(0);
	}
}

/* Has it done by the process behind the socket; what `perform` returned there, or a descriptor. */
static int ask_at(int socket, const struct request *q, const int *fds, int nfds)
{
	struct answer a;
	int got[ASK_FDS];
	int r = send_with(socket, q, sizeof *q, fds, nfds);
	if (r == 0)
		r = receive_with(socket, &a, sizeof a, got);
	if (r < 0)
		return r;
	return a.has_fd ? (r == 1 ? got[0] : -EMFILE) : a.result;
}
/* By the helper, or here. */
static int ask(const struct request *q, const int *fds, int nfds)
{
	return helper < 0 ? perform(q, fds, 0) : ask_at(helper, q, fds, nfds);
}
/* A request with a path, until the next one; NULL if it is too long. */
static const struct request *path_request(int op, const char *path, double attributes)
{
	static struct request q;
	if (strlen(path) >= sizeof q.path)
		return NULL;
	q = (struct request){ .op = op, .attributes = (uint64_t)attributes };
	strcpy(q.path, path);
	return &q;
}
static int ask_path(int op, const char *path, double attributes)
{
	const struct request *q = path_request(op, path, attributes);
	return q ? ask(q, NULL, 0) : -ENAMETOOLONG;
}

/* The descriptor that leads to the helper: see bt_launch. */
void jl_helper(int fd)
{
	helper = fd;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}
/*
 * A detached copy of the mounts at path (with those below it), with MOUNT_ATTR_* bits set on each. Usable by openat2
 * without being attached anywhere. Descriptor or -errno.
 */
int jl_open_tree(const char *path, double attributes) { return ask_path(ASK_OPEN_TREE, path, attributes); }
/* Prepares the jail's root. Before the first stub. */
int jl_make_root(void)
{
	struct request q = { .op = ASK_MAKE_ROOT };
	return ask(&q, NULL, 0);
}
/* Nothing of the host can be named from here on. at: a directory of the host that nothing else is done with. */
int jl_enter_root(const char *at)
{
	int r = ask_path(ASK_ENTER_ROOT, at, 0);
	return r < 0 ? r : R(chdir("/"));
}
/* The helper goes. */
int jl_helper_done(void)
{
	struct request q = { .op = ASK_DONE };
	if (helper < 0)
		return 0;
	int pid = ask(&q, NULL, 0);
	close(helper);
	helper = -1;
	if (pid < 0)
		return pid;
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Ids that stubs take on, in our user namespace; (uint32_t)-1: they keep ours. */
static uint32_t stub_uid = (uint32_t)-1, stub_gid = (uint32_t)-1;
static int stub_clear_groups;
void jl_stub_ids(double uid, double gid, int clear_groups)
{
	stub_uid = (uint32_t)uid;
	stub_gid = (uint32_t)gid;
	stub_clear_groups = clear_groups;
}
/*
 * Starts the first stub process, a child of ours. Its descriptors 3 to 6 are socket, doorbell, mailbox and info; 7 is
 * the caller's /proc, which it closes before anything of a guest is near. Returns its pid.
 */
int sy_spawn(int stub, int socket, int doorbell, int mailbox, int info)
{
	struct request q = { .op = ASK_SPAWN, .uid = stub_uid, .gid = stub_gid, .clear_groups = (uint32_t)stub_clear_groups };
	int fds[5] = { stub, socket, doorbell, mailbox, info };
	return ask(&q, fds, 5);
}

/* Forks the helper, and puts the other end at `target`. System calls only. */
static int start_helper(int target)
{
	int pair[2];
	if (syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	int pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		dup2(pair[1], 3);
		syscall(SYS_close_range, 4, ~0u, 0);
		syscall(SYS_close_range, 0, 2, 0);
		serve(3);
	}
	if (pid < 0 || dup2(pair[0], target) < 0)
		return -1;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

/*
 * Starts an opener, the program in `program`: see opener.stub.c. userns: descriptor of the user namespace, or -1 where the
 * sandbox has none of its own; status: path of the sandbox process' /proc/PID/status. out: its socket and its pid. 0 or
 * -errno.
 */
int op_start(int program, int userns, const char *status, int32_t *out)
{
	char *argv[] = { "runts-opener", (char *)status, NULL }, *envp[] = { NULL };
	volatile int failed = 0;
	int pair[2];
	sigset_t all, old;
	/* A host file system that does not answer is an error some day. */
	struct timeval patience = { 60, 0 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid_t pid = vfork();
	if (pid == 0) {
		/* Shares our memory until exec: system calls only. */
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		/* What a terminal sends to the command is the command's. */
		setsid();
		/* Out of the way of 0 to 2 first. */
		int exe = fcntl(program, F_DUPFD_CLOEXEC, 10), socket = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
		int of = userns < 0 ? -1 : fcntl(userns, F_DUPFD_CLOEXEC, 10);
		if (exe < 0 || socket < 0 || (userns >= 0 && of < 0) || dup2(socket, 0) < 0 || (of >= 0 && dup2(of, 1) < 0) || dup3(exe, 2, O_CLOEXEC) < 0)
			failed = errno;
		if (of < 0)
			close(1);
		syscall(SYS_close_range, 3, ~0u, 0);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!failed) {
			syscall(SYS_execveat, 2, "", argv, envp, AT_EMPTY_PATH);
			failed = errno;
		}
		_exit(126);
	}
	int error = pid < 0 ? errno : failed;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	out[0] = pair[0];
	out[1] = pid;
	if (error)
		close(pair[0]);
	if (error && pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return -error;
}
/* Is it ready? To be asked once, first. 0 or -errno. */
int op_ready(int socket)
{
	struct answer a;
	int got[ASK_FDS];
	int r = receive_with(socket, &a, sizeof a, got);
	return r < 0 ? r : a.result;
}
/* As jl_open_tree. */
int op_tree(int socket, const char *path, double attributes)
{
	const struct request *q = path_request(ASK_OPEN_TREE, path, attributes);
	return q ? ask_at(socket, q, NULL, 0) : -ENAMETOOLONG;
}
/* The same; a single file is opened for use. */
int op_for_use(int socket, const char *path, double attributes)
{
	const struct request *q = path_request(ASK_OPEN_FOR_USE, path, attributes);
	return q ? ask_at(socket, q, NULL, 0) : -ENAMETOOLONG;
}
/* Sets MOUNT_ATTR_* bits on a mount and those below it, by a descriptor of its root. */
int op_attributes(int socket, int fd, double attributes)
{
	struct request q = { .op = ASK_ATTRIBUTES, .attributes = (uint64_t)attributes };
	return ask_at(socket, &q, &fd, 1);
}

/*
 * What is written to timens_offsets so that the clocks show what the settings say. The host counts offsets from its first
 * time namespace, whichever one we are in ourselves. 0 or -errno.
 */
static int clock_offsets(char *text, size_t size, const uint32_t *settings)
{
	char now[256];
	long long own[4];
	struct timespec seen[2];
	int fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	long n = read(fd, now, sizeof now - 1);
	close(fd);
	if (n < 0)
		return -errno;
	now[n] = 0;
	if (sscanf(now, "monotonic %lld %lld boottime %lld %lld", &own[0], &own[1], &own[2], &own[3]) != 4)
		return -EINVAL;
	clock_gettime(CLOCK_MONOTONIC, &seen[0]);
	clock_gettime(CLOCK_BOOTTIME, &seen[1]);
	const uint32_t *wanted = settings + SETTING_MONOTONIC_SEC;
	long long sec[2], nsec[2];
	for (int i = 0; i < 2; i++) {
		sec[i] = (long long)wanted[2 * i] - seen[i].tv_sec + own[2 * i];
		nsec[i] = (long long)wanted[2 * i + 1] - seen[i].tv_nsec + own[2 * i + 1];
		for (; nsec[i] < 0; nsec[i] += 1000000000)
			sec[i]--;
		for (; nsec[i] >= 1000000000; nsec[i] -= 1000000000)
			sec[i]++;
	}
	snprintf(text, size, "monotonic %lld %lld\nboottime %lld %lld\n", sec[0], nsec[0], sec[1], nsec[1]);
	return 0;
}
/* Enters a time namespace with these offsets. System calls only. 0 or -errno. */
static int enter_clock(const char *offsets)
{
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	int r = write_file("/proc/self/timens_offsets", offsets);
	if (r < 0)
		return r;
	int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = (int)R(setns(fd, CLONE_NEWTIME));
	close(fd);
	return r;
}

/*
 * Starts `path` (argv: argc NUL-terminated strings in a row; env likewise) in new namespaces.
 *
 * fds: nfds descriptors that become 0, 1, 2… of the new process; every other one is closed. flags: CLONE_NEW*.
 * uid_map, gid_map: text for /proc/PID/uid_map and gid_map. netns: descriptor of a network namespace to join, or -1 (the
 * calling thread is in it for a moment: the child, in a user namespace of its own, might not enter). cgroups: files
 * cgroup.procs, NUL-terminated strings in a row, the last one empty, which it enters before its first instruction.
 * settings: see SETTING_*.
 *
 * Returns the pid in our pid namespace, or -errno.
 */
int bt_launch(const char *path, const char *argv_text, int argc, const char *env_text, int envc, const int32_t *fds, int nfds, int flags, const char *uid_map, const char *gid_map, int netns, const char *cgroups, uint32_t *settings)
{
	char *argv[64], *envp[256];
	int ready[2], failed[2];
	if (argc > 63 || envc > 255 || nfds > 256)
		return -E2BIG;
	for (int i = 0; i < argc; i++, argv_text += strlen(argv_text) + 1)
		argv[i] = (char *)argv_text;
	argv[argc] = NULL;
	for (int i = 0; i < envc; i++, env_text += strlen(env_text) + 1)
		envp[i] = (char *)env_text;
	envp[envc] = NULL;
	char offsets[128];
	int clock_error = settings[SETTING_CLOCK] ? clock_offsets(offsets, sizeof offsets, settings) : 0;
	settings[SETTING_CLOCK_ERROR] = (uint32_t)-clock_error;
	settings[SETTING_STEP] = STEP_DESCRIPTORS;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(failed, O_CLOEXEC) < 0) {
		close(ready[0]), close(ready[1]);
		return -errno;
	}
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	int own_netns = -1, entered = 0, pid = -1;
	if (netns >= 0) {
		own_netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		entered = own_netns >= 0 && setns(netns, CLONE_NEWNET) == 0;
	}
	settings[SETTING_STEP] = STEP_CLONE;
	if (netns < 0 || entered)
		pid = (int)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		/* A copy of a threaded process: system calls only until exec. */
		char byte;
		int32_t report[2] = { STEP_DESCRIPTORS, 0 };
#define TRY(step, expr) do { if (!report[1]) { report[0] = (step); if ((long)(expr) < 0) report[1] = errno; } } while (0)
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			_exit(125);
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		setsid();
		/* Above the targets first, then down. */
		int moved[256];
		for (int i = 0; i < nfds; i++)
			TRY(STEP_DESCRIPTORS, moved[i] = fcntl(fds[i], F_DUPFD, nfds));
		int say = fcntl(failed[1], F_DUPFD_CLOEXEC, nfds);
		if (say < 0)
			say = failed[1];
		for (int i = 0; i < nfds && !report[1]; i++)
			TRY(STEP_DESCRIPTORS, dup2(moved[i], i));
		if (!report[1]) {
			syscall(SYS_close_range, nfds, say - 1, 0);
			syscall(SYS_close_range, say + 1, ~0u, 0);
			if (settings[SETTING_TTY]) {
				TRY(STEP_TERMINAL, ioctl((int)settings[SETTING_TTY], TIOCSCTTY, 0));
				close((int)settings[SETTING_TTY]);
			}
		}
		/* Nothing of the caller's that a program could find: keys, a way of laying out memory, late timers. */
		syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL);
		personality(PER_LINUX);
		prctl(PR_SET_TIMERSLACK, 50000, 0, 0, 0);
		/* Before the helper is there, which makes the stubs. That there is none is told, and is no end. */
		if (settings[SETTING_CLOCK] && clock_error == 0 && (clock_error = enter_clock(offsets)) < 0) {
			int32_t without[2] = { STEP_CLOCK, -clock_error };
			if (write(say, without, sizeof without) < 0) { /* nobody to tell */ }
		}
		if (settings[SETTING_SET_IDS]) {
			TRY(STEP_IDS, prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0));
			if (settings[SETTING_LEAVE_GROUPS])
				TRY(STEP_IDS, syscall(SYS_setgroups, 0, NULL));
			TRY(STEP_IDS, syscall(SYS_setresgid, settings[SETTING_GID], settings[SETTING_GID], settings[SETTING_GID]));
			TRY(STEP_IDS, syscall(SYS_setresuid, settings[SETTING_UID], settings[SETTING_UID], settings[SETTING_UID]));
			/* The keyring was made by another user. */
			syscall(SYS_keyctl, 1, NULL);
		}
		/* Our mounts no longer reach the host. */
		TRY(STEP_MOUNTS, mount(NULL, "/", NULL, MS_REC_ | MS_SLAVE_, NULL));
		TRY(STEP_HELPER, start_helper((int)settings[SETTING_HELPER]));
		TRY(STEP_CAPABILITIES, R_(keep_capabilities(&settings[SETTING_CAPS_LO], SECUREBITS)));
		TRY(STEP_CAPABILITIES, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		/* Cleared by a change of ids, so not before it. */
		if (settings[SETTING_DIE])
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!report[1]) {
			execve(path, argv, envp);
			report[0] = STEP_EXEC;
			report[1] = errno;
		}
		if (write(say, report, sizeof report) < 0) { /* nobody to tell */ }
		_exit(126);
	}
	int error = pid < 0 ? errno : 0;
	/* Going on in the wrong namespace would be worse than ending here. */
	if (entered && setns(own_netns, CLONE_NEWNET) < 0)
		abort();
	if (own_netns >= 0)
		close(own_netns);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(ready[0]);
	close(failed[1]);
	for (const char *file = cgroups; !error && *file; file += strlen(file) + 1) {
		char text[16];
		settings[SETTING_STEP] = STEP_CGROUP;
		snprintf(text, sizeof text, "%d", pid);
		error = -write_file(file, text);
	}
	if (!error && (flags & CLONE_NEWUSER)) {
		settings[SETTING_STEP] = STEP_MAPS;
		error = -write_maps(pid, uid_map, gid_map, settings);
	}
	if (!error) {
		raise_limits(pid);
		if (write(ready[1], "", 1) != 1)
			error = errno;
	}
	close(ready[1]);
	if (!error) {
		int32_t report[2];
		while (!error && read(failed[0], report, sizeof report) == sizeof report) {
			if (report[0] == STEP_CLOCK) {
				settings[SETTING_CLOCK_ERROR] = (uint32_t)report[1];
				continue;
			}
			settings[SETTING_STEP] = (uint32_t)report[0];
			error = report[1];
		}
	}
	close(failed[0]);
	if (error && pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return error ? -error : pid;
}

int jl_set_dumpable(int on) { return R(prctl(PR_SET_DUMPABLE, on, 0, 0, 0)); }
int jl_open_netns(const char *path) { return R(open(path, O_RDONLY | O_CLOEXEC)); }

/* Host signals that reach the sandbox process go to a pipe, one byte each, for the kernel loop to read. */
static int signal_pipe = -1;
static void on_host_signal(int signo)
{
	int saved = errno;
	unsigned char byte = (unsigned char)signo;
	if (write(signal_pipe, &byte, 1) < 0) { /* full: enough of them are waiting */ }
	errno = saved;
}
int bt_catch_signals(int fd)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH };
	struct sigaction sa = { .sa_handler = on_host_signal, .sa_flags = SA_RESTART };
	signal_pipe = fd;
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -errno;
	signal(SIGPIPE, SIG_IGN);
	return 0;
}
/*
 * Asks the host's scheduler for short slices for this thread (Linux 6.12 and later): when guests fill all CPUs, a waking
 * kernel runs at once, not after their slices. Elsewhere nothing changes.
 */
int bt_short_slices(double ns)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = { .size = 48, .runtime = (uint64_t)ns };
	return R(syscall(SYS_sched_setattr, 0, &attr, 0));
}
/* Ends the process at once; being pid 1 of its namespace, all stubs with it. */
void bt_exit(int code) { _exit(code); }

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
/*
 * The sandbox process' own filter, on all its threads: the `n` system calls of `allowed` pass; of sendto and sendmsg those
 * without MSG_FASTOPEN, which connects; of setsockopt the options in the `m` pairs of level and name; clone passes without any
 * CLONE_NEW* flag; clone3 says ENOSYS, since its flags cannot be seen; all else is EPERM. Permanent.
 */
int jl_filter(const int32_t *allowed, int n, const int32_t *options, int m)
{
	struct sock_filter *f = calloc((size_t)n * 4 + (size_t)m * 2 + 64, sizeof *f);
	int k = 0;
	if (!f)
		return -ENOMEM;
#define EMIT(...) f[k++] = (struct sock_filter)__VA_ARGS__
#define DENY SECCOMP_RET_ERRNO | EPERM
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	for (int i = 0; i < n; i++) {
		if (allowed[i] == SYS_sendto || allowed[i] == SYS_sendmsg) {
			EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 4));
			EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[allowed[i] == SYS_sendto ? 3 : 2])));
			EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MSG_FASTOPEN, 0, 1));
			EMIT(BPF_STMT(BPF_RET | BPF_K, DENY));
		} else
			EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1));
		EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7e020080u, 1, 0));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	EMIT(BPF_STMT(BPF_RET | BPF_K, DENY));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 1, 0));
	EMIT(BPF_STMT(BPF_RET | BPF_K, DENY));
	/* Level and name as one word; the host looks at 32 bits of either, of which we allow 16. */
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x10000, 4, 0));
	EMIT(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 16));
	EMIT(BPF_STMT(BPF_MISC | BPF_TAX, 0));
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x10000, 0, 1));
	EMIT(BPF_STMT(BPF_RET | BPF_K, DENY));
	EMIT(BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0));
	for (int i = 0; i < m; i++) {
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)options[2 * i] << 16 | (uint32_t)options[2 * i + 1], 0, 1));
		EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
	EMIT(BPF_STMT(BPF_RET | BPF_K, DENY));
	struct sock_fprog prog = { (unsigned short)k, f };
	int r = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
	int error = r < 0 ? -errno : r > 0 ? -EBUSY : 0;
	free(f);
	return error;
}
