/*
 * What commands (the host half) need beside the general host calls: joining namespaces, starting a waiter, copying
 * between terminals.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The calling thread, and the processes that it starts, are in the namespace from now on. 0 or -errno. */
int cm_setns(int fd) { return setns(fd, 0) < 0 ? -errno : 0; }

/*
 * Starts the program in exe_fd, in a session of its own, with nothing but `channel` as its descriptor 0, and default
 * signal handling. Returns its pid, or -errno.
 */
int cm_spawn_waiter(int exe_fd, int channel)
{
	char *argv[] = { "runts-waiter", NULL }, *envp[] = { NULL };
	volatile int failed = 0;
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid_t pid = vfork();
	if (pid == 0) {
		/* Shares our memory until exec: system calls only. */
		sigset_t none;
		sigemptyset(&none);
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		setsid();
		/* Out of the way of 0 and 3 first. */
		int exe = fcntl(exe_fd, F_DUPFD_CLOEXEC, 10), wait_on = fcntl(channel, F_DUPFD_CLOEXEC, 10);
		if (exe < 0 || wait_on < 0 || dup2(wait_on, 0) < 0 || dup3(exe, 3, O_CLOEXEC) < 0)
			failed = errno;
		syscall(SYS_close_range, 1, 2, 0);
		syscall(SYS_close_range, 4, ~0u, 0);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!failed) {
			syscall(SYS_execveat, 3, "", argv, envp, AT_EMPTY_PATH);
			failed = errno;
		}
		_exit(126);
	}
	int error = pid < 0 ? errno : failed;
	sigprocmask(SIG_SETMASK, &old, NULL);
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
