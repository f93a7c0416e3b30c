/*
 * The opener: opens for a container what it may see of the host. STATUS, a path of the sandbox process' /proc/PID/status.
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 *
 * A child of the command, since cloning mounts needs capabilities that an ordinary user has over the sandbox's user
 * namespace alone. It enters that (descriptor 1; closed where the sandbox has none of its own), makes a mount namespace of its
 * own, takes on the ids of the sandbox process, answers once when it is ready, and does what it is asked (asking.h) on
 * descriptor 0 until that closes. A program of its own: a copy of the command would cost the copying, and would have the
 * command's memory in a process with the sandbox's ids.
 */
#include <asm/unistd.h>
#include <linux/mount.h>
#include <linux/securebits.h>
#include <stddef.h>

#include "asking.h"

enum { SOCKET = 0, NAMESPACE = 1 };
enum { EINTR_ = 4, EBADF_ = 9, EINVAL_ = 22, ESRCH_ = 3 };
enum { O_RDONLY_ = 0, O_RDWR_ = 2, O_CLOEXEC_ = 02000000 };
enum { CLONE_NEWNS_ = 0x20000, CLONE_NEWUSER_ = 0x10000000 };
enum { MS_REC_ = 16384, MS_SLAVE_ = 1 << 19 };
enum { AT_FDCWD_ = -100, AT_EMPTY_PATH_ = 0x1000, AT_RECURSIVE_ = 0x8000 };
enum { PR_SET_SECUREBITS_ = 28, SOL_SOCKET_ = 1, SCM_RIGHTS_ = 1, MSG_NOSIGNAL_ = 0x4000, MSG_CMSG_CLOEXEC_ = 0x40000000 };
enum { S_IFMT_ = 0170000, S_IFREG_ = 0100000 };

static long call5(long nr, long a, long b, long c, long d, long e)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}
static long call3(long nr, long a, long b, long c) { return call5(nr, a, b, c, 0, 0); }
__attribute__((noreturn)) static void leave(int code)
{
	for (;;)
		call3(__NR_exit_group, code, 0, 0);
}

struct vector {
	void *base;
	size_t length;
};
struct message {
	void *name;
	size_t name_length;
	struct vector *vectors;
	size_t vector_count;
	void *control;
	size_t control_length;
	size_t flags;
};
/* cmsghdr, with room for what may come. */
struct control {
	size_t length;
	int level, type;
	int fds[ASK_FDS];
};

/* One descriptor, or none (-1), goes along. */
static void answer(int result, int fd)
{
	struct answer a = { result, fd >= 0 };
	struct control control = { offsetof(struct control, fds) + sizeof(int), SOL_SOCKET_, SCM_RIGHTS_, { fd } };
	struct vector vector = { &a, sizeof a };
	struct message m = { .vectors = &vector, .vector_count = 1 };
	if (fd >= 0) {
		m.control = &control;
		m.control_length = control.length;
	}
	while (call3(__NR_sendmsg, SOCKET, (long)&m, MSG_NOSIGNAL_) == -EINTR_)
		;
}
/* The number of descriptors that have come; -1 at the end. */
static int receive(struct request *q, int *fds)
{
	struct control control;
	struct vector vector = { q, sizeof *q };
	struct message m = { .vectors = &vector, .vector_count = 1, .control = &control, .control_length = sizeof control };
	long n;
	while ((n = call3(__NR_recvmsg, SOCKET, (long)&m, MSG_CMSG_CLOEXEC_)) == -EINTR_)
		;
	if (n != sizeof *q)
		return -1;
	if (m.control_length < offsetof(struct control, fds) || control.level != SOL_SOCKET_ || control.type != SCM_RIGHTS_)
		return 0;
	int nfds = (int)((control.length - offsetof(struct control, fds)) / sizeof(int));
	for (int i = 0; i < nfds; i++)
		fds[i] = control.fds[i];
	return nfds;
}

static int set_attributes(int tree, uint64_t attributes)
{
	struct mount_attr attr;
	attr.attr_set = attributes;
	attr.attr_clr = attr.propagation = attr.userns_fd = 0;
	return (int)call5(__NR_mount_setattr, tree, (long)"", AT_EMPTY_PATH_ | AT_RECURSIVE_, (long)&attr, sizeof attr);
}
/* A detached copy of the mounts at path, and below it. */
static int open_tree(const char *path, uint64_t attributes)
{
	int tree = (int)call3(__NR_open_tree, AT_FDCWD_, (long)path, OPEN_TREE_CLONE | O_CLOEXEC_ | AT_RECURSIVE_);
	if (tree < 0 || !attributes)
		return tree;
	int r = set_attributes(tree, attributes);
	if (r == 0)
		return tree;
	call3(__NR_close, tree, 0, 0);
	return r;
}
/*
 * The same; but a tree that is a single file is opened for use, since in a jail it could not be opened any more: for
 * writing too where that may be. The mount's flags go with it.
 */
