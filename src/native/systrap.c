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
 * The kernel looks at shared memory for a while before it sleeps: a trip is then several times faster than with two
 * sleeps and two wake-ups. It pays only when a stub on another CPU will come soon. So it looks less long after it has
 * looked in vain, down to not at all, and not when it shares the stub's CPU; now and then one wait is with the whole
 * spin, to find out whether that pays again.
 */
#define SPIN_PROBE_EVERY 16
#define SPIN_NS 50000
#define SYNC_SPIN_NS 20000
static struct {
	/* How long sy_wait looks at present. */
	uint64_t budget;
	unsigned waits;
	/* The last thing we did was to wake a stub that sleeps on our own CPU: it runs when we sleep, not before. */
	int gave_way;
} spin = { .budget = SPIN_NS };

static int give_way(void)
{
	int gave = spin.gave_way;
	spin.gave_way = 0;
	return gave;
}

/*
 * Kernel and stub on one CPU take turns sleeping and waking each other, which is several times slower than looking at
 * shared memory from two; and since each is idle half of the time, the host's balancer leaves them there. After some
 * events in a row from our own CPU we move to another one, once.
 */
#define SAME_CPU_STREAK 16
static void avoid_cpu_of(const struct slot *s)
{
	static int streak;
	static const struct slot *last;
	cpu_set_t all, others;
	int cpu = sched_getcpu();
	/* Only for one thread that calls and calls: threads that wake each other need both CPUs anyway. */
	if ((int)s->cpu != cpu || s != last) {
		streak = 0;
		last = s;
		return;
	}
	if (++streak < SAME_CPU_STREAK)
		return;
	streak = 0;
	if (sched_getaffinity(0, sizeof all, &all) < 0)
		return;
	others = all;
	CPU_CLR(cpu, &others);
	if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
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
static int found(char *base, const int32_t *active, int at)
{
	avoid_cpu_of(slot_at(base, active, at));
	return at;
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
		return found(base, active, at);
	if (timeout_ns == 0)
		return -1;
	uint64_t begin = now_ns();
	int looked = !give_way() && n > 0;
	__atomic_store_n(&info->kernel_cpu, (uint32_t)sched_getcpu(), __ATOMIC_RELAXED);
	if (looked) {
		uint64_t limit = ++spin.waits % SPIN_PROBE_EVERY == 0 ? SPIN_NS : spin.budget;
		if (timeout_ns > 0 && timeout_ns < (double)limit)
			limit = (uint64_t)timeout_ns;
		do {
			for (int k = 0; k < 16; k++) {
				if ((at = scan(base, active, n, start)) >= 0) {
					spin.budget = spin.budget < SPIN_NS / 16 ? SPIN_NS / 16 : spin.budget * 2 > SPIN_NS ? SPIN_NS : spin.budget * 2;
					return found(base, active, at);
				}
				__builtin_ia32_pause();
			}
		} while (now_ns() - begin < limit);
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
	/* A sleep that was shorter than the whole spin: to look would have paid. */
	if (looked)
		spin.budget = now_ns() - begin < SPIN_NS ? SPIN_NS : spin.budget / 2;
	int other = got <= 0;
	for (int i = 0; i < got; i++) {
		if (ev[i].data.u32 == 0) {
			uint64_t count;
			if (read(doorbell, &count, 8) < 0) { /* already taken */ }
		} else
			other = 1;
	}
	if (!other && (at = scan(base, active, n, start)) >= 0)
		return found(base, active, at);
	return -1;
}

/*
 * Waits until the stub has carried out the commands of one window. 0, -ETIMEDOUT, or -ESRCH when process pid is gone.
 */
int sy_sync(struct slot *slot, int pid, double timeout_ns)
{
	uint64_t begin = now_ns();
	if (!give_way()) {
		do {
			for (int k = 0; k < 32; k++) {
				if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == STATE_EVENT)
					return 0;
				__builtin_ia32_pause();
			}
		} while (now_ns() - begin < SYNC_SPIN_NS && timeout_ns > 0);
	}
	int result = 0;
	__atomic_store_n(&slot->kernel_waiting, 1, __ATOMIC_SEQ_CST);
	uint32_t state;
	while ((state = __atomic_load_n(&slot->state, __ATOMIC_SEQ_CST)) != STATE_EVENT) {
		double left = timeout_ns - (double)(now_ns() - begin);
		struct timespec slice = { 0, left > 2e7 ? 20000000 : (long)left };
		if (state == STATE_EXITED) {
			result = -ESRCH;
			break;
		}
		if (left <= 0) {
			result = -ETIMEDOUT;
			break;
		}
		futex(&slot->state, FUTEX_WAIT, state, &slice);
		siginfo_t si = { 0 };
		if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == pid) {
			result = -ESRCH;
			break;
		}
	}
	__atomic_store_n(&slot->kernel_waiting, 0, __ATOMIC_SEQ_CST);
	return result;
}

/* Wakes a stub that sleeps on its slot. */
int sy_wake(struct slot *slot)
{
	spin.gave_way = (int)slot->cpu == sched_getcpu();
	return (int)futex(&slot->state, FUTEX_WAKE, 1, NULL);
}
int sy_tgkill(int pid, int tid, int signo) { return R(syscall(SYS_tgkill, pid, tid, signo)); }
/*
 * Takes a new stub process. The host's own word on where it comes from: a fork is born into the process group of whoever
 * forked it, stubs can neither leave theirs nor wait for anybody, and each stub that we have taken leads a group of its
 * own. So `pid` is the child of stub `parent` (or of a fork that the stub made behind our back) if it is a living child
 * of ours in parent's group. 1 when it is, and now leads its own group; -ECHILD when it was and has died; else 0.
 */
int sy_adopt(int pid, int parent)
{
	siginfo_t si = { 0 };
	if (pid <= 1 || pid == parent || waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return 0;
	if (getpgid(pid) != parent)
		return 0;
	if (si.si_pid != 0)
		return -ECHILD;
	return setpgid(pid, pid) == 0;
}
/*
 * Collects one ended child: its pid and wait status in out, and 1; 0 when there is none. Whatever it has forked behind
 * our back is in its process group and goes with it: killed while its pid is still taken by the zombie.
 */
int sy_reap(int32_t *out)
{
	siginfo_t si = { 0 };
	int status = 0;
	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || si.si_pid <= 1)
		return 0;
	kill(-si.si_pid, SIGKILL);
	if (waitpid(si.si_pid, &status, WNOHANG | __WALL) != si.si_pid)
		return 0;
	out[0] = si.si_pid;
	out[1] = status;
	return 1;
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
