/*
 * The kernel's side of the ptrace platform: what needs structures of ptrace(2), wait(2) and the signal frame.
 *
 * All calls come from one host thread, the tracer. A thread that is gone when it should answer gives LOST, which is no
 * errno; pt_wait reports its end later, as that of any other thread.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PTRACE_SYSEMU
#define PTRACE_SYSEMU 31
#endif
#ifndef PTRACE_SYSEMU_SINGLESTEP
#define PTRACE_SYSEMU_SINGLESTEP 32
#endif
#define STOP_EVENT 128 /* PTRACE_EVENT_STOP */

#define R(expr) ({ long r_ = (long)(expr); r_ < 0 ? -errno : r_; })
#define LOST (-100000)

/* Layout of the stub. */
#define CELL_SIZE 128
#define CELL_CALL 0
#define CELL_MAP 1
#define CELL_HANDLER 9
#define CELL_MAP_MANY 11
#define CELLS 12
static uint64_t cells, scratch;

#define USER_CS 0x33
#define USER32_CS 0x23
#define USER_SS 0x2b

/* glibc declares an enum where the kernel takes a number. */
static long pt(long request, int tid, void *addr, const void *data) { return syscall(SYS_ptrace, request, tid, addr, data); }

/*
 * What waitpid has told of and pt_wait has not yet, oldest first. The host looks through our tracees in the order in which
 * they came to us: asked once for each stop, it would hand out those of a few busy ones for ever. So it is asked for
 * ASKED_MAX at a time; the rest is room for ends that wait_for comes upon.
 */
#define ASKED_MAX 64
#define SEEN_MAX (ASKED_MAX + 256)
static int32_t seen[SEEN_MAX][2];
static int seen_first, nseen;

static void see(int tid, int status)
{
	if (nseen == SEEN_MAX && seen_first > 0) {
		nseen -= seen_first;
		memmove(seen[0], seen[seen_first], (size_t)nseen * sizeof seen[0]);
		seen_first = 0;
	}
	if (nseen == SEEN_MAX)
		return;
	seen[nseen][0] = tid;
	seen[nseen++][1] = status;
}

/* Takes what is known of this thread out of those. Its id or 0. */
static int take_seen(int tid, int *status)
{
	for (int i = seen_first; i < nseen; i++) {
		if (seen[i][0] != tid)
			continue;
		*status = seen[i][1];
		memmove(seen[i], seen[i + 1], (size_t)(nseen - i - 1) * sizeof seen[0]);
		nseen--;
		return tid;
	}
	return 0;
}
/* The oldest of those, after asking the host when there are none. Its id or 0. */
static int next_seen(int *status)
{
	if (seen_first == nseen) {
		seen_first = nseen = 0;
		for (int tid; nseen < ASKED_MAX && (tid = waitpid(-1, status, __WALL | WNOHANG)) > 0;)
			see(tid, *status);
		if (nseen == 0)
			return 0;
	}
	*status = seen[seen_first][1];
	return seen[seen_first++][0];
}

/* Waits until a thread has stopped. 0 or LOST. */
static int wait_for(int tid, int *status)
{
	for (;;) {
		int r = take_seen(tid, status);
		if (r == 0)
			r = waitpid(tid, status, __WALL);
		if (r == tid && WIFSTOPPED(*status))
			return 0;
		if (r == tid) {
			see(tid, *status);
			return LOST;
		}
		if (r < 0 && errno != EINTR)
			return LOST;
	}
}

/* Takes hold of the first stub, which waits for word. 0 or -errno. */
int pt_seize(int pid) { return R(pt(PTRACE_SEIZE, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))); }
/* Waits for its stop. out: scratch area, stack pointer, as doubles. 0, LOST, or -EINVAL with the wait status in out[0]. */
int pt_ready(int pid, double *out)
{
	struct user_regs_struct r;
	int status;
	for (;;) {
		if (wait_for(pid, &status) < 0) {
			out[0] = status;
			return LOST;
		}
		if (WSTOPSIG(status) == SIGTRAP && status >> 16 == 0)
			break;
		if (pt(PTRACE_CONT, pid, NULL, NULL) < 0)
			return LOST;
	}
	if (pt(PTRACE_GETREGS, pid, NULL, &r) < 0)
		return LOST;
	cells = r.rbx;
	scratch = r.rbp;
	out[0] = (double)scratch;
	out[1] = (double)r.rsp;
	out[2] = (double)cells;
	return 0;
}

