/*
 * Creating the sandbox process, and the parts of its jail that need C: namespaces, mounts, capabilities.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define MS_REC_ 16384
#define MS_SLAVE_ (1 << 19)
#define MNT_DETACH_ 2

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })

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

/*
 * Starts `path` (argv: argc NUL-terminated strings in a row; env likewise) in new namespaces.
 *
 * fds: nfds descriptors that become 0, 1, 2… of the new process; every other one is closed. flags: CLONE_NEW*.
 * uid_map, gid_map: text for /proc/PID/uid_map and gid_map, empty without CLONE_NEWUSER; setgroups_deny: as an
 * unprivileged user must. netns: descriptor of a network namespace to join, or -1 (the calling thread is in it for a
 * moment: the child, in a user namespace of its own, might not enter). tty: if not 0, the descriptor of the new process that becomes its
 * controlling terminal. die: SIGKILL it when the calling thread's process ends.
 *
 * Returns the pid in our pid namespace, or -errno.
 */
int bt_launch(const char *path, const char *argv_text, int argc, const char *env_text, int envc, const int32_t *fds, int nfds, int flags, const char *uid_map, const char *gid_map, int setgroups_deny, int netns, int tty, int die)
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
	if (netns < 0 || entered)
		pid = (int)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		/* A copy of a threaded process: system calls only until exec. */
		char byte;
		int error = 0;
		close(ready[1]);
		if (die)
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(ready[0], &byte, 1) != 1)
			_exit(125);
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		setsid();
		/* Above the targets first, then down. */
		int moved[256];
		for (int i = 0; i < nfds && !error; i++)
			if ((moved[i] = fcntl(fds[i], F_DUPFD, 300)) < 0)
				error = errno;
		int report = fcntl(failed[1], F_DUPFD_CLOEXEC, 600);
		for (int i = 0; i < nfds && !error; i++)
			if (dup2(moved[i], i) < 0)
				error = errno;
		syscall(SYS_close_range, nfds, report - 1, 0);
		syscall(SYS_close_range, report + 1, ~0u, 0);
		if (!error && tty && ioctl(tty, 0x540E /* TIOCSCTTY */, 0) < 0)
			error = errno;
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!error) {
			execve(path, argv, envp);
			error = errno;
		}
		if (write(report, &error, sizeof error) < 0) { /* nobody to tell */ }
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
	if (!error && (flags & CLONE_NEWUSER)) {
		char file[64];
		int r = 0;
		if (setgroups_deny) {
			snprintf(file, sizeof file, "/proc/%d/setgroups", pid);
			r = write_file(file, "deny");
		}
		snprintf(file, sizeof file, "/proc/%d/uid_map", pid);
		if (r == 0)
			r = write_file(file, uid_map);
		snprintf(file, sizeof file, "/proc/%d/gid_map", pid);
		if (r == 0)
			r = write_file(file, gid_map);
		error = -r;
	}
	if (!error && write(ready[1], "", 1) != 1)
		error = errno;
	close(ready[1]);
	if (!error) {
		int child_error;
		if (read(failed[0], &child_error, sizeof child_error) == sizeof child_error)
			error = child_error;
	}
	close(failed[0]);
	if (error && pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return error ? -error : pid;
}

/* Our mounts no longer reach the host. */
int jl_private_mounts(void) { return R(mount(NULL, "/", NULL, MS_REC_ | MS_SLAVE_, NULL)); }

/*
 * A detached copy of the mounts at path (with those below it), with MOUNT_ATTR_* bits set on each. Usable by openat2
 * without being attached anywhere. Descriptor or -errno.
 */
int jl_open_tree(const char *path, double attr_set)
{
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | 0x8000 /* AT_RECURSIVE */);
	if (fd < 0)
		return -errno;
	struct mount_attr attr = { .attr_set = (uint64_t)attr_set };
	if (attr.attr_set && syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | 0x8000, &attr, sizeof attr) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* Sets MOUNT_ATTR_* bits on a mount and those below it, by a descriptor of its root. */
int jl_set_mount_attributes(int fd, double attr_set)
{
	struct mount_attr attr = { .attr_set = (uint64_t)attr_set };
	return R(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | 0x8000 /* AT_RECURSIVE */, &attr, sizeof attr));
}

