/*
 * Random system calls: several threads and processes, arguments by the declared types.
 *
 *   calls SEED FIRST LAST COUNT [STEPS]   batches FIRST..LAST-1 of COUNT calls each (or only the steps named)
 *   calls list SEED BATCH COUNT [STEPS]   prints the calls of a batch instead; makes none
 *
 * What step i does depends on the seed and i alone, so that any of them can be left out.
 */
#include "pools.h"
#include TABLE
#include <ucontext.h>

#define NCALLS (sizeof(calls) / sizeof(calls[0]))
static u32 per_batch;
static int depth;

/* The thread's own place, if its own thread-local storage still stands. */
static __thread sigjmp_buf *rescue;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	if (rescue)
		siglongjmp(*rescue, signo);
	_exit(100 + signo);
}
static void on_signal(int signo)
{
	(void)signo;
}

static void handlers(void)
{
	for (int s = 1; s < 65; s++) {
		struct sigaction a;
		memset(&a, 0, sizeof a);
		if (s == SIGSEGV || s == SIGBUS || s == SIGILL || s == SIGFPE || s == SIGTRAP || s == SIGSYS) {
			a.sa_sigaction = on_fault;
			a.sa_flags = SA_SIGINFO | SA_NODEFER;
		} else
			a.sa_handler = on_signal;
		sigaction(s, &a, 0);
	}
}

/* A call whose child may come back on this very stack: there it makes a few calls without one, and ends or faults. */
static long raw(long nr, const u64 a[6], int keep_off)
{
	register long rax asm("rax") = nr;
	register u64 rdi asm("rdi") = a[0];
	register u64 rsi asm("rsi") = a[1];
	register u64 rdx asm("rdx") = a[2];
	register u64 r10 asm("r10") = a[3];
	register u64 r8 asm("r8") = a[4];
	register u64 r9 asm("r9") = a[5];
	register long off asm("r12") = keep_off;
	asm volatile("syscall\n\t"
		     "test %%rax, %%rax\n\t"
		     "jnz 1f\n\t"
		     "test %%r12, %%r12\n\t"
		     "jz 1f\n\t"
		     "mov $39, %%eax\n\t"
		     "syscall\n\t"
		     "cmp $2, %%r12\n\t"
		     "jne 2f\n\t"
		     "ud2\n\t"
		     "2: mov $60, %%eax\n\t"
		     "mov %%r12, %%rdi\n\t"
		     "syscall\n\t"
		     "ud2\n\t"
		     "1:"
		     : "+r"(rax), "+r"(rdi)
		     : "r"(rsi), "r"(rdx), "r"(r10), "r"(r8), "r"(r9), "r"(off)
		     : "rcx", "r11", "memory");
	return rax;
}

/* A signal frame that was real once, with some words changed. */
static char frame_copy[8192] __attribute__((aligned(64)));
static volatile int frame_taken;
static void take_frame(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	ucontext_t *u = context;
	memcpy(frame_copy + 1024, u, sizeof *u);
	if (u->uc_mcontext.fpregs) {
		memcpy(frame_copy + 4096, u->uc_mcontext.fpregs, 2048);
		((ucontext_t *)(frame_copy + 1024))->uc_mcontext.fpregs = (void *)(frame_copy + 4096);
	}
	frame_taken = 1;
}
static void forged_sigreturn(struct rng *r)
{
	struct sigaction a, old;
	memset(&a, 0, sizeof a);
	a.sa_sigaction = take_frame;
	a.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigaction(SIGUSR2, &a, &old);
	volatile int tried = 0;
	frame_taken = 0;
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR2);
	if (!frame_taken || tried)
		return;
	tried = 1;
	for (u32 k = below(r, 6); k > 0; k--) {
		u64 *word = (u64 *)(frame_copy + 1024 + (one_in(r, 2) ? 3072 + 8 * below(r, 160) : 8 * below(r, 40)));
		*word = one_in(r, 3) ? next(r) : one_in(r, 2) ? any_address(r) : *word ^ 1ul << below(r, 64);
	}
	asm volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall\n\tud2" ::"r"(frame_copy + 1024) : "memory");
}