/* The first stop of a thread or process that a stopped one has just made. 0 or LOST. */
int pt_newborn(int tid)
{
	int status;
	return wait_for(tid, &status);
}

/*
 * Runs a cell on a stopped thread to its end, whatever the thread was doing; its registers are gone afterwards. The
 * result is the cell's rax, -EFAULT when it touched bad memory, or LOST.
 */
static int64_t run_cell(int tid, int cell, struct user_regs_struct *r)
{
	uint64_t end = cells + (uint64_t)(cell + 1) * CELL_SIZE;
	r->rip = cells + (uint64_t)cell * CELL_SIZE;
	r->orig_rax = (uint64_t)-1;
	r->cs = USER_CS;
	r->ss = USER_SS;
	r->eflags = 0x202;
	if (pt(PTRACE_SETREGS, tid, NULL, r) < 0)
		goto lost;
	for (;;) {
		int status;
		if (pt(PTRACE_CONT, tid, NULL, NULL) < 0)
			goto lost;
		if (wait_for(tid, &status) < 0)
			return LOST;
		int signo = WSTOPSIG(status);
		/* Signals from outside and late interrupts do not reach the cell. */
		if (status >> 16 != 0)
			continue;
		if (signo == SIGTRAP) {
			if (pt(PTRACE_GETREGS, tid, NULL, r) < 0)
				goto lost;
			if (r->rip == end)
				return (int64_t)r->rax;
		} else if (signo == SIGSEGV || signo == SIGBUS) {
			siginfo_t si;
			if (pt(PTRACE_GETSIGINFO, tid, NULL, &si) < 0)
				goto lost;
			if (si.si_code > 0)
				return -EFAULT;
		}
	}
lost:
	return LOST;
}

/* A system call in a stopped thread. a: number and six arguments. */
double pt_call(int tid, const double *a)
{
	struct user_regs_struct r = { 0 };
	r.rax = (uint64_t)a[0];
	r.rdi = (uint64_t)(int64_t)a[1];
	r.rsi = (uint64_t)(int64_t)a[2];
	r.rdx = (uint64_t)(int64_t)a[3];
	r.r10 = (uint64_t)(int64_t)a[4];
	r.r8 = (uint64_t)(int64_t)a[5];
	r.r9 = (uint64_t)(int64_t)a[6];
	return (double)run_cell(tid, CELL_CALL, &r);
}
/* mmap of the descriptor that waits in the socket. a: address, length, protection, flags, offset, message header. */
double pt_map(int tid, const double *a)
{
	struct user_regs_struct r = { 0 };
	r.rbp = (uint64_t)a[0];
	r.rbx = (uint64_t)a[1];
	r.r12 = (uint64_t)a[2];
	r.r13 = (uint64_t)a[3];
	r.r14 = (uint64_t)a[4];
	r.rsi = (uint64_t)a[5];
	return (double)run_cell(tid, CELL_MAP, &r);
}
/*
 * The same descriptor mapped in many places: it is received once, stays descriptor 0 meanwhile, and is closed. runs: address,
 * length, protection, offset of each. `list`: room for `room` of them in the scratch area of a process that has one thread;
 * with room for none each mapping is a trip of its own, with all that it needs in registers. 0, -errno or LOST.
 */
