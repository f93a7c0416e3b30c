/*
 * The pools that arguments come from: descriptors of every kind, addresses good and bad, paths, structures that are half
 * valid, numbers at edges. What is taken depends on the random numbers alone; `note` gets it as text for a listing.
 */
#ifndef FUZZ_POOLS_H
#define FUZZ_POOLS_H

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include "frame.h"

enum pool { A_INT, A_FD, A_FLAGS, A_ENUM, A_PATH, A_ADDR, A_SIZE, A_MODE, A_PID, A_UID, A_SIGNAL, A_SOCKTYPE, A_SMALL, A_EXACT };
/* Which descriptors a call is meant for. */
enum liking { D_ANY, D_SOCKET, D_EPOLL, D_TIMER, D_INOTIFY, D_DIR, D_PIDFD, D_SIGNAL, D_PIPE, D_FILE, D_TTY };
enum structure {
	S_ANY, S_IOV, S_MSG, S_TIME, S_ARGV, S_POLL, S_CLONE, S_HOW, S_ACTION, S_STACK, S_SET, S_EPOLL, S_SIGEVENT,
	S_ITIMER, S_LIMIT, S_SOCKADDR, S_LENGTH, S_SIGINFO, S_BPF, S_CAPHEAD, S_WAITV, S_SCHED, S_RANDOM, S_LAST,
	S_FSTYPE, S_XATTR, S_SELF,
};
struct arg_type {
	uint8_t pool, structure;
	const uint32_t *values;
	u32 count;
};
struct call_type {
	long nr;
	const char *name;
	int rare;
	int nargs;
	struct arg_type args[6];
};

/* Descriptors: those that the process itself made last are "newest". */
#define FD_BASE 10
enum {
	F_RW, F_RO, F_APPEND, F_DIR, F_ROOT, F_PATH, F_PATHDIR, F_PIPE_R, F_PIPE_W, F_NPIPE_R, F_NPIPE_W, F_FIFO,
	F_UNIX_A, F_UNIX_B, F_DGRAM_A, F_DGRAM_B, F_SEQ_A, F_SEQ_B, F_UNIX_LISTEN, F_TCP_LISTEN, F_TCP_A, F_TCP_B, F_UDP,
	F_TCP6, F_UDP6, F_TCP_NEW, F_NETLINK, F_EPOLL, F_EPOLL2, F_EVENT, F_SEMAPHORE, F_TIMER, F_SIGNALFD, F_MEMFD,
	F_SEALED, F_PTM, F_PTS, F_PIDFD, F_PIDFD_CHILD, F_INOTIFY, F_MAPS, F_MEM, F_STATUS, F_FDDIR, F_PROC, F_NULL,
	F_ZERO, F_FULL, F_URANDOM, F_SYS, F_PASSWD, F_TMPFILE, F_EXE, F_NS, F_LINKPATH, F_COUNT,
};
static const char *fd_names[F_COUNT] = {
	"rw", "ro", "append", "dir", "root", "path", "pathdir", "pipe_r", "pipe_w", "npipe_r", "npipe_w", "fifo",
	"unix_a", "unix_b", "dgram_a", "dgram_b", "seq_a", "seq_b", "unix_listen", "tcp_listen", "tcp_a", "tcp_b", "udp",
	"tcp6", "udp6", "tcp_new", "netlink", "epoll", "epoll2", "eventfd", "semaphore", "timerfd", "signalfd", "memfd",
	"sealed", "ptm", "pts", "pidfd", "pidfd_child", "inotify", "maps", "mem", "status", "fddir", "proc", "null",
	"zero", "full", "urandom", "sys", "passwd", "tmpfile", "exe", "ns", "linkpath",
};

/* Memory at fixed places, so that a listing means the same everywhere. */
#define ARENA 0x200000000ul
#define ARENA_SIZE 0x100000ul
#define READ_ONLY 0x200400000ul
#define NO_ACCESS 0x200500000ul
#define PAGE_END 0x200600000ul /* one page, nothing after it */
#define SHARED_MAP 0x200700000ul
#define BEYOND_END 0x200800000ul /* of a file of one page: the second gives SIGBUS */
#define EXECUTABLE 0x200900000ul

