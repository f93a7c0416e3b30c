/*
 * The micro-benchmark that runs the same, unmodified, on Linux, in runts and in runsc.
 *
 *   micro [-t MS] [CASE...]   measure the named cases (default: all), one line each
 *   micro --list              print the names of the cases
 *   micro --exit              end at once (what the exec cases start)
 *   micro --pause             sleep until a signal comes
 *
 * A line is "name<TAB>minimum<TAB>median<TAB>iterations", both in nanoseconds per
 * operation over ROUNDS rounds, or "name<TAB>failed<TAB>reason". The last line, "#clock",
 * is the time that the guest believes to have passed: the caller compares it with its own
 * clock, so that a guest whose clock is wrong is found out.
 *
 * Invariant: every call in a timed loop has its result checked; a case that cannot do its
 * work reports failure, never a time.
 * Known gaps: x86-64 and Linux only; nothing is pinned to a CPU, so a figure with two
 * threads includes what the scheduler does with them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, MIN_ROUNDS = 3 };

#define PAGE 4096L
#define FILE_BYTES (4L << 20)
#define FAULT_PAGES 1024L

/* A case does `n` operations and returns the nanoseconds they took, or a negative errno. */
typedef int64_t (*case_fn)(long n);

static const char *self_path;
static char work_file[256];
static char scratch_file[256];
static char buffer[64 << 10];

static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* errno as a result; a short transfer leaves errno alone, so it becomes EIO. */
static int64_t failure(int64_t result)
{
	return result < 0 && errno ? -errno : -EIO;
}

/* ---- system calls that do little ---------------------------------------------------- */

static int64_t null_syscall(long n)
{
	pid_t parent = getppid();
	int64_t start = now();
	for (long i = 0; i < n; i++)
		if (syscall(SYS_getppid) != parent)
			return -EIO;
	return now() - start;
}

/* The same call from libc's own site, "mov $nr,%eax; syscall", which a runtime can rewrite;
 * the site inside syscall(), above, takes its number from a register. */
static int64_t null_syscall_libc(long n)
{
	pid_t parent = getppid();
	int64_t start = now();
	for (long i = 0; i < n; i++)
		if (getppid() != parent)
			return -EIO;
	return now() - start;
}

static int64_t clock_vdso(long n)
{
	struct timespec ts;
	int64_t start = now();
	for (long i = 0; i < n; i++)
		if (clock_gettime(CLOCK_MONOTONIC, &ts))
			return failure(-1);
	return now() - start;
}

static int64_t futex_wake_nobody(long n)
{
	static uint32_t word;
	int64_t start = now();
	for (long i = 0; i < n; i++)
		if (syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) != 0)
			return failure(-1);
	return now() - start;
}

/* ---- files -------------------------------------------------------------------------- */

static int64_t stat_loop(long n, const char *path)
{
	struct stat st;
	int64_t start = now();
	for (long i = 0; i < n; i++)
		if (stat(path, &st))
			return failure(-1);
	return now() - start;
}

static int64_t open_loop(long n, const char *path)
{
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || close(fd))
			return failure(-1);
	}
	return now() - start;
}

/* Sequential reads; rewinding costs one lseek in (file size / size) reads. */
static int64_t read_loop(long n, const char *path, long size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st))
		return failure(-1);
	long per_pass = st.st_size / size, left = per_pass;
	int64_t result = -EIO;
	if (per_pass == 0)
		goto out;
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		if (left-- == 0) {
			if (lseek(fd, 0, SEEK_SET) != 0) {
				result = failure(-1);
				goto out;
			}
			left = per_pass - 1;
		}
		ssize_t got = read(fd, buffer, size);
		if (got != size) {
			result = failure(got);
			goto out;
		}
	}
	result = now() - start;
out:
	close(fd);
	return result;
}

static int64_t stat_tmp(long n) { return stat_loop(n, work_file); }
static int64_t stat_host(long n) { return stat_loop(n, self_path); }
static int64_t open_close_tmp(long n) { return open_loop(n, work_file); }
static int64_t open_close_host(long n) { return open_loop(n, self_path); }
static int64_t read_1(long n) { return read_loop(n, work_file, 1); }
static int64_t read_4k(long n) { return read_loop(n, work_file, 4 << 10); }
static int64_t read_64k(long n) { return read_loop(n, work_file, 64 << 10); }
static int64_t read_4k_host(long n) { return read_loop(n, self_path, 4 << 10); }

