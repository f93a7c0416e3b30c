/*
 * A guest that attacks its own stub: one thread makes honest calls, others write into the mailbox meanwhile, jump into
 * the stub's code, and change it.
 *
 *   mailbox SEED FIRST LAST COUNT [STEPS]   and   mailbox list SEED BATCH COUNT [STEPS], as calls.c
 *
 * The places are those of src/native/mailbox.h. On a platform without a mailbox most writes just fault.
 */
#include <ucontext.h>
#include "../../../src/native/mailbox.h"
#include <linux/futex.h>
#include "frame.h"

static const char *const fields[] = {
	"state", "stub_sleeping", "kernel_waiting", "park", "event", "reply", "nprefetch", "nouts", "fault_signo", "fault_code",
	"fault_addr", "fault_addr+4", "fault_trapno", "fault_error", "pad", "pad+4", "result", "result+4", "pad1", "pad1+4",
};
#define NFIELDS (sizeof fields / sizeof fields[0])

static const u64 values[] = {
	0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 32, 33, 57, 59, 255, 4095, 4096, 4097, 61440, 65535, 65536, 131071, 131072, 131073,
	0x7fffffff, 0x80000000, 0xfffffff2, 0xfffff001, 0xffffffff, 0x100000000, 0x100000001, 0x100000002, 0x10000000a,
	0x7fffffffffff, 0x7fe200000000, 0x7fe100000000, 0x7fe000001000, 0x20000000000001, 0x7fffffffffffffff,
	0x8000000000000000, 0xfffffffffffff001, 0xfffffffffffffff2, 0xffffffffffffffff, 0x200000000,
};
#define PICK(r, list) (list[below(r, sizeof(list) / sizeof(list[0]))])

static __thread sigjmp_buf *rescue;
static __thread u64 stub_result;
static u64 gadget; /* syscall; ud2 in the stub */

static u64 any_value(struct rng *r)
{
	switch (below(r, 4)) {
	case 0: return next(r);
	case 1: return (u64)getpid() + below(r, 6) + (one_in(r, 3) ? 1ul << 32 : 0);
	default: return PICK(r, values);
	}
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)info;
	ucontext_t *u = context;
	stub_result = (u64)u->uc_mcontext.gregs[REG_RAX];
	if (rescue)
		siglongjmp(*rescue, signo);
	_exit(100 + signo);
}
static void on_signal(int signo)
{
	(void)signo;
}

static void *find_gadget(void)
{
	sigjmp_buf here, *before = rescue;
	volatile u64 at = STUB_BASE;
	rescue = &here;
	if (sigsetjmp(here, 1) == 0)
		for (; at < STUB_BASE + 0x10000; at++) {
			const unsigned char *p = (const unsigned char *)at;
			if (p[0] == 0x0f && p[1] == 0x05 && p[2] == 0x0f && p[3] == 0x0b)
				break;
		}
	else
		at = 0;
	rescue = before;
	return (void *)(at >= STUB_BASE + 0x10000 ? 0 : at);
}

