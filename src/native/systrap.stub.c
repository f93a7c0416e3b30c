/*
 * The stub: a tiny static program whose process holds one guest address space.
 *
 * flags: -fPIC -Wl,-Ttext-segment=0x7fe000000000 -Wl,-z,noexecstack -Wl,-z,norelro -Wl,--build-id=none -Wl,-z,max-page-size=4096
 *
 * Guest code runs in it natively; its system calls are trapped by seccomp (SECCOMP_RET_TRAP), its faults by signal
 * handlers. The handler copies registers and prefetched arguments to this thread's mailbox slot, waits for the reply
 * and carries it out: a result, a register file, or commands (mappings, threads, fork, atomics). Handlers run on a
 * private alternate stack of each thread, private so that fork copies it.
 *
 * Trust: this code is trusted when the process starts and worthless to the kernel's safety afterwards: a guest can
 * write the mailbox and jump anywhere in here. The seccomp filter bounds what that gives it.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox.h"

#pragma GCC visibility push(hidden)

#define EFAULT 14
#define EINVAL 22
#define EAGAIN 11

#define SIGNO_ILL 4
#define SIGNO_TRAP 5
#define SIGNO_BUS 7
#define SIGNO_FPE 8
#define SIGNO_USR1 10
#define SIGNO_SEGV 11
#define SIGNO_SYS 31

#define PROT_RW 3
#define MAP_SHARED_ 1
#define MAP_PRIVATE_ 2
#define MAP_FIXED_ 0x10
#define MAP_ANON_ 0x20
#define MAP_NORESERVE_ 0x4000

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define FORK_FLAGS (CLONE_PARENT | 17)

/* The number that says "a thread is ready", made by our own code from outside the permitted range. */
#define TRAP_STARTED 0x1000

static inline __attribute__((always_inline)) long raw6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
#define SYS1(nr, a) raw6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) raw6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) raw6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS6(nr, a, b, c, d, e, f) raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Structures of the host's signal frame (arch/x86/include/uapi/asm/sigcontext.h). */
struct stack_desc {
	uint64_t sp;
	int32_t flags;
	uint32_t pad;
	uint64_t size;
};
struct mcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint8_t *fpstate;
	uint64_t reserved[8];
};
struct ucontext {
	uint64_t flags;
	uint64_t link;
	struct stack_desc stack;
	struct mcontext m;
	uint64_t sigmask;
};
struct siginfo {
	int32_t signo, errno_, code, pad;
	union {
		struct {
			uint64_t addr;
		} fault;
		struct {
			uint64_t call_addr;
			int32_t syscall;
			uint32_t arch;
		} sys;
	};
};
struct sigaction_host {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};
struct iovec_host {
	void *base;
	uint64_t len;
};
struct msghdr_host {
	void *name;
	uint32_t namelen, pad;
	struct iovec_host *iov;
	uint64_t iovlen;
	void *control;
	uint64_t controllen;
	int32_t flags;
};

/*
 * Accesses to guest memory. Leaf functions between fault_begin and fault_end: when one faults, the handler continues at
 * fault_return, which gives back rcx (bytes not done) and -EFAULT.
 */
struct pair {
	uint64_t value;
	int64_t error;
};
struct pair copy_bytes(void *dst, const void *src, uint64_t n);
struct pair copy_string(void *dst, const void *src, uint64_t max);
struct pair guest_load(uint64_t addr);
struct pair guest_cas(uint64_t addr, uint32_t expected, uint32_t desired);
struct pair guest_xchg(uint64_t addr, uint32_t value);
struct pair guest_add(uint64_t addr, uint32_t value);
extern char fault_begin[], fault_end[], fault_return[];
void restorer(void);
void trap_started(void);
long clone_thread(unsigned long flags, uint64_t stack, struct slot *slot);
__attribute__((noreturn)) void exit_thread(uint32_t *state);