static int64_t write_4k(long n)
{
	int fd = open(scratch_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return failure(-1);
	int64_t result;
	long left = FILE_BYTES / 4096;
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		if (left-- == 0) {
			if (lseek(fd, 0, SEEK_SET) != 0) {
				result = failure(-1);
				goto out;
			}
			left = FILE_BYTES / 4096 - 1;
		}
		ssize_t put = write(fd, buffer, 4096);
		if (put != 4096) {
			result = failure(put);
			goto out;
		}
	}
	result = now() - start;
out:
	close(fd);
	unlink(scratch_file);
	return result;
}

static int64_t create_unlink(long n)
{
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		int fd = open(scratch_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || close(fd) || unlink(scratch_file))
			return failure(-1);
	}
	return now() - start;
}

/* ---- memory ------------------------------------------------------------------------- */

static int64_t mmap_64k(long n)
{
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		volatile char *p = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return failure(-1);
		for (long at = 0; at < 64 << 10; at += PAGE)
			p[at] = 1;
		if (munmap((void *)p, 64 << 10))
			return failure(-1);
	}
	return now() - start;
}

/* One operation is one page; only the touching is timed, in blocks of FAULT_PAGES. */
static int64_t page_fault(long n)
{
	int64_t spent = 0;
	while (n > 0) {
		long pages = n < FAULT_PAGES ? n : FAULT_PAGES;
		volatile char *p =
			mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return failure(-1);
		/* Large pages would make this another measurement; a refusal is of no matter. */
		madvise((void *)p, pages * PAGE, MADV_NOHUGEPAGE);
		int64_t start = now();
		for (long i = 0; i < pages; i++)
			p[i * PAGE] = 1;
		spent += now() - start;
		if (munmap((void *)p, pages * PAGE))
			return failure(-1);
		n -= pages;
	}
	return spent;
}

/* ---- pipes and sockets -------------------------------------------------------------- */

/* A link has two directions: 0 writes `out[0]`, 1 reads `in[1]`; back the other way. */
struct link {
	int in[2];
	int out[2];
};

static int pipe_link(struct link *l)
{
	int there[2], back[2];
	if (pipe2(there, O_CLOEXEC))
		return -1;
	if (pipe2(back, O_CLOEXEC)) {
		close(there[0]);
		close(there[1]);
		return -1;
	}
	l->out[0] = there[1];
	l->in[1] = there[0];
	l->out[1] = back[1];
	l->in[0] = back[0];
	return 0;
}

static int socket_link(struct link *l)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -1;
	l->in[0] = l->out[0] = pair[0];
	l->in[1] = l->out[1] = pair[1];
	return 0;
}

static void close_link(struct link *l)
{
	for (int side = 0; side < 2; side++) {
		close(l->in[side]);
		if (l->out[side] != l->in[side])
			close(l->out[side]);
	}
}

/* One thread: a byte in at one end, out at the other. */
static int64_t trip_alone(long n, int (*make)(struct link *))
{
	struct link l;
	char byte = 'x';
	if (make(&l))
		return failure(-1);
	int64_t result, start = now();
	for (long i = 0; i < n; i++)
		if (write(l.out[0], &byte, 1) != 1 || read(l.in[1], &byte, 1) != 1) {
			result = failure(-1);
			goto out;
		}
	result = now() - start;
out:
	close_link(&l);
	return result;
}

static void *echo(void *arg)
{
	struct link *l = arg;
	char byte;
	while (read(l->in[1], &byte, 1) == 1 && byte != 'q')
		if (write(l->out[1], &byte, 1) != 1)
			break;
	return NULL;
}

/* Two threads: a byte to the other thread and its answer. */
static int64_t trip_pair(long n, int (*make)(struct link *))
{
	struct link l;
	pthread_t other;
	char byte = 'x';
	if (make(&l))
		return failure(-1);
	int err = pthread_create(&other, NULL, echo, &l);
	if (err) {
		close_link(&l);
		return -err;
	}
	int64_t result = 0, start = now();
	for (long i = 0; i < n; i++)
		if (write(l.out[0], &byte, 1) != 1 || read(l.in[0], &byte, 1) != 1) {
			result = failure(-1);
			break;
		}
	if (result == 0)
		result = now() - start;
	byte = 'q';
	if (write(l.out[0], &byte, 1) != 1)
		return failure(-1);
	pthread_join(other, NULL);
	close_link(&l);
	return result;
}