#define LIST_MAX 1024
double pt_map_many(int tid, const double *runs, int n, int flags, double message, double list, int room)
{
	static uint64_t words[LIST_MAX][4];
	double receive[7] = { SYS_recvmsg, 3, message, 0x40000000, 0, 0, 0 };
	double close[7] = { SYS_close };
	uint64_t size = 24;
	/* What recvmsg has written there the last time. */
	struct iovec l = { &size, 8 }, m = { (void *)((uint64_t)message + 40), 8 };
	if (syscall(SYS_process_vm_writev, tid, &l, 1, &m, 1, 0) != 8)
		return LOST;
	double r = pt_call(tid, receive);
	if (r < 0)
		return r;
	if (room > LIST_MAX)
		room = LIST_MAX;
	for (int i = 0; i < n && r >= 0; i += room > 0 ? room : 1) {
		if (room <= 0) {
			const double *run = runs + 4 * (size_t)i;
			double map[7] = { SYS_mmap, run[0], run[1], run[2], flags, 0, run[3] };
			r = pt_call(tid, map);
			continue;
		}
		int part = n - i < room ? n - i : room;
		for (int k = 0; k < part * 4; k++)
			words[k / 4][k % 4] = (uint64_t)runs[4 * (size_t)i + (size_t)k];
		l = (struct iovec){ words, (size_t)part * sizeof words[0] }, m = (struct iovec){ (void *)(uint64_t)list, l.iov_len };
		if (syscall(SYS_process_vm_writev, tid, &l, 1, &m, 1, 0) != (long)l.iov_len)
			return LOST;
		struct user_regs_struct regs = { .rbx = (uint64_t)list, .rbp = (uint64_t)part, .r10 = (uint64_t)flags };
		r = (double)run_cell(tid, CELL_MAP_MANY, &regs);
	}
	double closed = r == LOST ? 0 : pt_call(tid, close);
	return closed == LOST ? LOST : r < 0 ? r : 0;
}
/* A cell that works on a word of guest memory: the old value, -EFAULT or LOST. */
double pt_atomic(int tid, int cell, double addr, double a, double b)
{
	struct user_regs_struct r = { 0 };
	r.rdi = (uint64_t)addr;
	r.rsi = (uint32_t)(int64_t)a;
	r.rdx = (uint32_t)(int64_t)b;
	int64_t result = run_cell(tid, cell, &r);
	return result < 0 ? (double)result : (double)(uint32_t)result;
}

/* Registers of a stopped thread, and how they are put back. */
int pt_getregs(int tid, void *regs) { return pt(PTRACE_GETREGS, tid, NULL, regs) < 0 ? -errno : 0; }
static int put_regs(int tid, const void *regs)
{
	struct user_regs_struct r;
	memcpy(&r, regs, sizeof r);
	if (r.cs != USER32_CS)
		r.cs = USER_CS;
	r.ss = USER_SS;
	/* A program may have loaded null selectors that the host does not take back from us. */
	if ((r.ds & 3) != 3)
		r.ds = 0;
	if ((r.es & 3) != 3)
		r.es = 0;
	if ((r.fs & 3) != 3)
		r.fs = 0;
	if ((r.gs & 3) != 3)
		r.gs = 0;
	/* Not in a call: the host must not restart one by its own rules. */
	r.orig_rax = (uint64_t)-1;
	return R(pt(PTRACE_SETREGS, tid, NULL, &r));
}
/* Guest code goes on until its next system call, with all registers from `regs`. */
int pt_resume(int tid, const void *regs)
{
	int r = put_regs(tid, regs);
	return r < 0 ? r : R(pt(PTRACE_SYSEMU, tid, NULL, NULL));
}
/* The same with nothing changed but the result of its call. */
int pt_result(int tid, double result)
{
	if (pt(PTRACE_POKEUSER, tid, (void *)offsetof(struct user_regs_struct, rax), (void *)(int64_t)result) < 0)
		return -errno;
	return R(pt(PTRACE_SYSEMU, tid, NULL, NULL));
}
/* The same with nothing changed. */
int pt_go(int tid) { return R(pt(PTRACE_SYSEMU, tid, NULL, NULL)); }
/* One instruction, with all registers from `regs`. 1; 0 when it was a system call, or something else came of it; LOST. */
int pt_step(int tid, const void *regs)
{
	/* Interrupts that had come before are for nobody. */
	for (int tries = 0; tries < 4; tries++) {
		siginfo_t si;
		int status;
		if (put_regs(tid, regs) < 0 || pt(PTRACE_SYSEMU_SINGLESTEP, tid, NULL, NULL) < 0 || wait_for(tid, &status) < 0)
			return LOST;
		if (status >> 16 != 0)
			continue;
		return WSTOPSIG(status) == SIGTRAP && pt(PTRACE_GETSIGINFO, tid, NULL, &si) == 0 && si.si_code == TRAP_TRACE;
	}
	return 0;
}
int pt_interrupt(int tid) { return R(pt(PTRACE_INTERRUPT, tid, NULL, NULL)); }

/* Does PTRACE_SYSEMU keep the host from making a call? 0, or -ENOSYS; `tid` is sent through the stub for it. */
int pt_check(int tid)
{
	struct user_regs_struct r = { .rax = SYS_getppid, .rip = cells, .orig_rax = (uint64_t)-1, .cs = USER_CS, .ss = USER_SS, .eflags = 0x202 };
	int status;
	if (pt(PTRACE_SETREGS, tid, NULL, &r) < 0 || pt(PTRACE_SYSEMU, tid, NULL, NULL) < 0 || wait_for(tid, &status) < 0)
		return -ENOSYS;
	if (WSTOPSIG(status) != (SIGTRAP | 0x80) || pt(PTRACE_GETREGS, tid, NULL, &r) < 0)
		return -ENOSYS;
	return r.orig_rax == SYS_getppid && (int64_t)r.rax == -ENOSYS ? 0 : -ENOSYS;
}

