/*
 * What commands need for the network outside: starting the broker (broker.stub.c), and connections to be carried into a sandbox.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* What nw_start_broker was doing when it failed: out[2]. The texts are in src/boot/broker.ts. */
enum { STEP_START = 1, STEP_CGROUP, STEP_USERNS, STEP_NETNS, STEP_EXEC };
/* flags */
enum { LOOPBACK_UP = 1 };

/*
 * What the broker sets itself up with, and two of which it may keep. It gets them over its exec as ambient ones, since its uid
 * need not be 0 where it has them.
 */
static void keep_over_exec(void)
{
	static const int wanted[] = { CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_SYS_ADMIN };
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2];
	if (syscall(SYS_capget, &head, now) < 0)
		return;
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
		now[wanted[i] / 32].inheritable |= now[wanted[i] / 32].permitted & (1u << (wanted[i] % 32));
	if (syscall(SYS_capset, &head, now) < 0)
		return;
	for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, wanted[i], 0, 0);
}

/* The loopback device of a namespace that has just been made is down. */
static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &request);
	}
	close(fd);
}

/* This process is in the cgroups: files cgroup.procs, NUL-terminated strings in a row, the last one empty. */
static int join_cgroups(const char *cgroups)
{
	for (; *cgroups; cgroups += strlen(cgroups) + 1) {
		int fd = open(cgroups, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) < 0)
			return -errno;
		close(fd);
	}
	return 0;
}

/*
 * Starts the broker: `program`, in a session of its own, with descriptors 0 (its end of a socket), 1 (`rules`) and 2 (/dev/null)
 * and no others, in the cgroups. userns, netns: namespaces that it enters first, in this order; -1: stays in ours. words:
 * three NUL-terminated strings in a row, its name for people and the ids that it is to take on, user and group as it has them
 * there. It outlives us, and ends when nobody has the other end of its socket: out[0]. out[1] is its pid. 0 or -errno, with
 * the step in out[2].
 */
int nw_start_broker(int program, int rules, int userns, int netns, const char *words, const char *cgroups, int flags, int32_t *out)
{
	const char *uid = words + strlen(words) + 1, *gid = uid + strlen(uid) + 1;
	char *argv[] = { (char *)words, (char *)uid, (char *)gid, NULL }, *envp[] = { NULL };
	volatile int failed = 0, step = STEP_START;
	int pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all, old;
	out[2] = STEP_START;
	if (null < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		int error = errno;
		close(null);
		return -error;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid_t pid = vfork();
	if (pid == 0) {
		/* Shares our memory until exec: system calls only. */
		int r;
		for (int s = 1; s < 65; s++) {
			struct sigaction dfl = { .sa_handler = SIG_DFL };
			sigaction(s, &dfl, NULL);
		}
		/* What a terminal sends to the command is the command's. */
		setsid();
		if ((r = join_cgroups(cgroups)) < 0) {
			step = STEP_CGROUP;
			failed = -r;
		} else if (userns >= 0 && setns(userns, CLONE_NEWUSER) < 0) {
			step = STEP_USERNS;
			failed = errno;
		} else if (netns >= 0 && setns(netns, CLONE_NEWNET) < 0) {
			step = STEP_NETNS;
			failed = errno;
		}
		if (!failed && (flags & LOOPBACK_UP))
			loopback_up();
		keep_over_exec();
		/* Out of the way of 0 to 3 first. */
		int from[] = { pair[1], rules, null, program };
		for (int i = 0; i < 4 && !failed; i++)
			if ((from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 10)) < 0)
				failed = errno;
		for (int i = 0; i < 4 && !failed; i++)
			if (dup3(from[i], i, i == 3 ? O_CLOEXEC : 0) < 0)
				failed = errno;
		syscall(SYS_close_range, 4, ~0u, 0);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (!failed) {
			syscall(SYS_execveat, 3, "", argv, envp, AT_EMPTY_PATH);
			step = STEP_EXEC;
			failed = errno;
		}
		_exit(126);
	}
	int error = pid < 0 ? errno : failed;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	close(null);
	out[0] = pair[0];
	out[1] = pid;
	out[2] = step;
	if (error)
		close(pair[0]);
	if (error && pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return -error;
}

/*
 * A TCP socket that listens on an address as people write it (IPv4 or IPv6, of ours) and a port; 0: any. out[0]: the port.
 * Descriptor or -errno; -EINVAL: it is no address.
 */
int nw_listen(const char *address, int port, int32_t *out)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = { 0 };
	socklen_t length = sizeof a.in;
	int on = 1;
	if (inet_pton(AF_INET, address, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons((uint16_t)port);
	} else if (inet_pton(AF_INET6, address, &a.in6.sin6_addr) == 1) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons((uint16_t)port);
		length = sizeof a.in6;
	} else
		return -EINVAL;
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(fd, &a.any, length) < 0 || listen(fd, 128) < 0 || getsockname(fd, &a.any, &length) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	out[0] = ntohs(a.any.sa_family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
	return fd;
}

struct accepting {
	int listener, channel;
};
static void *accept_thread(void *arg)
{
	struct accepting a = *(struct accepting *)arg;
	free(arg);
	for (;;) {
		int32_t fd = accept4(a.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			/* Whoever reads has gone: so has the command. */
			if (send(a.channel, &fd, sizeof fd, MSG_NOSIGNAL) != sizeof fd)
				break;
		} else if (errno == EBADF || errno == EINVAL)
			break;
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			usleep(20000);
	}
	return NULL;
}
/*
 * Accepts on a listening socket in a thread of its own, until that is shut down: the number of each new descriptor is written
 * to `channel`, four bytes of a stream socket. Both must stay open until then, or until the process ends. 0 or -errno.
 */
int nw_accept(int listener, int channel)
{
	struct accepting *a = malloc(sizeof *a);
	if (!a)
		return -ENOMEM;
	*a = (struct accepting){ listener, channel };
	/* Signals are the main thread's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_t thread;
	int error = pthread_create(&thread, NULL, accept_thread, a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error) {
		free(a);
		return -error;
	}
	pthread_detach(thread);
	return 0;
}