static int64_t pipe_1thread(long n) { return trip_alone(n, pipe_link); }
static int64_t pipe_2threads(long n) { return trip_pair(n, pipe_link); }
static int64_t socket_1thread(long n) { return trip_alone(n, socket_link); }
static int64_t socket_2threads(long n) { return trip_pair(n, socket_link); }

/* ---- threads and futexes ------------------------------------------------------------ */

static void *nothing(void *arg) { return arg; }

static int64_t thread_create_join(long n)
{
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		pthread_t t;
		int err = pthread_create(&t, NULL, nothing, NULL);
		if (err || (err = pthread_join(t, NULL)))
			return -err;
	}
	return now() - start;
}

/* The word says whose turn it is: 0 and 1 for the two threads, 2 to end. */
static _Atomic uint32_t turn;

static int await_turn(uint32_t mine)
{
	for (;;) {
		uint32_t is = atomic_load(&turn);
		if (is == mine || is == 2)
			return is == 2;
		if (syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, is, NULL, NULL, 0) && errno != EAGAIN && errno != EINTR)
			return -1;
	}
}

static void pass_turn(uint32_t to)
{
	atomic_store(&turn, to);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *futex_partner(void *arg)
{
	while (await_turn(1) == 0)
		pass_turn(0);
	return arg;
}

static int64_t futex_pingpong(long n)
{
	pthread_t other;
	atomic_store(&turn, 0);
	int err = pthread_create(&other, NULL, futex_partner, NULL);
	if (err)
		return -err;
	int64_t result = 0, start = now();
	for (long i = 0; i < n; i++) {
		pass_turn(1);
		if (await_turn(0)) {
			result = failure(-1);
			break;
		}
	}
	if (result == 0)
		result = now() - start;
	pass_turn(2);
	pthread_join(other, NULL);
	return result;
}

/* ---- processes ---------------------------------------------------------------------- */

static int64_t reap(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return failure(-1);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

static int64_t fork_exit(long n)
{
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		if (child < 0)
			return failure(-1);
		int64_t err = reap(child);
		if (err)
			return err;
	}
	return now() - start;
}

static char *const empty_env[] = { NULL };

static int64_t exec_loop(long n, const char *path, const char *argument, int spawning)
{
	char *const argv[] = { (char *)path, (char *)argument, NULL };
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		pid_t child;
		if (spawning) {
			int err = posix_spawn(&child, path, NULL, NULL, argv, empty_env);
			if (err)
				return -err;
		} else {
			child = fork();
			if (child == 0) {
				execve(path, argv, empty_env);
				_exit(127);
			}
			if (child < 0)
				return failure(-1);
		}
		int64_t err = reap(child);
		if (err)
			return err;
	}
	return now() - start;
}

static int64_t fork_exec(long n) { return exec_loop(n, self_path, "--exit", 0); }
static int64_t spawn_exec(long n) { return exec_loop(n, self_path, "--exit", 1); }
/* A dynamically linked program: the interpreter and libc are mapped as well. */
static int64_t fork_exec_dynamic(long n) { return exec_loop(n, "/bin/true", NULL, 0); }

/* ---- harness ------------------------------------------------------------------------ */