/* A call from inside the stub's code, where the filter of the host lets some pass. */
static u64 stub_call(u64 target, u64 nr, const u64 a[6])
{
	sigjmp_buf here, *before = rescue;
	stub_result = (u64)-38;
	rescue = &here;
	if (sigsetjmp(here, 1) == 0) {
		register u64 r10 asm("r10") = a[3];
		register u64 r8 asm("r8") = a[4];
		register u64 r9 asm("r9") = a[5];
		asm volatile("jmp *%0" ::"b"(target), "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "memory");
	}
	rescue = before;
	return stub_result;
}

static u64 slot_at(struct rng *r)
{
	return MAILBOX_BASE + (one_in(r, 8) ? below(r, 64) : below(r, 4)) * SLOT_SIZE;
}

/* A word of a slot that means something, and its name. */
static u64 word_at(struct rng *r, const char **name)
{
	u64 slot = slot_at(r);
	switch (below(r, 8)) {
	case 0: *name = "regs"; return slot + offsetof(struct slot, regs) + 8 * below(r, 27);
	case 1: *name = "prefetch"; return slot + offsetof(struct slot, prefetch) + 4 * below(r, 16);
	case 2: *name = "outs"; return slot + offsetof(struct slot, outs) + 4 * below(r, 64);
	case 3: *name = "command"; return slot + offsetof(struct slot, command) + 8 * below(r, sizeof(struct command) / 8);
	case 4: *name = "command result"; return slot + offsetof(struct slot, command) + offsetof(struct command, result);
	case 5: *name = "data"; return slot + IN_OFFSET + 8 * below(r, 200);
	default: {
		u32 f = below(r, NFIELDS);
		*name = fields[f];
		return slot + 4 * f;
	}
	}
}

enum attack { WORD, BURST, FLIP, ANSWER, EVENT, STUB_CALL, PATCH, SILENCE, ATTACKS };
static const char *const attack_names[] = { "word", "burst", "flip", "answer", "event", "stub_call", "patch", "silence" };

static void put32(u64 at, u64 v)
{
	*(volatile u32 *)at = (u32)v;
}

static void make_writable(void)
{
	u64 a[6] = { STUB_BASE, 0x8000, 7, 0, 0, 0 };
	stub_call(gadget, SYS_mprotect, a);
}

static void attack(u64 seed, struct step s, int listing)
{
	struct rng r = rng_of(seed ^ 0x5a5a, s.index);
	enum attack what = below(&r, ATTACKS);
	/* Those that end the stub are rare. */
	while (what >= STUB_CALL && !one_in(&r, 4))
		what = below(&r, ATTACKS);
	const char *name = "";
	u64 at = word_at(&r, &name), v = any_value(&r), w = any_value(&r);
	u32 times = 1u << below(&r, 14);
	if (listing)
		printf("%s %s at 0x%lx: 0x%lx, 0x%lx, %u times;\n", attack_names[what], name, at, v, w, times);
	switch (what) {
	case WORD:
		if (!listing)
			put32(at, v);
		break;
	case BURST:
		for (u32 i = 0; i < times && !listing; i++)
			put32(at, v);
		break;
	case FLIP:
		for (u32 i = 0; i < times && !listing; i++)
			put32(at, i & 1 ? v : w);
		break;
	case ANSWER:
		/* The first command is answered before the stub has: a process, a count, an errno that is none. */
		for (u32 i = 0; i < times && !listing; i++) {
			struct slot *slot = (struct slot *)MAILBOX_BASE;
			*(volatile u64 *)&slot->command.result = i & 1 ? v : w;
			if ((i & 63) == 0) {
				slot->event = EVENT_DONE;
				*(volatile u32 *)&slot->state = STATE_EVENT;
			}
		}
		break;
	case EVENT: {
		/* A stop that never was, of this thread, of another, of one that does not exist. */
		struct slot *slot = (struct slot *)slot_at(&r);
		if (listing)
			break;
		for (int i = 0; i < 27; i++)
			slot->regs[i] = any_value(&r);
		slot->regs[15] = below(&r, 340);
		slot->event = one_in(&r, 3) ? (u32)v : 1 + below(&r, 6);
		slot->nprefetch = below(&r, 6);
		*(volatile u32 *)&slot->state = one_in(&r, 4) ? (u32)v : STATE_EVENT;
		break;
	}
	case STUB_CALL: {
		static const u32 allowed[] = {
			SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_msync, SYS_mincore, SYS_futex, SYS_recvmsg,
			SYS_close, SYS_dup3, SYS_write, SYS_clone, SYS_sigaltstack, SYS_rt_sigprocmask, SYS_arch_prctl, SYS_exit,
		};
		static const u64 places[] = { STUB_BASE, INFO_BASE, VDSO_BASE, PRIVATE_BASE, MAILBOX_BASE, MAILBOX_BASE + SLOT_SIZE, 0x200000000 };
		u64 nr = one_in(&r, 10) ? below(&r, 340) : PICK(&r, allowed);
		u64 a[6] = { 0 };
		for (int i = 0; i < 6; i++)
			a[i] = any_value(&r);
		switch (nr) {
		case SYS_mmap: case SYS_munmap: case SYS_mprotect: case SYS_mremap: case SYS_madvise: case SYS_msync: case SYS_mincore:
			a[0] = PICK(&r, places);
			a[1] = 4096ul << below(&r, 6);
			a[2] = below(&r, 8);
			a[3] = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
			a[4] = PICK(&r, places);
			break;
		case SYS_futex: a[0] = at; a[1] = below(&r, 2); a[2] = below(&r, 3); a[3] = 0; break;
		case SYS_recvmsg: case SYS_close: a[0] = 3 + below(&r, 4); a[1] = 0x200000000; break;
		case SYS_dup3: a[0] = 3 + below(&r, 4); a[1] = 3 + below(&r, 5); a[2] = 0; break;
		case SYS_write: a[0] = 4; a[1] = (u64)&nr; a[2] = 8; break;
		case SYS_clone:
			a[0] = one_in(&r, 2) ? 0x8000 | 17 : 0x50f00;
			a[1] = a[0] == 0x50f00 ? 0x200008000 : 0;
			a[2] = a[3] = a[4] = 0;
			break;
		}
		if (listing)
			printf("        syscall %lu from the stub (0x%lx, 0x%lx, 0x%lx, 0x%lx)\n", nr, a[0], a[1], a[2], a[3]);
		else if (gadget)
			stub_call(gadget, nr, a);
		break;
	}
	case PATCH:
		if (listing || !gadget)
			break;
		make_writable();
		for (u32 i = 0; i < 8; i++)
			((volatile unsigned char *)STUB_BASE)[0x1000 + below(&r, 0x2000)] = (unsigned char)next(&r);
		break;
	default:
		/* The way back from the handler becomes an endless loop: no answer any more. */
		if (listing || !gadget)
			break;
		make_writable();
		((volatile unsigned char *)gadget)[0] = 0xeb;
		((volatile unsigned char *)gadget)[1] = 0xfe;
	}
}

static void honest(u64 seed, struct step s, int listing)
{
	struct rng r = rng_of(seed ^ 0xa5a5, s.index);
	static const char *const names[] = { "getppid", "mmap", "fork", "read", "mkdir", "futex", "mremap", "open", "mincore", "thread", "nanosleep", "exec" };
	u32 what = below(&r, 12);
	if (listing) {
		printf("%s();\n", names[what]);
		return;
	}
	static char buffer[65536];
	switch (what) {
	case 0:
		for (int i = 0; i < 50; i++)
			syscall(SYS_getppid);
		break;
	case 1: {
		char *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p != MAP_FAILED) {
			p[4096] = 1;
			mprotect(p, 4096, PROT_READ);
			madvise(p, 1 << 20, MADV_DONTNEED);
			munmap(p, 1 << 20);
		}
		break;
	}
	case 2:
		if (__atomic_add_fetch(&shared->forks, 1, __ATOMIC_RELAXED) < 30 && fork() == 0)
			_exit(0);
		waitpid(-1, 0, WNOHANG);
		break;
	case 3: {
		int f = open("/proc/self/exe", O_RDONLY);
		(void)!read(f, buffer, 1 + below(&r, sizeof buffer));
		close(f);
		break;
	}
	case 4:
		mkdir("/tmp/fuzz-mailbox", 0700);
		rmdir("/tmp/fuzz-mailbox");
		break;
	case 5:
		syscall(SYS_futex, buffer, FUTEX_WAKE_OP_PRIVATE, 1, 1, buffer + 64, 0x10001000);
		break;
	case 6: {
		char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (p != MAP_FAILED && (p = mremap(p, 8192, 16384, MREMAP_MAYMOVE)) != MAP_FAILED)
			munmap(p, 16384);
		break;
	}
	case 7:
		for (int i = 0; i < 10; i++)
			close(open("/dev/null", O_RDWR));
		break;
	case 8: {
		unsigned char residence[16];
		mincore((void *)((u64)buffer & ~4095ul), 16384, residence);
		break;
	}
	case 9: {
		pthread_t t;
		if (__atomic_add_fetch(&shared->forks, 1, __ATOMIC_RELAXED) < 30 && pthread_create(&t, 0, (void *(*)(void *))getpid, 0) == 0)
			pthread_detach(t);
		break;
	}
	case 10: {
		struct timespec t = { 0, 500000 };
		nanosleep(&t, 0);
		break;
	}
	default:
		if (__atomic_add_fetch(&shared->forks, 1, __ATOMIC_RELAXED) < 30 && vfork() == 0) {
			execl("/bin/true", "true", (char *)0);
			_exit(0);
		}
	}
}