/* Lets a stopped thread end itself; its status comes to the main loop. */
int pt_exit(int tid)
{
	struct user_regs_struct r = { .rax = SYS_exit, .rip = cells, .orig_rax = (uint64_t)-1, .cs = USER_CS, .ss = USER_SS, .eflags = 0x202 };
	if (pt(PTRACE_SETREGS, tid, NULL, &r) < 0)
		return -errno;
	return R(pt(PTRACE_CONT, tid, NULL, NULL));
}
int pt_continue(int tid) { return R(pt(PTRACE_CONT, tid, NULL, NULL)); }

/*
 * What made a thread stop for a signal. out: signal number, si_code, si_addr. 1: the processor did; 0: somebody sent it.
 */
int pt_siginfo(int tid, double *out)
{
	siginfo_t si;
	if (pt(PTRACE_GETSIGINFO, tid, NULL, &si) < 0)
		return -errno;
	out[0] = si.si_signo;
	out[1] = si.si_code;
	out[2] = (double)(uint64_t)si.si_addr;
	return si.si_code > 0;
}
/*
 * Trap number and error code of a SIGSEGV or SIGBUS that a thread has stopped for. The host tells them only to signal
 * handlers, so it delivers the signal to a handler that stops at once, and we read its frame. The thread's registers
 * are gone afterwards. out: trap number, error code. 0, -EAGAIN when there was no frame, or LOST.
 */
int pt_trap(int tid, int signo, double *out)
{
	struct user_regs_struct r;
	int status;
	if (pt(PTRACE_CONT, tid, NULL, (void *)(long)signo) < 0)
		return LOST;
	for (int tries = 0; tries < 16; tries++) {
		if (wait_for(tid, &status) < 0)
			return LOST;
		if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) {
			if (pt(PTRACE_GETREGS, tid, NULL, &r) < 0)
				return LOST;
			if (r.rip == cells + (CELL_HANDLER + 1) * CELL_SIZE) {
				/* Return address, then the ucontext, whose sigcontext begins at byte 40. */
				uint64_t frame[4];
				struct iovec l = { frame, sizeof frame }, m = { (void *)(r.rsp + 8 + 40 + 152), sizeof frame };
				if (syscall(SYS_process_vm_readv, tid, &l, 1, &m, 1, 0) != sizeof frame)
					return -EAGAIN;
				out[0] = (double)(frame[1] & 31);
				out[1] = (double)(frame[0] & 0xffffffff);
				return 0;
			}
		} else if (status >> 16 == 0 && (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGBUS))
			/* Not even the frame could be written. */
			return -EAGAIN;
		if (pt(PTRACE_CONT, tid, NULL, NULL) < 0)
			return LOST;
	}
	return -EAGAIN;
}

/*
 * Floating-point state. PTRACE_GETREGSET gives the XSAVE area without the words by which programs tell its size in a
 * signal frame (struct _fpx_sw_bytes at byte 464, a magic number behind the end); here they are put in and taken out.
 */
#define FP_MAX 16384
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
static uint32_t area_size;   /* of the host's regset */
static uint32_t frame_size;  /* what a frame holds of it */
static uint64_t frame_features;