struct made {
	long nr;
	u64 args[6];
	int keep_off;
	int sigreturn;
};

/* Step `s`, its arguments built in the memory at `at`. */
static struct made make(u64 seed, struct step s, char *at, struct note *n)
{
	struct rng r = rng_of(seed, s.index);
	struct made m;
	memset(&m, 0, sizeof m);
	const struct call_type *c;
	/* Half of the batches stay with a few families, which stand together in the table; a quarter takes no care. */
	u64 taste = mix(seed ^ 0x7a57e);
	u32 family = (u32)(taste >> 8) % NCALLS;
	do
		c = &calls[(taste & 1) && !one_in(&r, 4) ? (family + below(&r, 16)) % NCALLS : below(&r, NCALLS)];
	while (c->rare && (taste & 6) && !one_in(&r, 6));
	if (one_in(&r, 40)) {
		static const long odd[] = { -1, 0x40000000, 0x40000001, 0x80000000, 335, 423, 450, 512, 600, 65536, 0x7fffffff };
		m.nr = one_in(&r, 2) ? PICK(&r, odd) : (long)below(&r, 700);
		put(n, "syscall(%ld", m.nr);
		for (int i = 0; i < 6; i++) {
			m.args[i] = s.zeroed >> i & 1 ? 0 : one_in(&r, 2) ? any_address(&r) : any_size(&r);
			put(n, ", 0x%lx", m.args[i]);
		}
		put(n, ")");
		return m;
	}
	m.nr = c->nr;
	m.sigreturn = c->nr == SYS_rt_sigreturn;
	put(n, "%s(", c->name);
	for (int i = 0; i < c->nargs; i++) {
		struct rng own = rng_of(seed ^ 0xabcdef, s.index * 8ul + (u64)i);
		if (i)
			put(n, ", ");
		if (s.zeroed >> i & 1)
			put(n, "0");
		else
			m.args[i] = argument(&c->args[i], &own, (u64 *)(at + 4096 * i), s.index, n);
	}
	for (int i = c->nargs; i < 6; i++)
		m.args[i] = next(&r);
	put(n, ")");
	/* The supervisor's own limits and memory are no part of the game, by whichever of its two threads they are named. */
	if ((m.nr == SYS_prlimit64 || m.nr == SYS_process_vm_writev) && ((u32)m.args[0] == 1 || (u32)m.args[0] == 2))
		m.args[0] = 0;
	if (m.nr == SYS_vfork)
		m.keep_off = 1;
	if (m.nr == SYS_clone && ((m.args[0] & 0x100) || m.args[1]))
		m.keep_off = 1 + (int)below(&r, 2);
	/* What the structure of clone3 says is not looked at: it may change meanwhile. */
	if (m.nr == SYS_clone3)
		m.keep_off = 1 + (int)below(&r, 2);
	return m;
}

static int forks(long nr)
{
	return nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3;
}

static void run_step(u64 seed, struct step s, char *at)
{
	struct note none = { 0, 0 };
	struct made m = make(seed, s, at, &none);
	if (m.sigreturn) {
		struct rng r = rng_of(seed, s.index + 77777);
		forged_sigreturn(&r);
		return;
	}
	if (forks(m.nr) && (depth > 2 || __atomic_add_fetch(&shared->forks, 1, __ATOMIC_RELAXED) > 40))
		return;
	long got = raw(m.nr, m.args, m.keep_off);
	if (forks(m.nr) && got == 0)
		depth++;
	else if (forks(m.nr) && got > 0)
		newest_pid = (int)got;
	else if (got > 2 && got < 1000 && m.nr != SYS_read && m.nr != SYS_write)
		newest_fd = (int)got;
}

struct worker {
	u64 seed;
	u32 which, count;
	pid_t tid;
	volatile int done;
};
static struct worker workers[WORKERS_MAX];

