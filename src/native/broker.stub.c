/*
 * The network broker: answers that there is no network yet.
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 */
#include <asm/unistd.h>

#include "broker.h"

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) void _start(void)
{
	static struct broker_request q;
	static struct broker_answer a;
	for (;;) {
		long n = call6(__NR_recvfrom, 0, (long)&q, sizeof q, 0, 0, 0);
		if (n == -4)
			continue;
		if (n < (long)BROKER_REQUEST_HEAD)
			break;
		a.seq = q.seq;
		a.result = q.op == BROKER_NETWORK || q.op == BROKER_PING ? 0 : -38;
		call6(__NR_sendto, 0, (long)&a, BROKER_ANSWER_HEAD, 0x4000, 0, 0);
	}
	for (;;)
		call6(__NR_exit_group, 0, 0, 0, 0, 0, 0);
}