__asm__(".text\n"
	".globl fault_begin, fault_end, fault_return\n"
	"fault_begin:\n"
	/* rdi dst, rsi src, rdx n: value = bytes not copied */
	"copy_bytes:\n"
	"	mov %rdx, %rcx\n"
	"	rep movsb\n"
	"	mov %rcx, %rax\n"
	"	xor %edx, %edx\n"
	"	ret\n"
	/* rdi dst, rsi src, rdx max: value = length with the NUL, or max + 1 when there is none */
	"copy_string:\n"
	"	xor %eax, %eax\n"
	"	xor %ecx, %ecx\n"
	"1:	cmp %rdx, %rax\n"
	"	je 2f\n"
	"	movzbl (%rsi,%rax), %r8d\n"
	"	movb %r8b, (%rdi,%rax)\n"
	"	inc %rax\n"
	"	test %r8b, %r8b\n"
	"	jne 1b\n"
	"	xor %edx, %edx\n"
	"	ret\n"
	"2:	inc %rax\n"
	"	xor %edx, %edx\n"
	"	ret\n"
	"guest_load:\n"
	"	xor %edx, %edx\n"
	"	mov (%rdi), %eax\n"
	"	ret\n"
	"guest_cas:\n"
	"	mov %esi, %eax\n"
	"	lock cmpxchg %edx, (%rdi)\n"
	"	mov $0, %edx\n"
	"	ret\n"
	"guest_xchg:\n"
	"	mov %esi, %eax\n"
	"	xchg %eax, (%rdi)\n"
	"	xor %edx, %edx\n"
	"	ret\n"
	"guest_add:\n"
	"	mov %esi, %eax\n"
	"	lock xadd %eax, (%rdi)\n"
	"	xor %edx, %edx\n"
	"	ret\n"
	"fault_end:\n"
	"fault_return:\n"
	"	mov %rcx, %rax\n"
	"	mov $-14, %rdx\n"
	"	ret\n"
	"restorer:\n"
	"	mov $15, %eax\n"
	"	syscall\n"
	"	ud2\n"
	/* The child starts on its own stack with the slot in hand. */
	"clone_thread:\n"
	"	mov %rdx, %r12\n"
	"	xor %edx, %edx\n"
	"	xor %r10d, %r10d\n"
	"	xor %r8d, %r8d\n"
	"	mov $56, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	je 1f\n"
	"	ret\n"
	"1:	mov %r12, %rdi\n"
	"	call thread_main\n"
	"	ud2\n"
	/* After the store the kernel may give this thread's stack to another: nothing may touch it any more. */
	"exit_thread:\n"
	"	movl $3, (%rdi)\n"
	"	xor %edi, %edi\n"
	"	mov $60, %eax\n"
	"	syscall\n"
	"	ud2\n"
	".section .outside,\"ax\",@progbits\n"
	".balign 4096\n"
	"trap_started:\n"
	"	mov $0x1000, %eax\n"
	"	syscall\n"
	"	ud2\n"
	".balign 4096\n"
	".text\n");

static struct info *const info = (struct info *)INFO_BASE;

static inline uint64_t private_of(const void *stack) { return (uint64_t)stack & ~(PRIVATE_SIZE - 1); }
static inline struct slot *slot_of(uint64_t private) { return (struct slot *)(MAILBOX_BASE + (private - PRIVATE_BASE) / PRIVATE_SIZE * SLOT_SIZE); }
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}
/*
 * The CPU that we run on, as the vDSO finds it: Linux keeps the number in the limit of a segment of each CPU. RDTSCP and
 * RDPID would tell the number that the machine below has given the processor, where a hypervisor leaves them alone.
 */
#define CPU_SEGMENT 0x7b
static inline uint32_t this_cpu(void)
{
	uint32_t limit = 0;
	__asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(CPU_SEGMENT) : "cc");
	return limit & 0xfff;
}

/* Needed by the compiler for structure copies. */
void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n)::"memory");
	return dst;
}
void *memset(void *dst, int c, size_t n)
{
	void *d = dst;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}

/* Vector state in the signal frame (struct _fpx_sw_bytes at byte 464). */
static uint32_t fp_size(const uint8_t *fp)
{
	uint32_t magic = *(const uint32_t *)(fp + 464), size = *(const uint32_t *)(fp + 468);
	return magic == 0x46505853 && size <= PRIVATE_FPINIT_SIZE ? size : 512;
}
static void fp_reset(uint8_t *fp)
{
	uint32_t size = fp_size(fp);
	memset(fp, 0, 464);
	*(uint16_t *)fp = 0x37f;
	*(uint32_t *)(fp + 24) = 0x1f80;
	if (size > 512)
		memset(fp + 512, 0, size - 4 - 512);
}
/*
 * What a guest supplied, looked at as Linux' sigreturn does: reserved bits of MXCSR, and in the extended header features
 * that the processor does not have, the compacted form and reserved bytes, are refused. 0 or -EINVAL.
 */