static int fp_get(int tid, uint8_t *fp)
{
	struct iovec v = { fp, FP_MAX };
	if (pt(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &v) < 0)
		return -errno;
	return (int)v.iov_len;
}
/* Bytes of state in a frame, with the magic number. */
int pt_fp_size(int tid)
{
	static uint8_t fp[FP_MAX] __attribute__((aligned(64)));
	int got = fp_get(tid, fp);
	if (got < 0) {
		frame_size = 512;
		return 512;
	}
	area_size = (uint32_t)got;
	uint64_t features;
	memcpy(&features, fp + 464, 8);
	/* Tile data has to be asked for by programs, so it is not in ordinary frames. Its configuration is. */
	frame_features = features & ~(1ull << 18);
	frame_size = 576;
	for (int i = 2; i < 63; i++) {
		uint32_t a, b, c, d;
		if (!(frame_features >> i & 1))
			continue;
		__cpuid_count(13, i, a, b, c, d);
		if (a + b > frame_size)
			frame_size = a + b;
	}
	if (frame_size > area_size)
		frame_size = area_size;
	return (int)frame_size + 4;
}
/* A thread's state as a frame has it, in a buffer of FP_MAX + 4 bytes: its size or -errno. */
static int fp_frame(int tid, uint8_t *fp)
{
	if (frame_size <= 512)
		return pt(PTRACE_GETFPREGS, tid, NULL, fp) < 0 ? -errno : 512;
	int got = fp_get(tid, fp);
	if (got < 0)
		return got;
	uint32_t head[2] = { MAGIC1, frame_size + 4 }, magic2 = MAGIC2;
	memset(fp + 464, 0, 48);
	memcpy(fp + 464, head, 8);
	memcpy(fp + 472, &frame_features, 8);
	memcpy(fp + 480, &frame_size, 4);
	memcpy(fp + frame_size, &magic2, 4);
	return (int)frame_size + 4;
}
/* Writes a thread's state to guest memory. */
int pt_fp_save(int tid, double addr)
{
	static uint8_t fp[FP_MAX + 4] __attribute__((aligned(64)));
	int n = fp_frame(tid, fp);
	if (n < 0)
		return n;
	struct iovec l = { fp, (size_t)n }, m = { (void *)(uint64_t)addr, (size_t)n };
	return syscall(SYS_process_vm_writev, tid, &l, 1, &m, 1, 0) == (long)n ? 0 : -EFAULT;
}
/* Gives it in a buffer of `size` bytes, which must be what pt_fp_size said. */
int pt_fp_get(int tid, uint8_t *out, int size)
{
	static uint8_t fp[FP_MAX + 4] __attribute__((aligned(64)));
	int n = fp_frame(tid, fp);
	if (n < 0)
		return n;
	if (n != size)
		return -EINVAL;
	memcpy(out, fp, (size_t)n);
	return 0;
}
static int fp_set(int tid, uint8_t *fp)
{
	if (frame_size <= 512)
		return R(pt(PTRACE_SETFPREGS, tid, NULL, fp));
	struct iovec v = { fp, area_size };
	return R(pt(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &v));
}
/* The state that execve leaves. */
int pt_fp_reset(int tid)
{
	static uint8_t fp[FP_MAX] __attribute__((aligned(64)));
	uint16_t control = 0x37f;
	uint32_t mxcsr = 0x1f80;
	uint64_t legacy = 3;
	memset(fp, 0, sizeof fp);
	memcpy(fp, &control, 2);
	memcpy(fp + 24, &mxcsr, 4);
	if (frame_size > 512)
		memcpy(fp + 512, &legacy, 8);
	return fp_set(tid, fp);
}
/*
 * Loads a thread's state from a frame: `fp` holds its first 512 bytes, `whole` says that the extended part follows. As Linux'
 * sigreturn does it refuses (-EINVAL) reserved bits of MXCSR, and in the extended header features that the processor does
 * not have, the compacted form and reserved bytes. The buffer is written over.
 */
