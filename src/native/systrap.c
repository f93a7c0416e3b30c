/*
 * The kernel's side of the systrap platform: starting the first stub, windows onto mailbox slots, waiting for stubs.
 *
 * Everything that is hot in TypeScript stays there; here is what needs raw memory of many processes at once (the scan
 * over mailboxes), futexes, and clone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "mailbox.h"

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}
static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/*
 * How kernel and stubs wait for each other: apart, each on a CPU of its own and looking at shared memory, or together,
 * on one CPU and sleeping. Apart, a trip is several times faster, but only while both really have a CPU. When others
 * want the CPUs too, who looks keeps from running the very thread that he waits for; and to wake a sleeper on another
 * CPU costs much more than to hand over one's own.
 *
 * We begin apart, and go together when looking does not pay. Two signs of that: a gap between two looks, of the kernel or
 * of a stub, which has then lost its CPU; and more sleeps and wake-ups across CPUs than looks saved. After a while we try
 * again, and wait longer each time that it does not last. The stubs learn it from info->spin_cycles.
 */
/* So soon after one stall, another is no accident. */
#define STALLS_WITHIN_NS 20000000
#define RETRY_MIN_NS 10000000
#define RETRY_MAX_NS 640000000
/* Apart for so long is a success: the next retry comes soon. */
#define LASTING_NS 50000000
/* To sleep and be woken on another CPU costs about so many times what a trip gains by being apart. */
#define FAILURE 12
#define FAILURES_MAX 96
/* A longer sleep says nothing: the guest had nothing for us. */
#define SOON_NS 1000000
/* How long the kernel looks at mailboxes, at one mailbox while a command runs, and a stub for its reply. */
#define SPIN_NS 50000
#define SYNC_SPIN_NS 20000
#define STUB_SPIN_CYCLES 60000
/* Apart, one wait of so many is with the whole spin, though shorter ones have failed. */
#define PROBE_EVERY 16

static struct {
	int apart;
	uint64_t since, stalled_at, retry_at, retry_ns;
	/* How long the kernel looks at present: less while what it waits for takes longer than a spin. */
	uint64_t budget;
	unsigned waits;
	/* Grows with looks that failed and then cost a sleep and a wake-up, shrinks with those that paid. */
	int failures;
	/* The last thing we did was to wake a stub that slept on our own CPU. */
	int gave_way;
} spin = { .retry_ns = RETRY_MIN_NS };

static void go_apart(struct info *info, uint64_t now)
{
	spin.apart = 1;
	spin.since = now;
	spin.stalled_at = 0;
	spin.budget = SPIN_NS;
	spin.failures = FAILURES_MAX - 2 * FAILURE;
	__atomic_store_n(&info->spin_cycles, STUB_SPIN_CYCLES, __ATOMIC_RELAXED);
}
static void go_together(struct info *info, uint64_t now)
{
	spin.apart = 0;
	spin.retry_ns = now - spin.since > LASTING_NS ? RETRY_MIN_NS : spin.retry_ns * 2;
	if (spin.retry_ns > RETRY_MAX_NS)
		spin.retry_ns = RETRY_MAX_NS;
	spin.retry_at = now + spin.retry_ns;
	__atomic_store_n(&info->spin_cycles, 0, __ATOMIC_RELAXED);
}
/* Somebody who looked had lost his CPU. */
static void stalled(struct info *info, uint64_t now)
{
	if (!spin.apart)
		return;
	if (now - spin.since < LASTING_NS || now - spin.stalled_at < STALLS_WITHIN_NS)
		go_together(info, now);
	spin.stalled_at = now;
}

/* A look has paid. */
static void paid(void)
{
	if (spin.failures > 0)
		spin.failures--;
}
/* A look was in vain, or there was none, and what we waited for came soon after. */
static void failed(struct info *info, uint64_t now)
{
	if (spin.apart && (spin.failures += FAILURE) >= FAILURES_MAX)
		go_together(info, now);
}