static int64_t fp_check(const uint8_t *fp, uint32_t mxcsr_mask, int extended)
{
	if (*(const uint32_t *)(fp + 24) & ~(mxcsr_mask ? mxcsr_mask : 0xffbf))
		return -EINVAL;
	if (!extended)
		return 0;
	const uint64_t *header = (const uint64_t *)(fp + 512);
	uint32_t lo, hi;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return header[0] & ~((uint64_t)hi << 32 | lo) || header[1] || header[2] ? -EINVAL : 0;
}
static int64_t fp_load(uint8_t *fp, uint64_t addr)
{
	/* Nothing of the frame is touched before all of it is known to be right. */
	uint8_t given[PRIVATE_FPINIT_SIZE] __attribute__((aligned(64)));
	uint32_t size = fp_size(fp), mask = *(uint32_t *)(fp + 28);
	if (copy_bytes(given, (void *)addr, 512).error)
		return -EFAULT;
	uint32_t magic = *(uint32_t *)(given + 464), extended = *(uint32_t *)(given + 468), xsize = *(uint32_t *)(given + 480);
	int whole = magic == 0x46505853 && size > 512 && extended == size && xsize + 4 == size;
	if (whole) {
		uint32_t magic2 = 0;
		if (copy_bytes(&magic2, (void *)(addr + xsize), 4).error)
			return -EFAULT;
		whole = magic2 == 0x46505845;
	}
	if (whole && copy_bytes(given + 512, (void *)(addr + 512), xsize - 512).error)
		return -EFAULT;
	if (fp_check(given, mask, whole) < 0)
		return -EINVAL;
	memcpy(fp, given, 464);
	if (whole) {
		/* Only what host and frame both name is loaded, the rest goes to its initial state. */
		memcpy(fp + 512, given + 512, xsize - 512);
		*(uint64_t *)(fp + 512) &= *(uint64_t *)(fp + 472) & *(uint64_t *)(given + 472);
		memset(fp + 520, 0, 56);
	} else if (size > 512) {
		/* Only x87 and SSE were given; the rest goes to its initial state. */
		memset(fp + 512, 0, size - 4 - 512);
		*(uint64_t *)(fp + 512) = 3;
	}
	return 0;
}

/* Receives `want` descriptors that the kernel has already sent. 0 or -errno. */
static long receive(int *fds, int want)
{
	char byte;
	struct {
		uint64_t len;
		int32_t level, type;
		int32_t fds[2];
	} control;
	struct iovec_host iov = { &byte, 1 };
	struct msghdr_host m = { 0, 0, 0, &iov, 1, &control, sizeof control, 0 };
	long r = SYS3(__NR_recvmsg, FD_SOCKET, &m, 0x40000040 /* MSG_CMSG_CLOEXEC | MSG_DONTWAIT */);
	if (r < 0)
		return r;
	if (control.len != 16 + 4 * (uint64_t)want)
		return -EINVAL;
	for (int i = 0; i < want; i++)
		fds[i] = control.fds[i];
	return 0;
}

static void save_regs(struct slot *slot, const struct mcontext *m)
{
	uint64_t *r = slot->regs;
	r[0] = m->r15, r[1] = m->r14, r[2] = m->r13, r[3] = m->r12, r[4] = m->rbp, r[5] = m->rbx;
	r[6] = m->r11, r[7] = m->r10, r[8] = m->r9, r[9] = m->r8, r[10] = m->rax, r[11] = m->rcx;
	r[12] = m->rdx, r[13] = m->rsi, r[14] = m->rdi, r[16] = m->rip, r[18] = m->eflags, r[19] = m->rsp;
	r[15] = (uint64_t)-1, r[17] = m->cs, r[20] = m->ss;
}
static void load_regs(struct mcontext *m, const struct slot *slot)
{
	const uint64_t *r = slot->regs;
	m->r15 = r[0], m->r14 = r[1], m->r13 = r[2], m->r12 = r[3], m->rbp = r[4], m->rbx = r[5];
	m->r11 = r[6], m->r10 = r[7], m->r9 = r[8], m->r8 = r[9], m->rax = r[10], m->rcx = r[11];
	m->rdx = r[12], m->rsi = r[13], m->rdi = r[14], m->rip = r[16], m->eflags = r[18], m->rsp = r[19];
	/* 64-bit code or, as any program may have it, 32-bit code. */
	m->cs = r[17] == 0x23 ? 0x23 : 0x33;
}