static int fp_load(int tid, uint8_t *fp, int whole)
{
	static uint8_t now[FP_MAX] __attribute__((aligned(64)));
	uint32_t mask, mxcsr;
	uint64_t named;
	if (frame_size > 512 ? fp_get(tid, now) < 0 : pt(PTRACE_GETFPREGS, tid, NULL, now) < 0)
		return -ESRCH;
	memcpy(&mask, now + 28, 4);
	memcpy(&named, fp + 472, 8);
	if (whole) {
		uint64_t has, rest[2];
		uint32_t lo, hi;
		memcpy(&has, fp + 512, 8);
		memcpy(rest, fp + 520, 16);
		__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		if (has & ~((uint64_t)hi << 32 | lo) || rest[0] || rest[1])
			return -EINVAL;
		has &= frame_features & named;
		memset(fp + 512, 0, 64);
		memcpy(fp + 512, &has, 8);
	} else if (frame_size > 512) {
		/* Only x87 and SSE were given; the rest goes to its initial state. */
		uint64_t legacy = 3;
		memcpy(fp + 512, &legacy, 8);
	}
	memcpy(&mxcsr, fp + 24, 4);
	if (mxcsr & ~(mask ? mask : 0xffbf))
		return -EINVAL;
	memcpy(fp + 28, &mask, 4);
	memset(fp + 464, 0, 48);
	return fp_set(tid, fp);
}
/* Does a frame's first part say that an extended one of our size follows? */
static int fp_extended(const uint8_t *fp)
{
	uint32_t magic, extended, size;
	memcpy(&magic, fp + 464, 4);
	memcpy(&extended, fp + 468, 4);
	memcpy(&size, fp + 480, 4);
	return frame_size > 512 && magic == MAGIC1 && size == frame_size && extended == frame_size + 4;
}
/* Loads a thread's state from guest memory. */
int pt_fp_load(int tid, double addr)
{
	static uint8_t fp[FP_MAX] __attribute__((aligned(64)));
	uint64_t at = (uint64_t)addr;
	struct iovec l = { fp, 512 }, m = { (void *)at, 512 };
	memset(fp + 512, 0, sizeof fp - 512);
	if (syscall(SYS_process_vm_readv, tid, &l, 1, &m, 1, 0) != 512)
		return -EFAULT;
	int whole = fp_extended(fp);
	if (whole) {
		uint32_t magic2 = 0;
		l = (struct iovec){ &magic2, 4 }, m = (struct iovec){ (void *)(at + frame_size), 4 };
		if (syscall(SYS_process_vm_readv, tid, &l, 1, &m, 1, 0) != 4)
			return -EFAULT;
		whole = magic2 == MAGIC2;
	}
	if (whole) {
		size_t rest = frame_size - 512;
		l = (struct iovec){ fp + 512, rest }, m = (struct iovec){ (void *)(at + 512), rest };
		if (syscall(SYS_process_vm_readv, tid, &l, 1, &m, 1, 0) != (long)rest)
			return -EFAULT;
	}
	return fp_load(tid, fp, whole);
}
/* Loads it from a buffer of `size` bytes as pt_fp_get gives it; -EINVAL for any other. */
int pt_fp_put(int tid, const uint8_t *image, int size)
{
	static uint8_t fp[FP_MAX] __attribute__((aligned(64)));
	int expected = frame_size > 512 ? (int)frame_size + 4 : 512;
	if (size != expected)
		return -EINVAL;
	memset(fp, 0, sizeof fp);
	memcpy(fp, image, frame_size > 512 ? frame_size : 512);
	int whole = fp_extended(fp);
	if (frame_size > 512 && !whole)
		return -EINVAL;
	return fp_load(tid, fp, whole);
}

/*
 * The second fence: a filter under which the stub can make only the calls of its cells, from its cells, and dies of any
 * other. Written to the scratch area of a stub that is stopped: at `at` a struct sock_fprog. 0 or -errno.
 */