static void *work(void *arg)
{
	struct worker *w = arg;
	char *at = (char *)ARENA + 0x10000 * (1 + w->which);
	w->tid = (pid_t)syscall(SYS_gettid);
	sigjmp_buf here;
	volatile u32 i = 0;
	int was = depth;
	sigsetjmp(here, 1);
	rescue = &here;
	while (i < nsteps) {
		struct step s = steps[i++];
		if (mix(s.index ^ w->seed) % w->count != w->which)
			continue;
		shared->at[w->which] = s.index;
		__atomic_add_fetch(&shared->made, 1, __ATOMIC_RELAXED);
		run_step(w->seed, s, at);
		/* A child goes on for some calls and ends. */
		if (depth > was + 1)
			_exit(0);
		if (depth > was) {
			was++;
			for (u32 k = 0; k < 8 && i < nsteps; k++)
				run_step(w->seed, steps[i++], at);
			_exit(0);
		}
	}
	w->done = 1;
	return 0;
}

static void limits(void)
{
	struct rlimit space = { 1ul << 31, 1ul << 31 }, size = { 64 << 20, 64 << 20 };
	setrlimit(RLIMIT_AS, &space);
	setrlimit(RLIMIT_FSIZE, &size);
}

static void batch(u64 seed)
{
	batch_seed = seed;
	struct rng r = rng_of(seed, 1ul << 40);
	make_descriptors();
	make_memory();
	limits();
	handlers();
	u32 count = 1 + below(&r, 3);
	if (one_in(&r, 3) && setgid(1000) == 0)
		(void)!setuid(1000);
	for (u32 k = 0; k < count; k++) {
		workers[k] = (struct worker){ seed, k, count, 0, 0 };
		pthread_t thread;
		if (pthread_create(&thread, 0, work, &workers[k]) != 0)
			workers[k].done = 1;
	}
	u32 last[WORKERS_MAX] = { 0 };
	for (;;) {
		int done = 1;
		struct timespec pause = { 0, 3000000 };
		nanosleep(&pause, 0);
		for (u32 k = 0; k < count; k++) {
			if (workers[k].done)
				continue;
			done = 0;
			/* Whoever sleeps in a call is woken. */
			if (last[k] == shared->at[k] + 1)
				syscall(SYS_tgkill, getpid(), workers[k].tid, SIGUSR1);
			last[k] = shared->at[k] + 1;
		}
		if (done)
			break;
	}
	syscall(SYS_exit_group, 0);
}

/* execve of itself: a few more calls, with what is left of the descriptors. */
static void resume(u64 seed, u32 from)
{
	batch_seed = seed;
	struct shared *own = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = own;
	depth = 2;
	make_memory();
	handlers();
	sigjmp_buf here;
	volatile u32 i = from + 1;
	sigsetjmp(here, 1);
	rescue = &here;
	for (u32 end = from + 12; i < end && i < nsteps;)
		run_step(seed, steps[i++], (char *)ARENA);
	_exit(0);
}

static void list(u64 seed)
{
	static char text[1 << 16];
	struct rng r = rng_of(seed, 1ul << 40);
	u32 count = 1 + below(&r, 3);
	int user = one_in(&r, 3);
	mmap((void *)ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("/* %u thread%s, as %s */\n", count, count > 1 ? "s" : "", user ? "user 1000" : "root");
	for (u32 i = 0; i < nsteps; i++) {
		struct note n = { text, sizeof text };
		struct step s = steps[i];
		make(seed, s, (char *)ARENA, &n);
		printf("/* %3u, thread %lu */ %s;\n", s.index, (unsigned long)(mix(s.index ^ seed) % count), text);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "resume") == 0) {
		choose_steps(argc > 4 ? argv[4] : "", STEPS_MAX);
		resume(strtoul(argv[2], 0, 10), (u32)strtoul(argv[3], 0, 10));
	}
	int listing = argc > 1 && strcmp(argv[1], "list") == 0;
	if (argc < 5)
		return 2;
	char **a = argv + 1 + listing;
	u64 seed = strtoul(a[0], 0, 10);
	u32 first = (u32)strtoul(a[1], 0, 10);
	per_batch = (u32)strtoul(a[listing ? 2 : 3], 0, 10);
	int at = listing ? 5 : 5;
	choose_steps(argc > at ? argv[at] : "", per_batch);
	if (listing)
		list(mix(seed) ^ mix(first));
	supervise(seed, first, (u32)strtoul(a[2], 0, 10), 400, batch);
}