/* Brings along the guest memory that this call will read. */
static void prefetch(struct slot *slot, uint32_t nr)
{
	uint32_t used = 0, n = 0;
	if (nr < SYSCALLS_MAX) {
		static const uint8_t arg_reg[6] = { 14, 13, 12, 7, 9, 8 };
		for (int i = 0; i < 3; i++) {
			const struct prefetch_spec *spec = &info->prefetch[nr][i];
			if (spec->kind == 0)
				break;
			uint64_t addr = slot->regs[arg_reg[spec->arg]];
			if (addr == 0)
				continue;
			uint8_t *dst = (uint8_t *)slot + IN_OFFSET + used;
			uint64_t len;
			if (spec->kind == 1) {
				struct pair got = copy_string(dst, (void *)addr, 4096);
				if (got.error || got.value > 4096)
					continue;
				len = got.value;
			} else {
				len = spec->kind == 2 ? spec->size : slot->regs[arg_reg[spec->length_arg]];
				if (len == 0 || len > IN_SIZE - 3 * 4096 - used || copy_bytes(dst, (void *)addr, len).error)
					continue;
			}
			slot->prefetch[n].addr = addr;
			slot->prefetch[n].off = IN_OFFSET + used;
			slot->prefetch[n].len = (uint32_t)len;
			n++;
			used = (used + (uint32_t)len + 7) & ~7u;
		}
	}
	slot->nprefetch = n;
}

static void post(struct slot *slot, uint32_t event)
{
	slot->event = event;
	slot->cpu = this_cpu();
	__atomic_store_n(&slot->state, STATE_EVENT, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&slot->kernel_waiting, __ATOMIC_SEQ_CST))
		SYS3(__NR_futex, &slot->state, FUTEX_WAKE, 1);
	if (__atomic_load_n(&info->kernel_sleeping, __ATOMIC_SEQ_CST)) {
		uint64_t one = 1;
		SYS3(__NR_write, FD_DOORBELL, &one, 8);
	}
}

static void await(struct slot *slot)
{
	uint64_t end = rdtsc() + info->spin_cycles;
	while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != STATE_REPLY) {
		/* Spinning is of no use when the kernel is queued behind us on this very CPU. */
		if (rdtsc() < end && this_cpu() != __atomic_load_n(&info->kernel_cpu, __ATOMIC_RELAXED) && !__atomic_load_n(&slot->park, __ATOMIC_RELAXED)) {
			__asm__ volatile("pause");
			continue;
		}
		__atomic_store_n(&slot->stub_sleeping, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&slot->state, __ATOMIC_SEQ_CST) != STATE_REPLY)
			SYS4(__NR_futex, &slot->state, FUTEX_WAIT, STATE_EVENT, 0);
		__atomic_store_n(&slot->stub_sleeping, 0, __ATOMIC_SEQ_CST);
		break;
	}
	slot->park = 0;
}

