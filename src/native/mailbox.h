/*
 * The mailbox: what a stub thread and the kernel share, and the fixed addresses in a stub's address space.
 *
 * The TypeScript side of this layout is src/platform/systrap/mailbox.ts; change both together (the offsets are asserted
 * here). Everything in a slot is written by a guest that may be hostile: the kernel checks each word that it reads.
 */
#ifndef RUNTS_MAILBOX_H
#define RUNTS_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

/* Stub address space. Guests map below GUEST_END; the host puts its stack and vDSO above 0x7ff000000000. */
#define GUEST_END 0x7fe000000000ul
#define STUB_BASE 0x7fe000000000ul
#define INFO_BASE 0x7fe010000000ul
/* The host's vDSO is moved here, out of the guest's range: see src/platform/vdso.ts. */
#define VDSO_BASE 0x7fe020000000ul
#define PRIVATE_BASE 0x7fe100000000ul
#define MAILBOX_BASE 0x7fe200000000ul

/* Guest threads per address space. */
#define SLOTS_MAX 4096
#define SLOT_SIZE 131072ul
#define PRIVATE_SIZE 65536ul
/* Inside a slot. */
#define IN_OFFSET 4096u
#define IN_SIZE 61440u
#define OUT_OFFSET 65536u
#define OUT_SIZE 65536u
/* Inside a thread's private area: signal stack, initial vector state, first stack. */
#define PRIVATE_ALTSTACK 45056u
#define PRIVATE_FPINIT 45056u
#define PRIVATE_FPINIT_SIZE 16384u

/* Descriptors of a stub. */
#define FD_SOCKET 3
#define FD_DOORBELL 4
#define FD_MAILBOX 5
#define FD_INFO 6
/* Of the caller; closed when the stub has found its vDSO. */
#define FD_PROC 7

/* slot.state: who may touch the slot. */
enum { STATE_RUNNING = 0, STATE_EVENT = 1, STATE_REPLY = 2, STATE_EXITED = 3 };
/* slot.event */
enum { EVENT_SYSCALL = 1, EVENT_FAULT = 2, EVENT_INTERRUPT = 3, EVENT_STARTED = 4, EVENT_DONE = 6 };
/* slot.reply */
enum { REPLY_RESULT = 1, REPLY_REGS = 2, REPLY_COMMAND = 3, REPLY_EXIT = 4 };
/* command.op */
enum {
	OP_MMAP = 1,      /* addr, len, prot, flags, 1: receive the descriptor, offset */
	OP_MUNMAP = 2,    /* addr, len */
	OP_MPROTECT = 3,  /* addr, len, prot */
	OP_MREMAP = 4,    /* old, oldlen, newlen, flags, new */
	OP_MADVISE = 5,   /* addr, len, advice */
	OP_MSYNC = 6,     /* addr, len, flags */
	OP_MINCORE = 7,   /* addr, len: result bytes go to the out area */
	OP_THREAD = 8,    /* slot of the new thread */
	OP_FORK = 9,      /* receives mailbox and socket of the child */
	OP_SAVE_FP = 10,  /* addr */
	OP_LOAD_FP = 11,  /* addr */
	OP_RESET_FP = 12,
	OP_SET_FS = 13,   /* value */
	OP_SET_GS = 14,
	OP_GET_FS = 15,
	OP_GET_GS = 16,
	OP_CAS = 18,      /* addr, expected, desired */
	OP_FETCH = 19,    /* addr, FUTEX_OP_*, operand */
	OP_FP_SIZE = 20,  /* bytes that OP_SAVE_FP writes */
	OP_COPY_IN = 21,  /* addr, len, offset in the slot: bytes copied */
	OP_MMAP_MANY = 22, /* how many struct mapping lie in the out area; receives the descriptor: 0 */
	OP_STATE = 23,    /* floating-point state goes to the out area, segment bases to STATE_BASES in it: bytes of the former */
};

/* Behind all that OP_STATE writes of floating-point state. */
#define STATE_BASES 16384u

#define PREFETCH_MAX 4
#define OUTS_MAX 16

struct segment {
	uint64_t addr;
	uint32_t off; /* in the slot */
	uint32_t len;
};

struct command {
	uint32_t op;
	uint32_t pad;
	uint64_t a[6];
	int64_t result;
};

struct mapping {
	uint64_t addr, len, offset;
	uint32_t prot, flags;
};

struct slot {
	uint32_t state;
	uint32_t stub_sleeping;
	uint32_t kernel_waiting;
	uint32_t park; /* the call blocks: do not spin for the reply */
	uint32_t event;
	uint32_t reply;
	uint32_t nprefetch;
	uint32_t nouts;
	int32_t fault_signo;
	int32_t fault_code;
	uint64_t fault_addr;
	uint32_t fault_trapno;
	uint32_t fault_error;
	uint64_t pad;
	int64_t result;
	uint64_t pad1;
	uint64_t regs[27];
	uint32_t cpu; /* where the thread ran when it posted */
	uint32_t pad2;
	struct segment prefetch[PREFETCH_MAX];
	struct segment outs[OUTS_MAX];
	uint64_t pad3[2];
	struct command command;
};
_Static_assert(offsetof(struct slot, fault_signo) == 32, "layout");
_Static_assert(offsetof(struct slot, fault_error) == 52, "layout");
_Static_assert(offsetof(struct slot, result) == 64, "layout");
_Static_assert(offsetof(struct slot, regs) == 80, "layout");
_Static_assert(offsetof(struct slot, prefetch) == 304, "layout");
_Static_assert(offsetof(struct slot, outs) == 368, "layout");
_Static_assert(offsetof(struct slot, command) == 640, "layout");
_Static_assert(sizeof(struct slot) <= IN_OFFSET, "layout");
_Static_assert(sizeof(struct mapping) == 32, "layout");

/* What the kernel tells all stubs; they map it read-only from a read-only descriptor. */
struct prefetch_spec {
	uint8_t kind; /* 0 none, 1 string, 2 fixed, 3 length in another argument */
	uint8_t arg;
	uint8_t length_arg;
	uint8_t pad;
	uint32_t size;
};
#define SYSCALLS_MAX 512
struct info {
	uint32_t kernel_sleeping;
	uint32_t spin_cycles; /* how long a stub looks for its reply */
	uint32_t kernel_cpu; /* where the kernel last ran */
	uint32_t pad[1021];
	struct prefetch_spec prefetch[SYSCALLS_MAX][3];
};
#define INFO_SIZE 16384u
_Static_assert(sizeof(struct info) == INFO_SIZE, "layout");

#endif