/*
 * Who is apart must be on two CPUs and who is together on one. The host's balancer does not see to it: two that sleep
 * half of the time may share a CPU for ever. After some events in a row in the wrong place we move, once.
 */
#define MISPLACED_STREAK 16
#define CPU_MASK (CPU_SETSIZE - 1)
static void place(struct slot *s, struct info *info)
{
	static int streak;
	static const struct slot *last;
	cpu_set_t all, wanted;
	int cpu = sched_getcpu(), its = (int)(s->cpu & CPU_MASK);
	if (s->stalled) {
		s->stalled = 0;
		stalled(info, now_ns());
	}
	/* Only for one thread that calls and calls: threads that wake each other need both CPUs anyway. */
	if ((its == cpu) != spin.apart || s != last) {
		streak = 0;
		last = s;
		return;
	}
	if (++streak < MISPLACED_STREAK)
		return;
	streak = 0;
	if (sched_getaffinity(0, sizeof all, &all) < 0)
		return;
	CPU_ZERO(&wanted);
	if (spin.apart) {
		wanted = all;
		CPU_CLR(cpu, &wanted);
	} else if (CPU_ISSET(its, &all))
		CPU_SET(its, &wanted);
	if (CPU_COUNT(&wanted) > 0 && sched_setaffinity(0, sizeof wanted, &wanted) == 0)
		sched_setaffinity(0, sizeof all, &all);
}

