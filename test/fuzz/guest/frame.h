/*
 * The frame of the fuzzer's guest programs: random numbers that depend on a seed alone, and the supervisor.
 *
 * The supervisor is process 1 of the sandbox, which no process inside can kill. It forks a process for each batch, looks
 * whether it gets on, ends everything that the batch has left (kill -1), and says how it was on standard output. A
 * bystander, a thread of the supervisor, makes harmless calls all the time and notes the slowest.
 */
#ifndef FUZZ_FRAME_H
#define FUZZ_FRAME_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
typedef uint32_t u32;

struct rng {
	u64 state;
};

static inline u64 mix(u64 z)
{
	z += 0x9e3779b97f4a7c15ul;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return z ^ (z >> 31);
}
static inline u64 next(struct rng *r)
{
	r->state += 0x9e3779b97f4a7c15ul;
	return mix(r->state);
}
static inline u32 below(struct rng *r, u32 n)
{
	return (u32)((next(r) >> 32) % n);
}
static inline int one_in(struct rng *r, u32 n)
{
	return below(r, n) == 0;
}
static inline struct rng rng_of(u64 seed, u64 index)
{
	struct rng r = { mix(seed ^ mix(index + 0x1234567)) };
	return r;
}

/* One step of a batch and which of its arguments are replaced by 0. */
struct step {
	u32 index;
	u32 zeroed;
};
#define STEPS_MAX 4096
static struct step steps[STEPS_MAX];
static u32 nsteps;
/* The steps as they stood on the command line, for a program that executes itself. */
static const char *chosen = "";

/* "3,7:1,12": the steps 3, 7 (its first argument 0) and 12. Empty: all of them. */
static void choose_steps(const char *text, u32 count)
{
	nsteps = 0;
	chosen = text;
	if (*text == 0)
		for (; nsteps < count && nsteps < STEPS_MAX; nsteps++)
			steps[nsteps] = (struct step){ nsteps, 0 };
	while (*text && nsteps < STEPS_MAX) {
		char *end;
		struct step s = { (u32)strtoul(text, &end, 10), 0 };
		if (*end == ':')
			s.zeroed = (u32)strtoul(end + 1, &end, 10);
		steps[nsteps++] = s;
		text = *end ? end + 1 : end;
	}
}

/* Shared by the supervisor and the batches. Batches may spoil it: numbers only. */
#define WORKERS_MAX 4
struct shared {
	volatile u64 made; /* calls made in this batch */
	volatile u32 forks;
	volatile u32 finished;
	volatile u32 at[WORKERS_MAX]; /* the step that a worker is in */
	volatile u64 worst_ns;        /* the bystander's slowest call */
	volatile u32 worst_at;        /* the step of the first worker when it ended */
};
static struct shared *shared;

static u64 now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000ul + (u64)t.tv_nsec;
}

static void *bystand(void *unused)
{
	(void)unused;
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return 0;
	u64 from = now_ns();
	for (;;) {
		char c = 'x';
		close(open("/dev/null", O_RDONLY | O_CLOEXEC));
		if (write(p[1], &c, 1) == 1)
			(void)!read(p[0], &c, 1);
		getppid();
		u64 to = now_ns();
		if (to - from > shared->worst_ns) {
			shared->worst_ns = to - from;
			shared->worst_at = shared->at[0];
		}
		struct timespec pause = { 0, 2000000 };
		from = now_ns();
		/* The pause counts too, less its own length: a timer that comes late is a standstill as well. */
		nanosleep(&pause, 0);
		u64 late = now_ns() - from;
		late = late > 2000000 ? late - 2000000 : 0;
		from = now_ns() - late;
	}
}

static void say(const char *format, ...)
{
	char line[512];
	va_list list;
	va_start(list, format);
	int n = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	(void)!write(1, line, (size_t)n);
}

/* Runs a batch in a process of its own; never returns there. */
typedef void batch_fn(u64 seed);

static int reap_all(u64 limit_ns)
{
	u64 begun = now_ns();
	for (;;) {
		pid_t got = waitpid(-1, 0, WNOHANG);
		if (got < 0 && errno == ECHILD)
			return 0;
		if (got > 0)
			continue;
		if (now_ns() - begun > limit_ns)
			return -1;
		kill(-1, SIGKILL);
		struct timespec pause = { 0, 1000000 };
		nanosleep(&pause, 0);
	}
}

/* From the first batch to the one before the last. `idle_ms`: how long nothing may happen before a batch is ended. */
static void supervise(u64 seed, u32 first, u32 last, u32 idle_ms, batch_fn *batch)
{
	shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;
	pthread_create(&thread, 0, bystand, 0);
	for (u32 b = first; b < last; b++) {
		memset((void *)shared, 0, sizeof *shared);
		say("start %u\n", b);
		u64 begun = now_ns();
		pid_t child = fork();
		if (child == 0) {
			setsid();
			batch(mix(seed) ^ mix(b));
			_exit(0);
		}
		if (child < 0) {
			say("nofork %u %d\n", b, errno);
			struct timespec pause = { 0, 50000000 };
			nanosleep(&pause, 0);
			continue;
		}
		u64 seen = 0, moved = now_ns();
		int status = -1;
		for (;;) {
			pid_t got = waitpid(child, &status, WNOHANG);
			if (got == child || (got < 0 && errno == ECHILD))
				break;
			if (shared->made != seen) {
				seen = shared->made;
				moved = now_ns();
			} else if (now_ns() - moved > idle_ms * 1000000ul)
				break;
			struct timespec pause = { 0, 2000000 };
			nanosleep(&pause, 0);
		}
		kill(-1, SIGKILL);
		int immortal = reap_all(10000000000ul) < 0;
		if (immortal)
			say("unkillable %u\n", b);
		say("batch %u calls %lu ms %lu worst_us %lu at %u status %x\n", b, shared->made,
		    (now_ns() - begun) / 1000000, shared->worst_ns / 1000, shared->worst_at, status);
		/* It would be there in every batch that follows. */
		if (immortal)
			break;
	}
	say("end\n");
	exit(0);
}

#endif