static const struct {
	const char *name;
	case_fn run;
} cases[] = {
	{ "null_syscall", null_syscall },
	{ "null_syscall_libc", null_syscall_libc },
	{ "stat", stat_tmp },
	{ "stat_host", stat_host },
	{ "open_close", open_close_tmp },
	{ "open_close_host", open_close_host },
	{ "read_1", read_1 },
	{ "read_4k", read_4k },
	{ "read_64k", read_64k },
	{ "read_4k_host", read_4k_host },
	{ "write_4k", write_4k },
	{ "create_unlink", create_unlink },
	{ "mmap_64k", mmap_64k },
	{ "page_fault", page_fault },
	{ "pipe_1thread", pipe_1thread },
	{ "pipe_2threads", pipe_2threads },
	{ "socket_1thread", socket_1thread },
	{ "socket_2threads", socket_2threads },
	{ "thread_create_join", thread_create_join },
	{ "fork_exit", fork_exit },
	{ "fork_exec", fork_exec },
	{ "fork_exec_dynamic", fork_exec_dynamic },
	{ "spawn_exec", spawn_exec },
	{ "futex_wake", futex_wake_nobody },
	{ "futex_pingpong", futex_pingpong },
	{ "clock_vdso", clock_vdso },
};
enum { CASES = sizeof cases / sizeof *cases };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void fail(const char *name, int64_t err)
{
	printf("%s\tfailed\t%s\n", name, strerror((int)-err));
}

/* Finds how many operations fill a round, then takes the rounds. */
static void measure(const char *name, case_fn run, int64_t budget_ns)
{
	int64_t per_round = budget_ns / ROUNDS, spent = 0, took;
	long n = 1;
	for (;;) {
		errno = 0;
		took = run(n);
		if (took < 0) {
			fail(name, took);
			return;
		}
		if (took >= per_round / 8 || n > 1L << 30)
			break;
		n *= 2;
	}
	double estimate = (double)(took > 0 ? took : 1) / n;
	n = (long)(per_round / estimate);
	if (n < 1)
		n = 1;

	double rounds[ROUNDS];
	int count = 0;
	while (count < ROUNDS && (count < MIN_ROUNDS || spent < 2 * budget_ns)) {
		errno = 0;
		took = run(n);
		if (took < 0) {
			fail(name, took);
			return;
		}
		rounds[count++] = (double)took / n;
		spent += took;
	}
	qsort(rounds, count, sizeof *rounds, by_value);
	printf("%s\t%.1f\t%.1f\t%ld\n", name, rounds[0], rounds[count / 2], n);
}

static int make_work_file(void)
{
	int fd = open(work_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	for (long done = 0; done < FILE_BYTES; done += sizeof buffer)
		if (write(fd, buffer, sizeof buffer) != sizeof buffer) {
			close(fd);
			return -1;
		}
	return close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--exit") == 0)
		return 0;
	if (argc > 1 && strcmp(argv[1], "--pause") == 0)
		return pause();
	if (argc > 1 && strcmp(argv[1], "--list") == 0) {
		for (int i = 0; i < CASES; i++)
			puts(cases[i].name);
		return 0;
	}
	int64_t begin = now(), budget_ns = 150000000;
	int first = 1;
	if (argc > 2 && strcmp(argv[1], "-t") == 0) {
		budget_ns = atol(argv[2]) * 1000000;
		first = 3;
	}
	if (budget_ns <= 0 || (first < argc && argv[first][0] == '-') || argv[0][0] != '/') {
		fputs("usage: /absolute/path/micro [-t MS] [CASE...] | --list | --exit\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	self_path = argv[0];
	memset(buffer, 'x', sizeof buffer);
	/* Beside the program: the caller keeps that in /tmp and takes the whole folder away. */
	int folder = (int)(strrchr(self_path, '/') - self_path);
	if (folder > 200) {
		fputs("micro: its path is too long\n", stderr);
		return 2;
	}
	snprintf(work_file, sizeof work_file, "%.*s/work-%d", folder, self_path, getpid());
	snprintf(scratch_file, sizeof scratch_file, "%.*s/scratch-%d", folder, self_path, getpid());
	if (make_work_file()) {
		fprintf(stderr, "micro: %s: %s\n", work_file, strerror(errno));
		unlink(work_file);
		return 1;
	}
	int unknown = 0;
	for (int a = first; a < argc || a == first; a++) {
		int known = 0;
		for (int i = 0; i < CASES; i++)
			if (a >= argc || strcmp(argv[a], cases[i].name) == 0) {
				measure(cases[i].name, cases[i].run, budget_ns);
				known = 1;
			}
		if (!known) {
			fprintf(stderr, "micro: no case named %s\n", argv[a]);
			unknown = 1;
		}
	}
	unlink(work_file);
	printf("#clock\t%lld\n", (long long)(now() - begin));
	return unknown ? 2 : 0;
}