static int open_for_use(const char *path, uint64_t attributes)
{
	int tree = open_tree(path, attributes);
	/* struct stat: st_mode is its seventh word of 32 bits. */
	uint32_t stat[36];
	if (tree < 0 || call3(__NR_fstat, tree, (long)stat, 0) < 0 || (stat[6] & S_IFMT_) != S_IFREG_)
		return tree;
	char name[32] = "/proc/self/fd/", digits[12];
	int n = 0, at = 14;
	for (int left = tree; n == 0 || left > 0; left /= 10)
		digits[n++] = (char)('0' + left % 10);
	while (n > 0)
		name[at++] = digits[--n];
	name[at] = 0;
	long fd = call3(__NR_open, (long)name, O_RDWR_ | O_CLOEXEC_, 0);
	if (fd < 0)
		fd = call3(__NR_open, (long)name, O_RDONLY_ | O_CLOEXEC_, 0);
	call3(__NR_close, tree, 0, 0);
	return (int)fd;
}

/* A number behind `name` in a text of /proc/PID/status, as this process' user namespace has it; (uint32_t)-1 without. */
static uint32_t status_number(const char *text, const char *name)
{
	for (; *text; text++) {
		int n = 0;
		while (name[n] && text[n] == name[n])
			n++;
		if (name[n])
			continue;
		uint32_t value = 0;
		for (text += n; *text == ' ' || *text == '\t'; text++)
			;
		if (*text < '0' || *text > '9')
			return (uint32_t)-1;
		for (; *text >= '0' && *text <= '9'; text++)
			value = value * 10 + (uint32_t)(*text - '0');
		return value;
	}
	return (uint32_t)-1;
}
static int take_ids(const char *status)
{
	static char text[4096];
	long fd = call3(__NR_open, (long)status, O_RDONLY_ | O_CLOEXEC_, 0);
	if (fd < 0)
		return (int)fd;
	long n = call3(__NR_read, fd, (long)text, sizeof text - 1);
	call3(__NR_close, fd, 0, 0);
	if (n <= 0)
		return n < 0 ? (int)n : -ESRCH_;
	uint32_t uid = status_number(text, "\nUid:"), gid = status_number(text, "\nGid:");
	if (uid == (uint32_t)-1 || gid == (uint32_t)-1)
		return -ESRCH_;
	if (uid == (uint32_t)call3(__NR_geteuid, 0, 0, 0) && gid == (uint32_t)call3(__NR_getegid, 0, 0, 0))
		return 0;
	long r = call5(__NR_prctl, PR_SET_SECUREBITS_, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	/* Where the namespace forbids it the sandbox process has the groups, too. */
	call3(__NR_setgroups, 0, 0, 0);
	if (r == 0)
		r = call3(__NR_setresgid, gid, gid, gid);
	return (int)(r < 0 ? r : call3(__NR_setresuid, uid, uid, uid));
}
static int get_ready(const char *status)
{
	long r = call3(__NR_setns, NAMESPACE, CLONE_NEWUSER_, 0);
	if (r == -EBADF_)
		r = 0;
	call3(__NR_close, NAMESPACE, 0, 0);
	if (r == 0)
		r = call3(__NR_unshare, CLONE_NEWNS_, 0, 0);
	if (r == 0)
		r = call5(__NR_mount, 0, (long)"/", 0, MS_REC_ | MS_SLAVE_, 0);
	return r == 0 ? take_ids(status) : (int)r;
}

static void serve(struct request *q)
{
	for (;;) {
		int fds[ASK_FDS], nfds = receive(q, fds), result = -EINVAL_, opened = -1;
		if (nfds < 0)
			return;
		if (q->op == ASK_OPEN_TREE)
			result = opened = open_tree(q->path, q->attributes);
		else if (q->op == ASK_OPEN_FOR_USE)
			result = opened = open_for_use(q->path, q->attributes);
		else if (q->op == ASK_ATTRIBUTES && nfds == 1)
			result = set_attributes(fds[0], q->attributes);
		answer(result, opened);
		if (opened >= 0)
			call3(__NR_close, opened, 0, 0);
		while (nfds > 0)
			call3(__NR_close, fds[--nfds], 0, 0);
	}
}

/* stack: argc, argv as execve leaves them. */
__attribute__((noreturn, used)) static void begin(long *stack)
{
	static struct request q;
	char **argv = (char **)(stack + 1);
	int r = stack[0] == 2 ? get_ready(argv[1]) : -EINVAL_;
	answer(r, -1);
	if (r < 0)
		leave(1);
	serve(&q);
	leave(0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n\tud2\n");