static volatile int newest_fd = -1;
static volatile int newest_pid = -1;
static pid_t first_child;
static u64 batch_seed;

static void keep(int slot, int fd)
{
	if (fd < 0)
		return;
	dup3(fd, FD_BASE + slot, 0);
	close(fd);
}
static void keep_pair(int slot, const int p[2])
{
	keep(slot, p[0]);
	keep(slot + 1, p[1]);
}

static void make_memory(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	mmap((void *)ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
	mmap((void *)READ_ONLY, 65536, PROT_READ, flags, -1, 0);
	mmap((void *)NO_ACCESS, 65536, PROT_NONE, flags, -1, 0);
	mmap((void *)PAGE_END, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
	mmap((void *)EXECUTABLE, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
	mmap((void *)SHARED_MAP, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, FD_BASE + F_MEMFD, 0);
	mmap((void *)BEYOND_END, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, FD_BASE + F_RW, 0);
}

static void make_sockets(void)
{
	int p[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0)
		keep_pair(F_UNIX_A, p);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, p) == 0)
		keep_pair(F_DGRAM_A, p);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0)
		keep_pair(F_SEQ_A, p);
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(s, (struct sockaddr *)&un, sizeof un);
	listen(s, 2);
	keep(F_UNIX_LISTEN, s);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof in;
	s = socket(AF_INET, SOCK_STREAM, 0);
	bind(s, (struct sockaddr *)&in, sizeof in);
	listen(s, 2);
	getsockname(s, (struct sockaddr *)&in, &len);
	int c = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(c, (struct sockaddr *)&in, sizeof in) == 0)
		keep(F_TCP_B, accept(s, 0, 0));
	keep(F_TCP_A, c);
	keep(F_TCP_LISTEN, s);
	keep(F_UDP, socket(AF_INET, SOCK_DGRAM, 0));
	keep(F_TCP6, socket(AF_INET6, SOCK_STREAM, 0));
	keep(F_UDP6, socket(AF_INET6, SOCK_DGRAM, 0));
	keep(F_TCP_NEW, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	keep(F_NETLINK, socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
}

static void make_descriptors(void)
{
	int p[2];
	syscall(SYS_close_range, 0, ~0u, 0);
	for (int i = 0; i < 3; i++)
		(void)!open("/dev/null", O_RDWR);
	char where[64];
	snprintf(where, sizeof where, "/tmp/fuzz-%lx", batch_seed);
	mkdir(where, 0777);
	chmod(where, 0777);
	(void)!chdir(where);
	int f = open("f0", O_RDWR | O_CREAT, 0666);
	(void)!ftruncate(f, 4096);
	keep(F_RW, f);
	keep(F_APPEND, open("f1", O_RDWR | O_CREAT | O_APPEND, 0666));
	keep(F_RO, open("f0", O_RDONLY));
	mkdir("d0", 0777);
	mkdir("d0/x", 0777);
	(void)!symlink("f0", "l0");
	(void)!symlink("loop", "loop");
	(void)!symlink("nowhere/x", "dangling");
	(void)!symlink("/", "up");
	mkfifo("fifo", 0666);
	keep(F_DIR, open("d0", O_RDONLY | O_DIRECTORY));
	keep(F_ROOT, open("/", O_RDONLY | O_DIRECTORY));
	keep(F_PATH, open("f0", O_PATH));
	keep(F_PATHDIR, open("d0", O_PATH));
	keep(F_LINKPATH, open("l0", O_PATH | O_NOFOLLOW));
	if (pipe(p) == 0)
		keep_pair(F_PIPE_R, p);
	if (pipe2(p, O_NONBLOCK) == 0)
		keep_pair(F_NPIPE_R, p);
	keep(F_FIFO, open("fifo", O_RDWR | O_NONBLOCK));
	make_sockets();
	keep(F_EPOLL, epoll_create1(0));
	keep(F_EPOLL2, epoll_create1(0));
	struct epoll_event e = { EPOLLIN | EPOLLOUT, { .u64 = 1 } };
	epoll_ctl(FD_BASE + F_EPOLL, EPOLL_CTL_ADD, FD_BASE + F_UNIX_A, &e);
	epoll_ctl(FD_BASE + F_EPOLL, EPOLL_CTL_ADD, FD_BASE + F_PIPE_W, &e);
	epoll_ctl(FD_BASE + F_EPOLL2, EPOLL_CTL_ADD, FD_BASE + F_EPOLL, &e);
	keep(F_EVENT, eventfd(0, 0));
	keep(F_SEMAPHORE, eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
	f = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec t = { { 0, 5000000 }, { 0, 5000000 } };
	timerfd_settime(f, 0, &t, 0);
	keep(F_TIMER, f);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	keep(F_SIGNALFD, signalfd(-1, &set, 0));
	f = memfd_create("m", 0);
	(void)!ftruncate(f, 65536);
	keep(F_MEMFD, f);
	f = memfd_create("s", MFD_ALLOW_SEALING);
	(void)!ftruncate(f, 4096);
	fcntl(f, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
	keep(F_SEALED, f);
	if (openpty(&p[0], &p[1], 0, 0, 0) == 0)
		keep_pair(F_PTM, p);
	keep(F_PIDFD, (int)syscall(SYS_pidfd_open, getpid(), 0));
	first_child = fork();
	if (first_child == 0)
		for (;;)
			pause();
	keep(F_PIDFD_CHILD, (int)syscall(SYS_pidfd_open, first_child, 0));
	f = inotify_init1(IN_NONBLOCK);
	inotify_add_watch(f, ".", IN_ALL_EVENTS);
	keep(F_INOTIFY, f);
	keep(F_MAPS, open("/proc/self/maps", O_RDONLY));
	keep(F_MEM, open("/proc/self/mem", O_RDWR));
	keep(F_STATUS, open("/proc/self/status", O_RDONLY));
	keep(F_FDDIR, open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
	keep(F_PROC, open("/proc", O_RDONLY | O_DIRECTORY));
	keep(F_NULL, open("/dev/null", O_RDWR));
	keep(F_ZERO, open("/dev/zero", O_RDWR));
	keep(F_FULL, open("/dev/full", O_RDWR));
	keep(F_URANDOM, open("/dev/urandom", O_RDONLY));
	keep(F_SYS, open("/sys", O_RDONLY | O_DIRECTORY));
	keep(F_PASSWD, open("/etc/passwd", O_RDONLY));
	keep(F_TMPFILE, open(".", O_TMPFILE | O_RDWR, 0600));
	keep(F_EXE, open("/proc/self/exe", O_RDONLY));
	keep(F_NS, open("/proc/self/ns/mnt", O_RDONLY));
}

/* Text for a listing; without a buffer nothing is written. */
struct note {
	char *text;
	size_t room;
};
__attribute__((format(printf, 2, 3))) static void put(struct note *n, const char *format, ...)
{
	if (n->text == 0 || n->room < 2)
		return;
	va_list list;
	va_start(list, format);
	int k = vsnprintf(n->text, n->room, format, list);
	va_end(list);
	if (k < 0 || (size_t)k >= n->room)
		k = (int)n->room - 1;
	n->text += k;
	n->room -= (size_t)k;
}

static const u64 sizes[] = {
	0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 24, 31, 32, 63, 64, 100, 127, 128, 129, 255, 256, 1024, 4095, 4096, 4097, 8192,
	65535, 65536, 65537, 0x100000, 0x1000000, 0x10000000, 0x7ffff000, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff,
	0x100000000, 0x100000001, 0x7fffffffff, 0x7fdffffff000, 0x7fe000000000, 0x7ffffffff000, 0x1fffffffffffff,
	0x20000000000000, 0x20000000000001, 0x3fffffffffffffff, 0x4000000000000000, 0x7ffffffffffff000, 0x7fffffffffffffff,
	0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffff80, 0xffffffffffffffff,
};
static const u64 bad_addresses[] = {
	0, 1, 0xfff, 0x1000, 0x10000, NO_ACCESS, READ_ONLY, PAGE_END, PAGE_END + 4096, PAGE_END + 4088, PAGE_END + 4095,
	BEYOND_END + 4096, BEYOND_END + 4090, SHARED_MAP, EXECUTABLE, 0x7fdffffff000, 0x7fdfffffffff, 0x7fe000000000,
	0x7fe000001000, 0x7fe010000000, 0x7fe020000000, 0x7fe100000000, 0x7fe200000000, 0x7fe200020000, 0x7ff000000000,
	0x7ffffffde000, 0x7fffffffe000, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
	0xffffffffff600000, 0x8000000000000000, 0x20000000000000, 0x20000000000001, 0xfffffffffffff000, 0xffffffffffffffff,
};
static const char *paths[] = {
	".", "..", "/", "f0", "f1", "d0", "d0/x", "d0/../f0", "l0", "loop", "dangling", "dangling/..", "up/up/up/etc/passwd",
	"fifo", "sock", "", "f0/x", "d0/", "f0/", "d0/new", "new1", "new2", "d0/x/..", "/proc/self/fd/10",
	"/proc/self/fd/17", "/proc/self/exe", "/proc/self/mem", "/proc/self/maps", "/proc/self/ns/mnt", "/proc/self/cwd",
	"/proc/self/root", "/proc/self/task", "/proc/self/attr/current", "/proc/self/oom_score_adj", "/proc/self/uid_map",
	"/proc/self/comm", "/proc/self/environ", "/proc/self/mountinfo", "/proc/self/fdinfo/38", "/proc/thread-self/stat",
	"/proc/sys/kernel/hostname", "/proc/sys/kernel/pid_max", "/proc/meminfo", "/proc/net/tcp", "/proc/net/unix",
	"/proc/-1", "/proc/99999999999", "/dev/null", "/dev/zero", "/dev/full", "/dev/ptmx", "/dev/pts/0", "/dev/tty",
	"/dev/shm/x", "/dev/fd/10", "/etc/passwd", "/bin/true", "/bin", "/usr/lib", "/sys", "/sys/fs/cgroup", "/tmp",
	"/var/tmp/x", "/root", "//", "/../..", "./././f0", "\xff\xfe", "a\nb",
};
static const char *fstypes[] = { "tmpfs", "proc", "sysfs", "overlay", "devpts", "devtmpfs", "cgroup2", "ext4", "mqueue", "" };
static const char *xattrs[] = { "user.a", "user.", "security.capability", "trusted.x", "system.posix_acl_access", "bad", "" };

#define PICK(r, list) (list[below(r, sizeof(list) / sizeof(list[0]))])

static u64 any_size(struct rng *r)
{
	u64 v = PICK(r, sizes);
	return one_in(r, 6) ? v + below(r, 5) - 2 : v;
}
static int any_fd(struct rng *r, struct note *n)
{
	u32 k = below(r, 100);
	if (k < 80) {
		u32 f = below(r, F_COUNT);
		put(n, "fd_%s", fd_names[f]);
		return FD_BASE + (int)f;
	}
	if (k < 88) {
		put(n, "newest_fd");
		return newest_fd;
	}
	static const int odd[] = { -1, -100, 0, 1, 2, 3, 4, 5, 6, 7, 255, 1023, 1024, 19999, 0x7fffffff, (int)0x80000000 };
	int v = PICK(r, odd);
	put(n, "%d", v);
	return v;
}
static int liked_fd(struct rng *r, int liking, struct note *n)
{
	static const u32 ranges[][2] = {
		[D_SOCKET] = { F_UNIX_A, F_NETLINK }, [D_EPOLL] = { F_EPOLL, F_EPOLL2 }, [D_TIMER] = { F_TIMER, F_TIMER },
		[D_INOTIFY] = { F_INOTIFY, F_INOTIFY }, [D_DIR] = { F_DIR, F_ROOT }, [D_PIDFD] = { F_PIDFD, F_PIDFD_CHILD },
		[D_SIGNAL] = { F_SIGNALFD, F_SIGNALFD }, [D_PIPE] = { F_PIPE_R, F_FIFO }, [D_FILE] = { F_RW, F_APPEND },
		[D_TTY] = { F_PTM, F_PTS },
	};
	if (liking == D_ANY || one_in(r, 3))
		return any_fd(r, n);
	if (liking == D_DIR && one_in(r, 2)) {
		put(n, "AT_FDCWD");
		return -100;
	}
	u32 f = ranges[liking][0] + below(r, ranges[liking][1] - ranges[liking][0] + 1);
	put(n, "fd_%s", fd_names[f]);
	return FD_BASE + (int)f;
}
static int any_pid(struct rng *r, struct note *n)
{
	switch (below(r, 9)) {
	case 0: case 1: put(n, "getpid()"); return getpid();
	case 2: put(n, "child"); return first_child;
	case 3: put(n, "newest_pid"); return newest_pid;
	case 4: put(n, "-getpid()"); return -getpid();
	case 5: put(n, "gettid()"); return (int)syscall(SYS_gettid);
	default: {
		static const int odd[] = { 0, 0, -1, 1, 2, 3, 0x7fffffff, (int)0x80000000, 4194304, 32768, -2 };
		int v = PICK(r, odd);
		put(n, "%d", v);
		return v;
	}
	}
}
static u64 any_address(struct rng *r)
{
	if (one_in(r, 3))
		return ARENA + below(r, 64) * 1024 + (one_in(r, 4) ? below(r, 16) : 0);
	return PICK(r, bad_addresses);
}

/* Fills a structure at `at`. Each word may be something else than what it should be. */
static void build(int kind, u64 *at, struct rng *r, u32 index)
{
	struct note none = { 0, 0 };
	u64 buffer = (u64)at + 2048;
	static char decimal[2][24];
	memset(at, 0, 2048);
	switch (kind) {
	case S_IOV:
		for (int i = 0; i < 16; i++) {
			at[2 * i] = one_in(r, 4) ? any_address(r) : buffer;
			at[2 * i + 1] = one_in(r, 4) ? any_size(r) : below(r, 600);
		}
		break;
	case S_MSG: {
		u64 *iov = at + 64, *control = at + 96;
		for (int m = 0; m < 4; m++) {
			u64 *h = at + 8 * m;
			h[0] = one_in(r, 2) ? 0 : one_in(r, 4) ? any_address(r) : (u64)(at + 128);
			h[1] = one_in(r, 6) ? any_size(r) : below(r, 128);
			h[2] = one_in(r, 6) ? any_address(r) : (u64)iov;
			h[3] = one_in(r, 8) ? any_size(r) : below(r, 4);
			h[4] = one_in(r, 3) ? 0 : one_in(r, 5) ? any_address(r) : (u64)control;
			h[5] = one_in(r, 5) ? any_size(r) : 16 + 4 * below(r, 20);
			h[6] = one_in(r, 5) ? next(r) : 0;
		}
		for (int i = 0; i < 4; i++) {
			iov[2 * i] = one_in(r, 6) ? any_address(r) : buffer;
			iov[2 * i + 1] = one_in(r, 6) ? any_size(r) : below(r, 300);
		}
		u64 *c = control;
		for (int i = 0; i < 3; i++, c += 3) {
			c[0] = one_in(r, 5) ? any_size(r) : 16 + 4 * below(r, 3);
			c[1] = (u64)(one_in(r, 4) ? below(r, 300) : 1) | (u64)(one_in(r, 4) ? below(r, 40) : 1 + below(r, 2)) << 32;
			c[2] = (u64)(u32)any_fd(r, &none) | (u64)(u32)any_fd(r, &none) << 32;
		}
		at[128] = (u64)(one_in(r, 3) ? below(r, 20) : 1) | 0x6b636f7300000000ul << (one_in(r, 2) ? 0 : 8);
		break;
	}
	case S_TIME:
		for (int i = 0; i < 4; i++)
			at[i] = one_in(r, 4) ? any_size(r) : i & 1 ? below(r, 20000000) : 0;
		break;
	case S_ARGV:
		snprintf(decimal[0], sizeof decimal[0], "%lu", batch_seed);
		snprintf(decimal[1], sizeof decimal[1], "%u", index);
		at[0] = (u64) "fuzz";
		at[1] = (u64) "resume";
		at[2] = (u64)decimal[0];
		at[3] = (u64)decimal[1];
		at[4] = (u64)chosen;
		if (one_in(r, 3))
			for (int i = 0; i < 3; i++)
				at[below(r, 40)] = any_address(r);
		break;
	case S_POLL:
		for (int i = 0; i < 64; i++)
			at[i] = (u64)(u32)any_fd(r, &none) | (u64)below(r, 65536) << 32;
		break;
	case S_CLONE:
		for (int i = 0; i < 11; i++)
			at[i] = 0;
		for (int i = below(r, 5); i > 0; i--)
			at[0] |= 1ul << below(r, 36);
		at[1] = buffer;
		at[2] = buffer;
		at[3] = buffer;
		at[4] = one_in(r, 3) ? below(r, 80) : SIGCHLD;
		if (one_in(r, 2)) {
			at[5] = one_in(r, 3) ? any_address(r) : ARENA + 0x80000;
			at[6] = one_in(r, 3) ? any_size(r) : 65536;
		}
		if (one_in(r, 3))
			at[below(r, 11)] = any_size(r);
		break;
	case S_HOW:
		at[0] = one_in(r, 3) ? next(r) : (u64)(below(r, 4) | (one_in(r, 2) ? O_CREAT : 0));
		at[1] = one_in(r, 3) ? any_size(r) : at[0] & O_CREAT ? 0644 : 0;
		at[2] = one_in(r, 4) ? any_size(r) : below(r, 64);
		break;
	case S_ACTION:
		at[0] = one_in(r, 3) ? any_address(r) : below(r, 2);
		at[1] = one_in(r, 2) ? next(r) : 0x04000000 | (u64)below(r, 8) << 28;
		at[2] = any_address(r);
		at[3] = next(r);
		break;
	case S_STACK:
		at[0] = one_in(r, 2) ? ARENA + 0x90000 : any_address(r);
		at[1] = below(r, 4);
		at[2] = one_in(r, 2) ? 32768 : any_size(r);
		break;
	case S_SET:
		for (int i = 0; i < 16; i++)
			at[i] = one_in(r, 2) ? next(r) : 0;
		break;
	case S_EPOLL:
		at[0] = next(r);
		at[1] = next(r);
		break;
	case S_SIGEVENT:
		at[0] = next(r);
		at[1] = (u64)below(r, 70) | (u64)below(r, 6) << 32;
		at[2] = (u64)(u32)any_pid(r, &none);
		break;
	case S_ITIMER:
		for (int i = 0; i < 4; i++)
			at[i] = one_in(r, 4) ? any_size(r) : i & 1 ? 1 + below(r, 3000000) : 0;
		break;
	case S_LIMIT:
		at[0] = one_in(r, 2) ? any_size(r) : below(r, 100);
		at[1] = one_in(r, 2) ? any_size(r) : at[0];
		break;
	case S_SOCKADDR:
		switch (below(r, 5)) {
		case 0: at[0] = 1 | 0x6b636f730000ul; break; /* "sock" */
		case 1: at[0] = 2 | (u64)below(r, 65536) << 16 | 0x0100007ful << 32; break;
		case 2: at[0] = 10 | (u64)below(r, 65536) << 16; at[2] = 1ul << 56; break;
		case 3: at[0] = 16 | (u64)below(r, 100) << 32; at[1] = next(r); break;
		default: at[0] = next(r) & 0xffffffffffff00fful; at[1] = next(r); at[2] = next(r);
		}
		break;
	case S_LENGTH:
		at[0] = one_in(r, 2) ? below(r, 256) : any_size(r);
		at[1] = any_size(r);
		break;
	case S_SIGINFO:
		at[0] = below(r, 70);
		at[1] = next(r) >> (32 + below(r, 32));
		at[1] = one_in(r, 2) ? (u64)(u32)-1 : at[1];
		at[2] = next(r);
		at[3] = next(r);
		break;
	case S_BPF: {
		/* A program of a few instructions: mostly loads, jumps and returns that are right. */
		u64 count = 1 + below(r, 8);
		at[0] = one_in(r, 8) ? any_size(r) : count;
		at[1] = one_in(r, 8) ? any_address(r) : (u64)(at + 8);
		for (u64 i = 0; i + 1 < count; i++)
			at[8 + i] = one_in(r, 4) ? next(r) : one_in(r, 2) ? 0x20 | (u64)(4 * below(r, 16)) << 32
				: 0x15 | (u64)below(r, 3) << 16 | (u64)below(r, 3) << 24 | (u64)below(r, 400) << 32;
		static const u64 verdicts[] = { 0x7fff0000, 0x7fff0000, 0x50001, 0x30000, 0x7ffc0000, 0 };
		at[8 + count - 1] = 6 | PICK(r, verdicts) << 32;
		break;
	}
	case S_CAPHEAD:
		at[0] = one_in(r, 4) ? next(r) : 0x20080522ul | (u64)(u32)(one_in(r, 2) ? 0 : any_pid(r, &none)) << 32;
		break;
	case S_WAITV:
		for (int i = 0; i < 12; i++)
			at[i] = one_in(r, 4) ? any_address(r) : i % 3 == 1 ? buffer : i % 3 == 2 ? 2 : 0;
		break;
	case S_SCHED:
		at[0] = (u64)(one_in(r, 3) ? below(r, 100) : 48) | (u64)below(r, 8) << 32;
		at[1] = one_in(r, 2) ? 0 : next(r);
		break;
	default:
		for (int i = 0; i < 64; i++)
			at[i] = one_in(r, 3) ? next(r) : one_in(r, 2) ? any_address(r) : below(r, 256);
	}
	if (one_in(r, 16))
		at[below(r, 8)] = one_in(r, 2) ? any_size(r) : next(r);
}

static u64 any_string(struct rng *r, int hint, u64 *at, struct note *n)
{
	char *text = (char *)at;
	if (one_in(r, 12)) {
		u64 v = any_address(r);
		put(n, "(char *)0x%lx", v);
		return v;
	}
	if (one_in(r, 24)) {
		static const int lengths[] = { 255, 256, 2000, 3900 };
		int k = PICK(r, lengths), slash = one_in(r, 2);
		for (int i = 0; i < k; i++)
			text[i] = slash && i % 2 ? '/' : 'a';
		text[k] = 0;
		put(n, "\"%s\" /* %d bytes */", slash ? "a/a/a…" : "aaa…", k);
		return (u64)text;
	}
	const char *s = hint == S_FSTYPE ? PICK(r, fstypes) : hint == S_XATTR ? PICK(r, xattrs) : PICK(r, paths);
	if (hint == S_SELF && !one_in(r, 3))
		s = "/proc/self/exe";
	strcpy(text, s);
	put(n, "\"%s\"", s);
	return (u64)text;
}

static u64 pointer(struct rng *r, int hint, u64 *at, u32 index, struct note *n)
{
	u32 k = below(r, 100);
	if (k < 10) {
		put(n, "NULL");
		return 0;
	}
	if (k < 20) {
		u64 v = any_address(r);
		put(n, "(void *)0x%lx", v);
		return v;
	}
	int kind = hint != S_ANY && k < 90 ? hint : 1 + (int)below(r, S_LAST - 1);
	/* At the end of a page, now and then, so that the last field lies beyond. */
	build(kind, at, r, index);
	if (one_in(r, 16)) {
		u64 v = PAGE_END + 4096 - 8 * (1 + below(r, 8));
		if (n->text == 0)
			memcpy((void *)v, at, PAGE_END + 4096 - v);
		put(n, "(void *)0x%lx /* end of a page: 0x%lx … */", v, at[0]);
		return v;
	}
	int last = 0;
	for (int i = 0; i < 24; i++)
		if (at[i])
			last = i;
	put(n, "(u64[]){");
	for (int i = 0; i <= last; i++)
		put(n, "%s0x%lx", i ? ", " : " ", at[i]);
	put(n, " }");
	return (u64)at;
}

/* Words of 32 bits may come with rubbish above. */
static u64 high_half(struct rng *r, u64 value, struct note *n)
{
	if (!one_in(r, 10))
		return value;
	u64 high = next(r) << 32;
	put(n, " | 0x%lx", high);
	return (value & 0xffffffff) | high;
}

static u64 argument(const struct arg_type *t, struct rng *r, u64 *at, u32 index, struct note *n)
{
	u64 v;
	switch (t->pool) {
	case A_FD:
		return high_half(r, (u64)(long)liked_fd(r, t->structure, n), n);
	case A_EXACT:
		v = one_in(r, 10) ? any_size(r) : t->values[0];
		put(n, "0x%lx", v);
		return v;
	case A_PATH:
		return any_string(r, t->structure, at, n);
	case A_ADDR:
		return pointer(r, t->structure, at, index, n);
	case A_SIZE:
		v = one_in(r, 2) ? below(r, 4097) : any_size(r);
		put(n, "0x%lx", v);
		return v;
	case A_FLAGS:
		v = 0;
		if (t->count && !one_in(r, 12))
			for (u32 i = below(r, 3); i > 0; i--)
				v |= t->values[below(r, t->count)];
		else
			v = one_in(r, 2) ? (u32)next(r) : 1u << below(r, 32);
		put(n, "0x%lx", v);
		return high_half(r, v, n);
	case A_ENUM:
		v = t->count && !one_in(r, 12) ? t->values[below(r, t->count)] : one_in(r, 2) ? (u32)any_size(r) : below(r, 64);
		put(n, "0x%lx", v);
		return high_half(r, v, n);
	case A_MODE:
		v = one_in(r, 4) ? (u32)next(r) : below(r, 010000) | (one_in(r, 3) ? below(r, 16) << 12 : 0);
		put(n, "0%lo", v);
		return high_half(r, v, n);
	case A_PID:
		return high_half(r, (u64)(long)any_pid(r, n), n);
	case A_UID: {
		static const u32 ids[] = { 0, 1, 1000, 65534, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe };
		v = PICK(r, ids);
		put(n, "%ld", v);
		return high_half(r, v, n);
	}
	case A_SIGNAL: {
		static const int odd[] = { 0, -1, 64, 65, 9, 19, 18, 32, 33, 34, 0x7fffffff, 128 };
		v = one_in(r, 3) ? (u64)(long)PICK(r, odd) : below(r, 66);
		put(n, "%ld", (long)v);
		return high_half(r, v, n);
	}
	case A_SOCKTYPE:
		v = below(r, 7) | (one_in(r, 2) ? SOCK_NONBLOCK : 0) | (one_in(r, 3) ? SOCK_CLOEXEC : 0) | (one_in(r, 20) ? next(r) : 0);
		put(n, "0x%lx", v);
		return high_half(r, v, n);
	case A_SMALL:
		v = one_in(r, 10) ? (u32)next(r) : below(r, 80);
		put(n, "%lu", v);
		return high_half(r, v, n);
	default:
		v = one_in(r, 3) ? any_size(r) : below(r, one_in(r, 2) ? 3 : 20);
		put(n, "0x%lx", v);
		return high_half(r, v, n);
	}
}

#endif
