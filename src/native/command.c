/*
 * What commands (not the sandbox) need of the host: terminals, programs run in a sandbox's namespaces (OCI hooks).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })

/* out: master, slave of a new pty, both close-on-exec. */
int cm_openpty(int32_t *out)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0;
	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		goto fail;
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		goto fail;
	out[0] = master;
	out[1] = slave;
	return 0;
fail:;
	int error = errno;
	close(master);
	return -error;
}
int cm_set_winsize(int fd, int rows, int columns)
{
	struct winsize w = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
	return R(ioctl(fd, TIOCSWINSZ, &w));
}
/* out: rows, columns. */
int cm_get_winsize(int fd, int32_t *out)
{
	struct winsize w;
	if (ioctl(fd, TIOCGWINSZ, &w) < 0)
		return -errno;
	out[0] = w.ws_row;
	out[1] = w.ws_col;
	return 0;
}
/* saved: at least sizeof(struct termios) bytes, at most 64. */
int cm_make_raw(int fd, void *saved)
{
	struct termios t;
	_Static_assert(sizeof t <= 64, "callers give 64 bytes");
	if (tcgetattr(fd, &t) < 0)
		return -errno;
	memcpy(saved, &t, sizeof t);
	cfmakeraw(&t);
	return R(tcsetattr(fd, TCSADRAIN, &t));
}
int cm_restore_terminal(int fd, const void *saved)
{
	struct termios t;
	memcpy(&t, saved, sizeof t);
	return R(tcsetattr(fd, TCSADRAIN, &t));
}
/*
 * Runs `path` (argv and env: argc and envc NUL-terminated strings in a row) in namespaces (CLONE_NEW* bits) of process
 * ns_pid. Its 0 is in, its 1 and 2 are out; no other descriptor. The pid, or -errno, also that of a failed exec.
 */
int cm_spawn_in(int ns_pid, int namespaces, const char *path, const char *argv_text, int argc, const char *env_text, int envc, int in, int out)
{
	char *argv[256], *envp[1024];
	int failed[2];
	if (argc > 255 || envc > 1023)
		return -E2BIG;
	for (int i = 0; i < argc; i++, argv_text += strlen(argv_text) + 1)
		argv[i] = (char *)argv_text;
	argv[argc] = NULL;
	for (int i = 0; i < envc; i++, env_text += strlen(env_text) + 1)
		envp[i] = (char *)env_text;
	envp[envc] = NULL;
	int pidfd = -1;
	if (namespaces && (pidfd = (int)syscall(SYS_pidfd_open, ns_pid, 0)) < 0)
		return -errno;
	if (pipe2(failed, O_CLOEXEC) < 0) {
		int error = errno;
		if (pidfd >= 0)
			close(pidfd);
		return -error;
	}
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	int pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		/* A copy of a threaded process: system calls only. */
		int error = 0;
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		if (pidfd >= 0 && setns(pidfd, namespaces) < 0)
			error = errno;
		int report = fcntl(failed[1], F_DUPFD_CLOEXEC, 100);
		int stdio[2] = { fcntl(in, F_DUPFD, 101), fcntl(out, F_DUPFD, 101) };
		if (!error && (dup2(stdio[0], 0) < 0 || dup2(stdio[1], 1) < 0 || dup2(stdio[1], 2) < 0))
			error = errno;
		syscall(SYS_close_range, 3, report - 1, 0);
		syscall(SYS_close_range, report + 1, ~0u, 0);
		setsid();
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!error) {
			execve(path, argv, envp);
			error = errno;
		}
		if (write(report, &error, sizeof error) < 0) { /* nobody to tell */ }
		_exit(127);
	}
	int error = pid < 0 ? errno : 0, child_error;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(failed[1]);
	if (!error && read(failed[0], &child_error, sizeof child_error) == sizeof child_error) {
		error = child_error;
		waitpid(pid, NULL, 0);
	}
	close(failed[0]);
	if (pidfd >= 0)
		close(pidfd);
	return error ? -error : pid;
}