static int64_t run(struct slot *slot, struct command *c, struct ucontext *uc)
{
	uint8_t *fp = uc->m.fpstate;
	long r;
	switch (c->op) {
	case OP_MMAP: {
		int fd = -1;
		if (c->a[4] == 1 && (r = receive(&fd, 1)) < 0)
			return r;
		r = SYS6(__NR_mmap, c->a[0], c->a[1], c->a[2], c->a[3], fd, c->a[5]);
		if (fd >= 0)
			SYS1(__NR_close, fd);
		return r;
	}
	case OP_MMAP_MANY: {
		int fd;
		const struct mapping *m = (const struct mapping *)((uint8_t *)slot + OUT_OFFSET);
		if ((r = receive(&fd, 1)) < 0)
			return r;
		for (uint64_t n = c->a[0]; n > 0 && n <= OUT_SIZE / sizeof *m && r >= 0; n--, m++)
			r = SYS6(__NR_mmap, m->addr, m->len, m->prot, m->flags, fd, m->offset);
		SYS1(__NR_close, fd);
		return r < 0 ? r : 0;
	}
	case OP_MUNMAP:
		return SYS2(__NR_munmap, c->a[0], c->a[1]);
	case OP_MPROTECT:
		return SYS3(__NR_mprotect, c->a[0], c->a[1], c->a[2]);
	case OP_MREMAP:
		return SYS6(__NR_mremap, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], 0);
	case OP_MADVISE:
		return SYS3(__NR_madvise, c->a[0], c->a[1], c->a[2]);
	case OP_MSYNC:
		return SYS3(__NR_msync, c->a[0], c->a[1], c->a[2]);
	case OP_MINCORE:
		return SYS3(__NR_mincore, c->a[0], c->a[1], (uint8_t *)slot + OUT_OFFSET);
	case OP_THREAD: {
		/* The new thread starts with our vector state, as after clone(2). */
		uint64_t child = PRIVATE_BASE + c->a[0] * PRIVATE_SIZE;
		if (c->a[0] >= SLOTS_MAX)
			return -EINVAL;
		memcpy((void *)(child + PRIVATE_FPINIT), fp, fp_size(fp));
		return clone_thread(THREAD_FLAGS, child + PRIVATE_SIZE - 64, slot_of(child));
	}
	case OP_FORK: {
		int fds[2];
		if ((r = receive(fds, 2)) < 0)
			return r;
		r = SYS4(__NR_clone, FORK_FLAGS, 0, 0, 0);
		if (r == 0) {
			/* Until the mailbox is ours we must not touch the slot: it is the parent's. */
			SYS6(__NR_mmap, MAILBOX_BASE, SLOTS_MAX * SLOT_SIZE, PROT_RW, MAP_SHARED_ | MAP_FIXED_, fds[0], 0);
			SYS3(__NR_dup3, fds[1], FD_SOCKET, 0x80000);
			SYS1(__NR_close, fds[0]);
			SYS1(__NR_close, fds[1]);
			return 0;
		}
		SYS1(__NR_close, fds[0]);
		SYS1(__NR_close, fds[1]);
		return r;
	}
	case OP_SAVE_FP:
		return copy_bytes((void *)c->a[0], fp, fp_size(fp)).error;
	case OP_LOAD_FP:
		return fp_load(fp, c->a[0]);
	case OP_RESET_FP:
		fp_reset(fp);
		return 0;
	case OP_FP_SIZE:
		return fp_size(fp);
	case OP_COPY_IN: {
		uint64_t len = c->a[1], off = c->a[2];
		if (off < OUT_OFFSET || off > SLOT_SIZE || len > SLOT_SIZE - off)
			return -EINVAL;
		struct pair p = copy_bytes((uint8_t *)slot + off, (void *)c->a[0], len);
		return p.error && p.value == len ? -EFAULT : (int64_t)(len - p.value);
	}
	case OP_STATE: {
		uint8_t *out = (uint8_t *)slot + OUT_OFFSET;
		uint64_t *bases = (uint64_t *)(out + STATE_BASES);
		memcpy(out, fp, fp_size(fp));
		if ((r = SYS2(__NR_arch_prctl, ARCH_GET_FS, &bases[0])) < 0 || (r = SYS2(__NR_arch_prctl, ARCH_GET_GS, &bases[1])) < 0)
			return r;
		return fp_size(fp);
	}
	case OP_SET_FS:
		return SYS2(__NR_arch_prctl, ARCH_SET_FS, c->a[0]);
	case OP_SET_GS:
		return SYS2(__NR_arch_prctl, ARCH_SET_GS, c->a[0]);
	case OP_GET_FS:
	case OP_GET_GS: {
		uint64_t value = 0;
		r = SYS2(__NR_arch_prctl, c->op == OP_GET_FS ? ARCH_GET_FS : ARCH_GET_GS, &value);
		return r < 0 ? r : (int64_t)value;
	}
	case OP_CAS: {
		struct pair p = guest_cas(c->a[0], (uint32_t)c->a[1], (uint32_t)c->a[2]);
		return p.error ? p.error : (int64_t)(uint32_t)p.value;
	}
	case OP_FETCH: {
		uint32_t operand = (uint32_t)c->a[2];
		if (c->a[1] <= 1) {
			struct pair p = c->a[1] == 0 ? guest_xchg(c->a[0], operand) : guest_add(c->a[0], operand);
			return p.error ? p.error : (int64_t)(uint32_t)p.value;
		}
		struct pair old = guest_load(c->a[0]);
		while (!old.error) {
			uint32_t now = (uint32_t)old.value;
			uint32_t next = c->a[1] == 2 ? now | operand : c->a[1] == 3 ? now & ~operand : now ^ operand;
			struct pair p = guest_cas(c->a[0], now, next);
			if (p.error || (uint32_t)p.value == now)
				return p.error ? p.error : (int64_t)now;
			old = p;
		}
		return old.error;
	}
	}
	return -EINVAL;
}