/* An empty read-only tmpfs becomes the root; the old root goes away. The working directory is the new root. */
int jl_empty_root(const char *scratch)
{
	if (mount("runts", scratch, "tmpfs", 2 | 4 | 8 /* NOSUID|NODEV|NOEXEC */, "mode=0555,size=64k") < 0)
		return -errno;
	if (chdir(scratch) < 0)
		return -errno;
	mkdir("proc", 0555);
	/* Our own pid namespace's processes only; needed to reopen descriptors by /proc/self/fd. May be refused. */
	mount("proc", "proc", "proc", 2 | 4 | 8, NULL);
	if (mount(NULL, scratch, NULL, 1 | 2 | 4 | 8 | 32 /* RDONLY|REMOUNT */, NULL) < 0) { /* stays writable: 64 KiB */ }
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH_) < 0)
		return -errno;
	return R(chdir("/"));
}

/*
 * Capabilities belong to threads, and the JavaScript runtime has several: each drops its own, in a signal handler. Those
 * that block all signals (some of the engine's helpers) keep theirs; the system call filter, which is on every thread,
 * is what holds them. docs/security.md says so too.
 */
static uint32_t kept_capabilities[2];
static volatile int threads_done, threads_failed;
static int drop_own_capabilities(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2], data[2];
	if (syscall(SYS_capget, &head, now) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		data[i].effective = data[i].permitted = now[i].permitted & kept_capabilities[i];
		data[i].inheritable = 0;
	}
	return R(syscall(SYS_capset, &head, data));
}
static void on_drop(int signo)
{
	(void)signo;
	int saved = errno;
	if (drop_own_capabilities() < 0)
		__atomic_add_fetch(&threads_failed, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&threads_done, 1, __ATOMIC_SEQ_CST);
	errno = saved;
}
/*
 * Keeps only the capabilities of the masks, in every set of every thread that takes signals, and forbids new privileges.
 * Threads are found in /proc/self/task.
 */
int jl_drop_capabilities(double lo, double hi)
{
	kept_capabilities[0] = (uint32_t)lo;
	kept_capabilities[1] = (uint32_t)hi;
	for (int cap = 0; cap < 64; cap++)
		if (!(kept_capabilities[cap / 32] >> (cap % 32) & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL && errno != EPERM)
			return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	const int signo = SIGRTMAX - 1;
	struct sigaction sa = { .sa_handler = on_drop, .sa_flags = SA_RESTART };
	if (sigaction(signo, &sa, NULL) < 0)
		return -errno;
	int self = (int)syscall(SYS_gettid), told = 0;
	DIR *tasks = opendir("/proc/self/task");
	for (struct dirent *e; tasks && (e = readdir(tasks));) {
		int tid = atoi(e->d_name);
		if (tid > 0 && tid != self && syscall(SYS_tgkill, getpid(), tid, signo) == 0)
			told++;
	}
	if (tasks)
		closedir(tasks);
	for (int tries = 0; __atomic_load_n(&threads_done, __ATOMIC_SEQ_CST) < told && tries < 20; tries++)
		usleep(50);
	/* The handler stays: a signal that is still on its way must find it. */
	if (threads_failed)
		return -EPERM;
	int own = drop_own_capabilities();
	if (own < 0)
		return own;
	return R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
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
 * The sandbox process' own filter, on all its threads: the `n` system calls of `allowed` pass; clone passes without any
 * CLONE_NEW* flag; clone3 says ENOSYS, since its flags cannot be seen; all else is EPERM. Permanent.
 */
int jl_filter(const int32_t *allowed, int n)
{
	struct sock_filter *f = calloc((size_t)n * 2 + 32, sizeof *f);
	int k = 0;
	if (!f)
		return -ENOMEM;
#define EMIT(...) f[k++] = (struct sock_filter)__VA_ARGS__
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	for (int i = 0; i < n; i++) {
		EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1));
		EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
	EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])));
	EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7e020080u, 1, 0));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
	struct sock_fprog prog = { (unsigned short)k, f };
	int r = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
	int error = r < 0 ? -errno : r > 0 ? -EBUSY : 0;
	free(f);
	return error;
}
