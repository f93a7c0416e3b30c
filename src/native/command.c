/*
 * What commands (the host half) need beside the general host calls: joining namespaces, starting a waiter, copying
 * between terminals, signalling exactly one process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The calling thread, and the processes that it starts, are in the namespace from now on. 0 or -errno. */
int cm_setns(int fd) { return setns(fd, 0) < 0 ? -errno : 0; }

/*
 * Starts the program in exe_fd, in a session of its own, with nothing but `channel` as its descriptor 0, and default
 * signal handling. With a terminal (or -1) that is its descriptor 1 and the session's controlling terminal, whose signals
 * are blocked: see waiter.stub.c. Returns its pid, or -errno.
 *
 * Callers take /proc/PID/ns, /proc/PID/root of what stands for a container for the container's: Podman's cp enters them
 * and would copy from and to the host. So it is in the namespaces of the process `sandbox` (0: stays in ours), whose root is
 * empty; as far as we may: who may not enter them has no rights over the host that could be taken for the container's.
 */
int cm_spawn_waiter(int exe_fd, int channel, int terminal, int sandbox)
{
	static const int others[] = { CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWIPC };
	char *argv[] = { "runts-waiter", NULL }, *envp[] = { NULL };
	volatile int failed = 0;
	int of = sandbox > 0 ? (int)syscall(SYS_pidfd_open, sandbox, 0) : -1;
	/* One that is gone: the channel is closed then, and the waiter ends at once. */
	if (sandbox > 0 && of < 0 && errno != ESRCH)
		return -errno;
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid_t pid = vfork();
	if (pid == 0) {
		/* Shares our memory until exec: system calls only. */
		sigset_t mask;
		sigemptyset(&mask);
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		setsid();
		/* Out of the way of 0, 1 and 3 first. */
		int exe = fcntl(exe_fd, F_DUPFD_CLOEXEC, 10), wait_on = fcntl(channel, F_DUPFD_CLOEXEC, 10);
		int tty = terminal < 0 ? -1 : fcntl(terminal, F_DUPFD_CLOEXEC, 10);
		if (exe < 0 || wait_on < 0 || dup2(wait_on, 0) < 0 || dup3(exe, 3, O_CLOEXEC) < 0)
			failed = errno;
		if (terminal >= 0) {
			struct sigaction ignore = { .sa_handler = SIG_IGN };
			sigaction(SIGHUP, &ignore, NULL);
			sigaddset(&mask, SIGINT);
			sigaddset(&mask, SIGQUIT);
			sigaddset(&mask, SIGTSTP);
			sigaddset(&mask, SIGWINCH);
			if (tty < 0 || ioctl(tty, TIOCSCTTY, 0) < 0 || dup2(tty, 1) < 0)
				failed = errno;
		}
		if (of >= 0) {
			if (setns(of, CLONE_NEWNS) < 0 && errno != EPERM && errno != ESRCH)
				failed = errno;
			for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
				setns(of, others[i]);
		}
		syscall(SYS_close_range, terminal < 0 ? 1 : 2, 2, 0);
		syscall(SYS_close_range, 4, ~0u, 0);
		sigprocmask(SIG_SETMASK, &mask, NULL);
		if (!failed) {
			syscall(SYS_execveat, 3, "", argv, envp, AT_EMPTY_PATH);
			failed = errno;
		}
		_exit(126);
	}
	int error = pid < 0 ? errno : failed;
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (of >= 0)
		close(of);
	return error ? -error : pid;
}

struct copy {
	int from, to;
	volatile int32_t *done;
};

static void *copy_thread(void *arg)
{
	struct copy copy = *(struct copy *)arg;
	char buffer[65536];
	free(arg);
	for (;;) {
		ssize_t n = read(copy.from, buffer, sizeof buffer);
		if (n < 0 && errno == EINTR)
			continue;
		/* EIO: the last slave of the pty is closed. */
		if (n <= 0)
			break;
		for (ssize_t at = 0; at < n;) {
			ssize_t m = write(copy.to, buffer + at, (size_t)(n - at));
			if (m < 0 && errno == EINTR)
				continue;
			/* A reader that went away: go on reading, so that the writer does not block. */
			if (m < 0)
				break;
			at += m;
		}
	}
	*copy.done = 1;
	return NULL;
}

/*
 * Copies from one blocking descriptor to another in a thread of its own, until the end of `from`; then sets *done, which
 * must stay valid (and the descriptors open) until then or the end of the process. 0 or -errno.
 */
int cm_copy(int from, int to, int32_t *done)
{
	struct copy *copy = malloc(sizeof *copy);
	if (!copy)
		return -ENOMEM;
	*copy = (struct copy){ from, to, done };
	/* Signals are the main thread's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_t thread;
	int error = pthread_create(&thread, NULL, copy_thread, copy);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error) {
		free(copy);
		return -error;
	}
	pthread_detach(thread);
	return 0;
}

/* Field 22 of /proc/PID/stat, or -1 when there is no such process. */
static double start_time(int pid)
{
	char path[32], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	/* The command name may contain spaces and parentheses: count from the last one. */
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtod(at, NULL) : -1;
}

/*
 * Signals a process, if it is the one that started then: a descriptor holds it while that is compared, so that no later
 * process of the same number can be hit. -ESRCH when it is another, or gone.
 */
int cm_signal_process(int pid, double started, int signo)
{
	if (pid <= 0)
		return -ESRCH;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* A container around us may forbid descriptors of processes. */
	if (fd < 0 && errno != ENOSYS && errno != EPERM)
		return -errno;
	int result;
	if (start_time(pid) != started)
		result = -ESRCH;
	else if (fd >= 0)
		result = syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) < 0 ? -errno : 0;
	else
		result = kill(pid, signo) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return result;
}