/* Tells the kernel, and does what it says, until guest code may go on. */
static void serve(struct slot *slot, struct ucontext *uc, uint32_t event)
{
	for (;;) {
		post(slot, event);
		await(slot);
		uint32_t reply = slot->reply;
		if (reply == REPLY_COMMAND) {
			event = EVENT_DONE;
			struct command *c = &slot->command;
			uint32_t op = c->op;
			int64_t r = run(slot, c, uc);
			if (op == OP_FORK && r == 0) {
				/* The child: same registers, new mailbox. */
				save_regs(slot, &uc->m);
				slot->nprefetch = 0;
				event = EVENT_STARTED;
			} else
				c->result = r;
			continue;
		}
		if (reply == REPLY_EXIT)
			exit_thread(&slot->state);
		int64_t result = slot->result;
		uint32_t nouts = slot->nouts;
		for (uint32_t i = 0; i < nouts && i < OUTS_MAX; i++) {
			uint32_t off = slot->outs[i].off, len = slot->outs[i].len;
			if (off < OUT_OFFSET || off > SLOT_SIZE || len > SLOT_SIZE - off)
				continue;
			if (copy_bytes((void *)slot->outs[i].addr, (uint8_t *)slot + off, len).error)
				result = -EFAULT;
		}
		if (reply == REPLY_RESULT)
			uc->m.rax = (uint64_t)result;
		else
			load_regs(&uc->m, slot);
		__atomic_store_n(&slot->state, STATE_RUNNING, __ATOMIC_RELEASE);
		return;
	}
}

__attribute__((used)) static void on_signal(int signo, struct siginfo *si, struct ucontext *uc)
{
	uint64_t rip = uc->m.rip;
	if ((signo == SIGNO_SEGV || signo == SIGNO_BUS) && rip >= (uint64_t)fault_begin && rip < (uint64_t)fault_end) {
		uc->m.rip = (uint64_t)fault_return;
		return;
	}
	uint64_t private = private_of(uc);
	struct slot *slot = slot_of(private);
	uint32_t event;
	save_regs(slot, &uc->m);
	slot->nprefetch = 0;
	slot->nouts = 0;
	if (signo == SIGNO_SYS) {
		uint32_t nr = (uint32_t)si->sys.syscall;
		if (nr == TRAP_STARTED && si->sys.call_addr >= (uint64_t)trap_started && si->sys.call_addr < (uint64_t)trap_started + 4096) {
			event = EVENT_STARTED;
			uc->sigmask = 0;
			const uint8_t *init = (const uint8_t *)(private + PRIVATE_FPINIT);
			if (*(const uint32_t *)(init + 464) == 0x46505853 && fp_size(init) == fp_size(uc->m.fpstate)) {
				memcpy(uc->m.fpstate, init, fp_size(init));
				*(uint32_t *)(init + 464) = 0;
			}
		} else {
			if (si->sys.arch != AUDIT_ARCH_X86_64)
				nr = (uint32_t)-1;
			slot->regs[15] = nr;
			event = EVENT_SYSCALL;
			prefetch(slot, nr);
		}
	} else if (signo == SIGNO_USR1) {
		event = EVENT_INTERRUPT;
	} else {
		event = EVENT_FAULT;
		slot->fault_signo = signo;
		slot->fault_code = si->code;
		slot->fault_addr = si->fault.addr;
		slot->fault_trapno = (uint32_t)uc->m.trapno;
		slot->fault_error = (uint32_t)uc->m.err;
	}
	serve(slot, uc, event);
}

static void set_altstack(uint64_t private)
{
	struct stack_desc ss = { private, 0, 0, PRIVATE_ALTSTACK };
	SYS2(__NR_sigaltstack, &ss, 0);
}

