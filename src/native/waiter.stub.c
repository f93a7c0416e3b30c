/*
 * The waiter: a tiny process that stands for one guest process, or for a whole container, on the host.
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 *
 * Callers of `create` and `exec --detach` reap the process in the pid file and take its exit code. This one reads one byte
 * from descriptor 0, a socket to the sandbox, and exits with it: with 137 (128 + SIGKILL) when the sandbox is gone first.
 * Being killed itself closes the socket, at which the sandbox kills what it stands for.
 *
 * With a terminal (descriptor 1; its starter has then blocked the signals of RELAYED and ignores SIGHUP, see command.c)
 * it leads the session whose controlling terminal that is, so that the host's line discipline has somebody to tell of ^C
 * and of a new window size. It passes the number of the signal on to the sandbox, as one byte.
 */
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/unistd.h>

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
static long call4(long nr, long a, long b, long c, long d) { return call6(nr, a, b, c, d, 0, 0); }

enum { CHANNEL = 0, TERMINAL = 1 };
enum { EINTR_ = 4, SIG_BLOCK_ = 0, MASK_SIZE = 8, MSG_NOSIGNAL_ = 0x4000 };
enum { INT = 2, QUIT = 3, TSTP = 20, WINCH = 28 };
#define BIT(signo) (1ul << ((signo)-1))
#define RELAYED (BIT(INT) | BIT(QUIT) | BIT(TSTP) | BIT(WINCH))

/* Passes signals on until the sandbox has something to say. */
static void relay(void)
{
	unsigned long mask = RELAYED;
	int signals = (int)call4(__NR_signalfd4, -1, (long)&mask, MASK_SIZE, 0);
	for (;;) {
		struct {
			int fd;
			short events, revents;
		} sources[2] = { { CHANNEL, POLLIN, 0 }, { signals, POLLIN, 0 } };
		long n = call6(__NR_ppoll, (long)sources, 2, 0, 0, MASK_SIZE, 0);
		if (n == -EINTR_)
			continue;
		if (n < 0 || sources[0].revents)
			return;
		/* signalfd_siginfo begins with the number. */
		unsigned int info[32];
		if (call4(__NR_read, signals, (long)info, sizeof info, 0) == sizeof info) {
			unsigned char signo = (unsigned char)info[0];
			call6(__NR_sendto, CHANNEL, (long)&signo, 1, MSG_NOSIGNAL_, 0, 0);
		}
	}
}

__attribute__((noreturn)) void _start(void)
{
	unsigned char code = 0;
	unsigned long blocked = 0;
	long n;
	call4(__NR_rt_sigprocmask, SIG_BLOCK_, 0, (long)&blocked, MASK_SIZE);
	int terminal = (blocked & RELAYED) == RELAYED;
	if (terminal)
		relay();
	do
		n = call4(__NR_read, CHANNEL, (long)&code, 1, 0);
	while (n == -EINTR_);
	/* The end of a session's leader would take output with it that nobody has read yet. */
	if (terminal)
		call4(__NR_ioctl, TERMINAL, TIOCNOTTY, 0, 0);
	for (;;)
		call4(__NR_exit_group, n == 1 ? code : 137, 0, 0, 0);
}
