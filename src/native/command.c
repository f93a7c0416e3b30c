/*
 * What commands (the host half) need beside the general host calls: joining namespaces, starting a waiter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
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