__attribute__((used, noreturn)) static void thread_main(struct slot *slot)
{
	uint64_t private = PRIVATE_BASE + ((uint64_t)slot - MAILBOX_BASE) / SLOT_SIZE * PRIVATE_SIZE;
	set_altstack(private);
	/*
	 * Threads start with the handler's mask of the thread that made them. The interrupt stays blocked until there is guest
	 * code to interrupt: one that came before would be taken for the start, and lost.
	 */
	uint64_t interrupt = 1ul << (SIGNO_USR1 - 1);
	SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &interrupt, 0, 8);
	trap_started();
	__builtin_unreachable();
}

#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define JEQ(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define JGE(k, t, f) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, t, f)
#define RET(k) BPF_STMT(BPF_RET | BPF_K, k)
#define PERMIT(k) JEQ(k, 0, 1), RET(SECCOMP_RET_ALLOW)
#define DATA(field) offsetof(struct seccomp_data, field)

extern char __executable_start[], stub_text_end[];
__asm__(".section .text.zz_end,\"ax\",@progbits\n.globl stub_text_end\nstub_text_end:\n.text\n");

static long install_filter(void)
{
	/* Every syscall instruction in here lies below .outside; ends of the range go in at run time. */
	/* The address that the filter sees is that after the instruction: a `syscall` that ends where we begin is the guest's. */
	uint32_t lo = (uint32_t)(uint64_t)__executable_start + 2, hi = (uint32_t)(uint64_t)stub_text_end;
	struct sock_filter filter[] = {
		LOAD(DATA(arch)),
		JEQ(AUDIT_ARCH_X86_64, 1, 0),
		RET(SECCOMP_RET_TRAP),
		LOAD(DATA(instruction_pointer) + 4),
		JEQ((uint32_t)(STUB_BASE >> 32), 1, 0),
		RET(SECCOMP_RET_TRAP),
		LOAD(DATA(instruction_pointer)),
		JGE(lo, 1, 0),
		RET(SECCOMP_RET_TRAP),
		JGE(hi, 0, 1),
		RET(SECCOMP_RET_TRAP),
		/* From here on: our own instructions. */
		LOAD(DATA(nr)),
		PERMIT(__NR_rt_sigreturn),
		PERMIT(__NR_futex),
		PERMIT(__NR_mmap),
		PERMIT(__NR_munmap),
		PERMIT(__NR_mprotect),
		PERMIT(__NR_mremap),
		PERMIT(__NR_madvise),
		PERMIT(__NR_msync),
		PERMIT(__NR_mincore),
		PERMIT(__NR_sigaltstack),
		PERMIT(__NR_rt_sigprocmask),
		PERMIT(__NR_exit),
		PERMIT(__NR_exit_group),
		/* close, dup3: the socket may be replaced, the doorbell is for ever what number FD_DOORBELL means */
		JEQ(__NR_close, 0, 4),
		LOAD(DATA(args[0])),
		JEQ(FD_DOORBELL, 1, 0),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		JEQ(__NR_dup3, 0, 4),
		LOAD(DATA(args[1])),
		JEQ(FD_SOCKET, 0, 1),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		/* arch_prctl: segment bases, nothing else of what it can */
		JEQ(__NR_arch_prctl, 0, 5),
		LOAD(DATA(args[0])),
		JGE(ARCH_SET_GS, 0, 2),
		JGE(ARCH_GET_GS + 1, 1, 0),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		/* write: only to the doorbell */
		JEQ(__NR_write, 0, 4),
		LOAD(DATA(args[0])),
		JEQ(FD_DOORBELL, 0, 1),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		/* recvmsg: only from our socket */
		JEQ(__NR_recvmsg, 0, 4),
		LOAD(DATA(args[0])),
		JEQ(FD_SOCKET, 0, 1),
		RET(SECCOMP_RET_ALLOW),
		RET(SECCOMP_RET_KILL_PROCESS),
		/* clone: a thread, or a fork whose parent is the sandbox */
		JEQ(__NR_clone, 0, 5),
		LOAD(DATA(args[0])),
		PERMIT((uint32_t)THREAD_FLAGS),
		PERMIT((uint32_t)FORK_FLAGS),
		RET(SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { sizeof filter / sizeof *filter, filter };
	long r = raw6(__NR_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0, 0);
	if (r < 0)
		return r;
	return SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
}

static uint64_t parse_hex(const char **p)
{
	uint64_t value = 0;
	for (;; (*p)++) {
		char c = **p;
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return value;
	}
}
/*
 * Moves the vDSO above the guest's range, to VDSO_BASE on every host, and its data pages with it (below it, mostly),
 * keeping their distances. Newer kernels put them among the other mappings, where execve would drop them. Says in `to`
 * where they are. Returns the vDSO's address, or 0 when it cannot be kept.
 */
static uint64_t move_vdso(uint64_t vdso, struct segment *to)
{
	char text[8192];
	struct range {
		uint64_t start, end;
	} found[8];
	int n = 0, has = 0;
	long fd = SYS4(__NR_openat, FD_PROC, "self/maps", 0x80000, 0);
	if (fd < 0)
		return 0;
	long have = 0, got;
	while (have < (long)sizeof text - 1 && (got = SYS3(__NR_read, fd, text + have, sizeof text - 1 - have)) > 0)
		have += got;
	SYS1(__NR_close, fd);
	text[have] = 0;
	for (const char *p = text; *p;) {
		struct range r;
		r.start = parse_hex(&p);
		p++;
		r.end = parse_hex(&p);
		int ours = 0;
		for (; *p && *p != '\n'; p++)
			if (p[0] == '[' && p[1] == 'v' && ((p[2] == 'v' && p[3] == 'a') || (p[2] == 'd' && p[3] == 's')))
				ours = 1;
		if (*p)
			p++;
		if (!ours)
			continue;
		if (n == 8)
			return 0;
		found[n++] = r;
		has |= r.start == vdso;
	}
	for (int i = 0; has && i < n; i++) {
		uint64_t size = found[i].end - found[i].start;
		to[i].addr = VDSO_BASE + (found[i].start - vdso);
		to[i].len = (uint32_t)size;
		if (SYS6(__NR_mremap, found[i].start, size, size, 3, to[i].addr, 0) < 0)
			return 0;
	}
	return has ? VDSO_BASE : 0;
}

/* Descriptors 3 to 7, limits, ids and capabilities have been prepared: see spawn_child in sandbox.c. */
__attribute__((used, noreturn)) static void stub_main(uint64_t *sp)
{
	uint64_t argc = sp[0];
	uint64_t *p = sp + 1 + argc + 1;
	while (*p++)
		;
	uint64_t vdso = 0;
	for (; p[0]; p += 2)
		if (p[0] == 33 /* AT_SYSINFO_EHDR */)
			vdso = p[1];
	long bad = 0;
	bad |= SYS6(__NR_mmap, INFO_BASE, INFO_SIZE, 1, MAP_SHARED_ | MAP_FIXED_, FD_INFO, 0) < 0;
	bad |= SYS6(__NR_mmap, MAILBOX_BASE, SLOTS_MAX * SLOT_SIZE, PROT_RW, MAP_SHARED_ | MAP_FIXED_, FD_MAILBOX, 0) < 0;
	bad |= SYS6(__NR_mmap, PRIVATE_BASE, SLOTS_MAX * PRIVATE_SIZE, PROT_RW, MAP_PRIVATE_ | MAP_ANON_ | MAP_NORESERVE_ | MAP_FIXED_, -1, 0) < 0;
	SYS1(__NR_close, FD_INFO);
	SYS1(__NR_close, FD_MAILBOX);
	struct sigaction_host sa = { on_signal, 0x4c000004 /* SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER */, restorer, ~(1ul << (SIGNO_SEGV - 1) | 1ul << (SIGNO_BUS - 1)) };
	static const int signals[] = { SIGNO_SYS, SIGNO_SEGV, SIGNO_BUS, SIGNO_FPE, SIGNO_ILL, SIGNO_TRAP, SIGNO_USR1 };
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		bad |= SYS4(__NR_rt_sigaction, signals[i], &sa, 0, 8) < 0;
	struct slot *slot = (struct slot *)MAILBOX_BASE;
	slot->result = (int64_t)(vdso ? move_vdso(vdso, slot->outs) : 0);
	SYS1(__NR_close, FD_PROC);
	bad |= install_filter() < 0;
	if (bad)
		SYS1(__NR_exit_group, 99);
	/* Leave the host's stack for the first slot's. */
	uint64_t top = PRIVATE_BASE + PRIVATE_SIZE - 64;
	__asm__ volatile("mov %0, %%rsp\n\tmov %1, %%rdi\n\tcall thread_main\n\tud2" ::"r"(top), "r"(slot) : "memory", "rdi");
	__builtin_unreachable();
}

__asm__(".text\n.globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall stub_main\n\tud2\n");