/* Address space for `count` windows of SLOT_SIZE bytes. */
double sy_windows(int count)
{
	void *p = mmap(NULL, (size_t)count * SLOT_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? -errno : (double)(uintptr_t)p;
}
/* Shows slot `slot` of a mailbox file in a window. */
int sy_window_open(void *window, int memfd, int slot)
{
	void *p = mmap(window, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd, (off_t)slot * SLOT_SIZE);
	return p == MAP_FAILED ? -errno : 0;
}
/* Lets go of the slot's memory; the window stays readable (zeros), since views of it may linger. */
int sy_window_close(void *window)
{
	void *p = mmap(window, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	return p == MAP_FAILED ? -errno : 0;
}

static struct slot *slot_at(char *base, const int32_t *active, int at) { return (struct slot *)(base + (size_t)active[at] * SLOT_SIZE); }
/* The place in `active` of a slot that holds an event, or -1. */
static int scan(char *base, const int32_t *active, int n, int start)
{
	for (int i = 0, at = start < n ? start : 0; i < n; i++, at = at + 1 == n ? 0 : at + 1)
		if (__atomic_load_n(&slot_at(base, active, at)->state, __ATOMIC_ACQUIRE) == STATE_EVENT)
			return at;
	return -1;
}
static int found(char *base, const int32_t *active, int at, struct info *info)
{
	place(slot_at(base, active, at), info);
	return at;
}
/* Call after a look at `n` slots with the time stamp of the look before: notices when we had no CPU in between. */
static uint64_t looked_again(uint64_t last, int n, struct info *info)
{
	uint64_t now = __rdtsc();
	if (now - last > STALL_CYCLES + 1000 * (uint64_t)n)
		stalled(info, now_ns());
	return now;
}

/*
 * Waits until the slot of one of the `n` active windows holds an event, or a descriptor of `epoll` is ready.
 *
 * base: first window; active: window numbers; timeout_ns: -1 for ever.
 * The doorbell is in `epoll` under key 0. Returns the index in `active`, or -1 for anything else (look at descriptors,
 * timers). `start`: where the scan begins, for fairness.
 */
int sy_wait(char *base, const int32_t *active, int n, int start, struct info *info, int epoll, int doorbell, double timeout_ns)
{
	int at = scan(base, active, n, start);
	if (at >= 0)
		return found(base, active, at, info);
	if (timeout_ns == 0)
		return -1;
	uint64_t begin = now_ns();
	if (!spin.apart && begin >= spin.retry_at)
		go_apart(info, begin);
	/* A stub that was woken on this very CPU gets it when we sleep, not before. */
	int looked = spin.apart && n > 0 && !spin.gave_way;
	spin.gave_way = 0;
	__atomic_store_n(&info->kernel_cpu, (uint32_t)sched_getcpu(), __ATOMIC_RELAXED);
	if (looked) {
		uint64_t limit = ++spin.waits % PROBE_EVERY == 0 ? SPIN_NS : spin.budget;
		if (timeout_ns > 0 && timeout_ns < (double)limit)
			limit = (uint64_t)timeout_ns;
		uint64_t look = __rdtsc();
		do {
			for (int k = 0; k < 16; k++) {
				at = scan(base, active, n, start);
				look = looked_again(look, n, info);
				if (at >= 0) {
					paid();
					spin.budget = spin.budget < SPIN_NS / 16 ? SPIN_NS / 16 : spin.budget * 2 > SPIN_NS ? SPIN_NS : spin.budget * 2;
					return found(base, active, at, info);
				}
				__builtin_ia32_pause();
			}
		} while (spin.apart && now_ns() - begin < limit);
	}
	__atomic_store_n(&info->kernel_sleeping, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if ((at = scan(base, active, n, start)) >= 0) {
		__atomic_store_n(&info->kernel_sleeping, 0, __ATOMIC_SEQ_CST);
		return at;
	}
	struct epoll_event ev[4];
	struct timespec ts, *pts = NULL;
	if (timeout_ns >= 0) {
		double left = timeout_ns - (double)(now_ns() - begin);
		if (left < 0)
			left = 0;
		ts.tv_sec = (time_t)(left / 1e9);
		ts.tv_nsec = (long)(left - (double)ts.tv_sec * 1e9);
		pts = &ts;
	}
	int got = (int)syscall(SYS_epoll_pwait2, epoll, ev, 4, pts, NULL, 0);
	__atomic_store_n(&info->kernel_sleeping, 0, __ATOMIC_SEQ_CST);
	if (looked && got > 0) {
		uint64_t now = now_ns();
		/* A sleep that was shorter than a spin could have been: longer spins would pay. */
		spin.budget = now - begin < SPIN_NS ? SPIN_NS : spin.budget / 2;
		if (now - begin < SOON_NS)
			failed(info, now);
	}
	int other = got <= 0;
	for (int i = 0; i < got; i++) {
		if (ev[i].data.u32 == 0) {
			uint64_t count;
			if (read(doorbell, &count, 8) < 0) { /* already taken */ }
		} else
			other = 1;
	}
	if (!other && (at = scan(base, active, n, start)) >= 0)
		return found(base, active, at, info);
	return -1;
}

/*
 * Waits until the stub has carried out the commands of one window. 0, -ETIMEDOUT, or -ESRCH when process pid is gone.
 */
int sy_sync(struct slot *slot, struct info *info, int pid, double timeout_ns)
{
	uint64_t begin = now_ns();
	int looked = spin.apart && !spin.gave_way;
	spin.gave_way = 0;
	if (looked) {
		uint64_t look = __rdtsc();
		do {
			for (int k = 0; k < 32; k++) {
				int done = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == STATE_EVENT;
				look = looked_again(look, 1, info);
				if (done) {
					paid();
					return 0;
				}
				__builtin_ia32_pause();
			}
		} while (spin.apart && now_ns() - begin < SYNC_SPIN_NS);
		failed(info, now_ns());
	}
	int result = 0;
	__atomic_store_n(&slot->kernel_waiting, 1, __ATOMIC_SEQ_CST);
	uint32_t state;
	while ((state = __atomic_load_n(&slot->state, __ATOMIC_SEQ_CST)) != STATE_EVENT) {
		struct timespec slice = { 0, 20000000 };
		if (state == STATE_EXITED) {
			result = -ESRCH;
			break;
		}
		futex(&slot->state, FUTEX_WAIT, state, &slice);
		siginfo_t si = { 0 };
		if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == pid) {
			result = -ESRCH;
			break;
		}
		if ((double)(now_ns() - begin) > timeout_ns) {
			result = -ETIMEDOUT;
			break;
		}
	}
	__atomic_store_n(&slot->kernel_waiting, 0, __ATOMIC_SEQ_CST);
	return result;
}

/* Wakes a stub that sleeps on its slot. */
int sy_wake(struct slot *slot, struct info *info)
{
	spin.gave_way = (int)(slot->cpu & CPU_MASK) == sched_getcpu();
	if (!spin.gave_way)
		failed(info, now_ns());
	return (int)futex(&slot->state, FUTEX_WAKE, 1, NULL);
}
int sy_tgkill(int pid, int tid, int signo) { return R(syscall(SYS_tgkill, pid, tid, signo)); }
/* Is pid a living child of ours (not a thread, not ourselves)? */
int sy_is_child(int pid)
{
	siginfo_t si = { 0 };
	if (pid <= 1 || waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return 0;
	return si.si_pid == 0;
}

/* SIGCHLD rings the doorbell, so that the kernel loop wakes up and reaps. */
static int child_doorbell = -1;
static volatile sig_atomic_t child_pending;
static void on_child(int signo)
{
	int saved = errno;
	uint64_t one = 1;
	child_pending = 1;
	if (write(child_doorbell, &one, 8) < 0) { /* full: it rings already */ }
	errno = saved;
}
int sy_watch_children(int doorbell)
{
	struct sigaction sa = { .sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP };
	child_doorbell = doorbell;
	return R(sigaction(SIGCHLD, &sa, NULL));
}
/* Has a child ended since the last call? */
int sy_children_pending(void)
{
	if (!child_pending)
		return 0;
	child_pending = 0;
	return 1;
}

/* Bytes of a stub's arguments, with their NULs. */
#define TITLE_SIZE 256

struct spawn {
	int stub, fds[4], empty_root, flags;
};
static int spawn_child(void *arg)
{
	struct spawn *s = arg;
	sigset_t none;
	sigemptyset(&none);
	/* Memory is shared with the kernel process until exec: only system calls from here on. */
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigaction(SIGCHLD, &dfl, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	syscall(SYS_setsid);
	/* Out of the way of 3..6 first. */
	int fds[5];
	for (int i = 0; i < 4; i++)
		fds[i] = fcntl(s->fds[i], F_DUPFD, 20);
	fds[4] = fcntl(s->stub, F_DUPFD_CLOEXEC, 20);
	if (s->empty_root >= 0 && (fchdir(s->empty_root) < 0 || chroot(".") < 0))
		_exit(98);
	for (int i = 0; i < 4; i++)
		if (dup2(fds[i], 3 + i) < 0)
			_exit(97);
	/* No descriptor but ours: not even standard ones. */
	syscall(SYS_close_range, 0, 2, 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	syscall(SYS_close_range, 7, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	/* Empty arguments make room for the guest's, which the kernel puts there for ps: src/boot/titles.ts. */
	char *argv[1 + TITLE_SIZE - sizeof "runts-stub" + 1] = { "runts-stub" }, *envp[] = { NULL };
	for (unsigned i = 1; i < sizeof argv / sizeof *argv - 1; i++)
		argv[i] = "";
	syscall(SYS_execveat, fds[4], "", argv, envp, AT_EMPTY_PATH);
	_exit(96);
}
/*
 * Starts the first stub process. empty_root: directory to be its root, or -1; flags: CLONE_NEW* for it.
 * Returns its pid.
 */
int sy_spawn(int stub, int socket, int doorbell, int mailbox, int info, int empty_root, int flags)
{
	struct spawn s = { stub, { socket, doorbell, mailbox, info }, empty_root, flags };
	const size_t size = 65536;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	/* CLONE_VFORK: we wait for its exec. No CLONE_SIGHAND, so its dispositions are its own. */
	int pid = clone(spawn_child, stack + size, CLONE_VM | CLONE_VFORK | flags | SIGCHLD, &s);
	int result = pid < 0 ? -errno : pid;
	sigprocmask(SIG_SETMASK, &old, NULL);
	munmap(stack, size);
	return result;
}