int pt_write_filter(int pid, double at, int thread_flags, int fork_flags)
{
#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define JEQ(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define JGE(k, t, f) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, t, f)
#define RET(k) BPF_STMT(BPF_RET | BPF_K, k)
#define PERMIT(k) JEQ((uint32_t)(k), 0, 1), RET(SECCOMP_RET_ALLOW)
#define DATA(field) offsetof(struct seccomp_data, field)
	struct sock_filter filter[] = {
		LOAD(DATA(arch)),
		JEQ(AUDIT_ARCH_X86_64, 1, 0),
		RET(SECCOMP_RET_KILL_PROCESS),
		LOAD(DATA(instruction_pointer) + 4),
		/*
		 * The legacy vsyscall page: the host emulates its three calls, and asks this filter though there was no syscall
		 * instruction that SYSEMU could stop. They read clock and CPU, as the vDSO does.
		 */
		JEQ(0xffffffff, 0, 8),
		LOAD(DATA(nr)),
		PERMIT(SYS_gettimeofday),
		PERMIT(SYS_time),
		PERMIT(SYS_getcpu),
		RET(SECCOMP_RET_KILL_PROCESS),
		JEQ((uint32_t)(cells >> 32), 1, 0),
		RET(SECCOMP_RET_KILL_PROCESS),
		LOAD(DATA(instruction_pointer)),
		JGE((uint32_t)cells, 1, 0),
		RET(SECCOMP_RET_KILL_PROCESS),
		JGE((uint32_t)(cells + CELLS * CELL_SIZE), 0, 1),
		RET(SECCOMP_RET_KILL_PROCESS),
		LOAD(DATA(nr)),
		PERMIT(SYS_mmap),
		PERMIT(SYS_munmap),
		PERMIT(SYS_mprotect),
		PERMIT(SYS_mremap),
		PERMIT(SYS_madvise),
		PERMIT(SYS_msync),
		PERMIT(SYS_mincore),
		PERMIT(SYS_close),
		PERMIT(SYS_sigaltstack),
		PERMIT(SYS_exit),
		/* recvmsg: only from our socket */
		JEQ(SYS_recvmsg, 0, 4),
		LOAD(DATA(args[0])),
		JEQ(3, 0, 1),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		/* clone: a thread, or a fork whose parent is the sandbox; both traced from birth */
		JEQ(SYS_clone, 0, 5),
		LOAD(DATA(args[0])),
		PERMIT(thread_flags),
		PERMIT(fork_flags),
		RET(SECCOMP_RET_KILL_PROCESS),
	};
	uint64_t base = (uint64_t)at;
	struct sock_fprog prog = { sizeof filter / sizeof *filter, (struct sock_filter *)(base + sizeof prog) };
	struct iovec l[2] = { { &prog, sizeof prog }, { filter, sizeof filter } };
	struct iovec m = { (void *)base, sizeof prog + sizeof filter };
	return syscall(SYS_process_vm_writev, pid, l, 2, &m, 1, 0) == (long)m.iov_len ? 0 : -errno;
}
/* Where the tracer runs now, and where a thread may run: that CPU, or (-1) all that we started with. */
static cpu_set_t all_cpus;
/* How many CPUs there are to choose from; 0 when the host does not let us choose. */
int pt_cpus(void)
{
	if (sched_getaffinity(0, sizeof all_cpus, &all_cpus) < 0 || sched_setaffinity(0, sizeof all_cpus, &all_cpus) < 0)
		return 0;
	return CPU_COUNT(&all_cpus);
}
int pt_cpu(void) { return sched_getcpu(); }
int pt_pin(int tid, int cpu)
{
	cpu_set_t one;
	if (cpu < 0)
		return R(sched_setaffinity(tid, sizeof all_cpus, &all_cpus));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return R(sched_setaffinity(tid, sizeof one, &one));
}

/*
 * Waiting. Stops are looked for with wait4; only while we sleep does SIGCHLD tell of them (SA_NOCLDSTOP is off then), and
 * rings the doorbell that the epoll instance holds under key 0. Any thread of the process may take the signal.
 */
static int doorbell_fd = -1;
static volatile int asleep;
static volatile sig_atomic_t rung;
static void on_child(int signo)
{
	int saved = errno;
	uint64_t one = 1;
	(void)signo;
	if (asleep && !rung) {
		rung = 1;
		if (write(doorbell_fd, &one, 8) < 0) { /* full: it rings already */ }
	}
	errno = saved;
}
static void tell_stops(int on)
{
	struct sigaction sa = { .sa_handler = on_child, .sa_flags = SA_RESTART | (on ? 0 : SA_NOCLDSTOP) };
	sigaction(SIGCHLD, &sa, NULL);
}
int pt_watch(int doorbell)
{
	doorbell_fd = doorbell;
	tell_stops(0);
	return 0;
}

/*
 * The next thread that has stopped or ended. out: its id and wait status. 1, or 0: none, look at descriptors and timers.
 * timeout_ns: 0 looks once, -1 waits for ever.
 */
int pt_wait(int32_t *out, int epoll, double timeout_ns)
{
	int status;
	int tid = next_seen(&status);
	if (tid <= 0 && timeout_ns != 0) {
		asleep = 1;
		tell_stops(1);
		tid = next_seen(&status);
		if (tid <= 0) {
			struct epoll_event ev[4];
			struct timespec ts, *pts = NULL;
			if (timeout_ns > 0) {
				ts.tv_sec = (time_t)(timeout_ns / 1e9);
				ts.tv_nsec = (long)(timeout_ns - (double)ts.tv_sec * 1e9);
				pts = &ts;
			}
			syscall(SYS_epoll_pwait2, epoll, ev, 4, pts, NULL, 0);
		}
		asleep = 0;
		tell_stops(0);
		if (rung) {
			uint64_t count;
			rung = 0;
			if (read(doorbell_fd, &count, 8) < 0) { /* taken already */ }
			if (tid <= 0)
				tid = next_seen(&status);
		}
	}
	if (tid <= 0)
		return 0;
	out[0] = tid;
	out[1] = status;
	return 1;
}