#define THREADS 3
static int role(u64 seed, u32 index)
{
	return (int)(mix(index ^ seed) % THREADS);
}
struct worker {
	u64 seed;
	int which;
	volatile int done;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	sigjmp_buf here;
	volatile u32 i = 0;
	sigsetjmp(here, 1);
	rescue = &here;
	while (i < nsteps) {
		struct step s = steps[i++];
		if (role(w->seed, s.index) != w->which)
			continue;
		shared->at[w->which] = s.index;
		__atomic_add_fetch(&shared->made, 1, __ATOMIC_RELAXED);
		if (w->which == 0)
			honest(w->seed, s, 0);
		else
			attack(w->seed, s, 0);
	}
	rescue = 0;
	w->done = 1;
	return 0;
}

static void batch(u64 seed)
{
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_sigaction = on_fault;
	a.sa_flags = SA_SIGINFO | SA_NODEFER;
	for (int s = 1; s < 32; s++)
		if (s == SIGSEGV || s == SIGBUS || s == SIGILL || s == SIGTRAP || s == SIGFPE || s == SIGSYS)
			sigaction(s, &a, 0);
		else
			signal(s, on_signal);
	mmap((void *)0x200000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	gadget = (u64)find_gadget();
	close_range(0, ~0u, 0);
	static struct worker workers[THREADS];
	for (int k = 0; k < THREADS; k++) {
		workers[k] = (struct worker){ seed, k, 0 };
		pthread_t t;
		if (pthread_create(&t, 0, work, &workers[k]) != 0)
			workers[k].done = 1;
	}
	for (int done = 0; !done;) {
		struct timespec pause = { 0, 2000000 };
		nanosleep(&pause, 0);
		done = 1;
		for (int k = 0; k < THREADS; k++)
			done &= workers[k].done;
	}
	syscall(SYS_exit_group, 0);
}

int main(int argc, char **argv)
{
	int listing = argc > 1 && strcmp(argv[1], "list") == 0;
	if (argc < 5)
		return 2;
	char **a = argv + 1 + listing;
	u64 seed = strtoul(a[0], 0, 10);
	u32 first = (u32)strtoul(a[1], 0, 10), count = (u32)strtoul(argv[4], 0, 10);
	choose_steps(argc > 5 ? argv[5] : "", count);
	if (!listing)
		supervise(seed, first, (u32)strtoul(a[2], 0, 10), 300, batch);
	seed = mix(seed) ^ mix(first);
	for (u32 i = 0; i < nsteps; i++) {
		printf("/* %3u, thread %d */ ", steps[i].index, role(seed, steps[i].index));
		if (role(seed, steps[i].index) == 0)
			honest(seed, steps[i], 1);
		else
			attack(seed, steps[i], 1);
	}
	return 0;
}
