/*
 * The waiter: a tiny process that stands for one guest process on the host.
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 *
 * Callers of `exec --detach` reap the process in the pid file and take its exit code. This one reads one byte from
 * descriptor 0, a socket to the sandbox, and exits with it: with 137 (128 + SIGKILL) when the sandbox is gone first.
 * Being killed itself closes the socket, at which the sandbox kills the guest process.
 */
#include <asm/unistd.h>

static long call3(long nr, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) void _start(void)
{
	unsigned char code = 0;
	long n;
	do
		n = call3(__NR_read, 0, (long)&code, 1);
	while (n == -4 /* EINTR */);
	for (;;)
		call3(__NR_exit_group, n == 1 ? code : 137, 0, 0);
}
