/*
 * Floating-point state in a signal frame that its handler has changed: what Linux takes, and what it refuses with SIGSEGV.
 * Source: sigreturn(2), arch/x86 signal frames (struct _fpx_sw_bytes, the XSAVE header).
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include "guest.h"

static int what;
static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	ucontext_t *uc = context;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint32_t *mxcsr = (uint32_t *)(fp + 24), *magic1 = (uint32_t *)(fp + 464);
	uint64_t *named = (uint64_t *)(fp + 472), *header = (uint64_t *)(fp + 512);
	int extended = *magic1 == 0x46505853;
	switch (what) {
	case 1: *mxcsr |= 0x80000000u; break;
	case 2: *mxcsr |= 0x10000; break;
	case 3: *mxcsr = 0x1f80 | 0x8000; break;
	case 4: if (extended) header[0] |= 1ull << 62; else *mxcsr |= 0x80000000u; break;
	case 5: if (extended) header[1] = 1ull << 63; else *mxcsr |= 0x80000000u; break;
	case 6: if (extended) header[2] = 1; else *mxcsr |= 0x80000000u; break;
	case 7: *magic1 = 0; break;
	case 8: *magic1 = 0; *mxcsr = 0xffffffff; break;
	case 9: *named |= 1ull << 62; break;
	case 10: *(uint16_t *)fp = 0x27f; break;
	case 11: uc->uc_mcontext.fpregs = (void *)(fp + 8); break;
	case 12: uc->uc_mcontext.fpregs = (void *)64; break;
	case 13: uc->uc_mcontext.fpregs = 0; break;
	case 14: *named = 3; break;
	}
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigaction(SIGUSR1, &sa, NULL);
	for (what = 0; what <= 14; what++) {
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			uint32_t mxcsr = 0;
			uint16_t control = 0;
			double before = 1.25, after;
			__asm__ volatile("movsd %0, %%xmm9" ::"m"(before) : "xmm9");
			raise(SIGUSR1);
			__asm__ volatile("movsd %%xmm9, %0" : "=m"(after));
			__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(control));
			printf("%d: goes on, mxcsr %x, control %x, register %s\n", what, mxcsr & 0xffc0, control, after == before ? "kept" : "changed");
			fflush(stdout);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		if (WIFSIGNALED(status))
			printf("%d: signal %d\n", what, WTERMSIG(status));
	}
	return 0;
}
