/*
 * The stub of the ptrace platform: a static program of a few instructions whose process holds one guest address space.
 *
 * flags: -fPIC -Wl,-Ttext-segment=0x7fe000000000 -Wl,-z,noexecstack -Wl,-z,norelro -Wl,--build-id=none -Wl,-z,max-page-size=4096
 *
 * It waits until the tracer has taken hold of it, says by registers where its parts are, and stops for ever. From then on
 * the tracer makes it do things by pointing rip at one of the cells below: each (but the last) takes all it needs from registers, keeps
 * nothing on a stack, and ends in int3, which gives the thread back to the tracer. No other thread of the guest can
 * change what a cell does, since registers are out of its reach and the text cannot be remapped (it lies above what
 * guests may map). Where the stub of systrap must read commands from memory that its guest can write, this one need not.
 */
#include <stdint.h>

/* The int3 of a cell is its last byte: when it has run, rip is the next cell's start. */
#define CELL(name) ".balign 128, 0x90\n" name ":\n"
#define END(name) ".org " name " + 127, 0x90\n\tint3\n"
/* An atomic update by compare and exchange: rdi address, esi operand; eax becomes the old value. */
#define UPDATE(name, op)                                                                                              \
	CELL(name) "	mov (%rdi), %eax\n1:	mov %eax, %ecx\n	" op " %esi, %ecx\n	lock cmpxchg %ecx, (%rdi)\n	jne 1b\n" END(name)

__asm__(".text\n"
	".globl _start\n"
	"_start:\n"
	/* One byte says that we are traced. */
	"	xor %eax, %eax\n"
	"	mov $3, %edi\n"
	"	lea scratch(%rip), %rsi\n"
	"	mov $1, %edx\n"
	"	syscall\n"
	"	lea cells(%rip), %rbx\n"
	"	lea scratch(%rip), %rbp\n"
	"	int3\n"
	"	ud2\n"
	".balign 128\n"
	"cells:\n"
	/* 0: any system call */
	CELL("c_call")
	"	syscall\n"
	END("c_call")
	/*
	 * 1: mmap of a descriptor that waits in our socket (3), which becomes descriptor 0. rsi: message header; rbp, rbx,
	 * r12, r13, r14: address, length, protection, flags, offset.
	 */
	CELL("c_map")
	"	mov $3, %edi\n"
	"	movq $24, 40(%rsi)\n"
	"	mov $0x40000000, %edx\n"
	"	mov $47, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	js 1f\n"
	"	mov %rbp, %rdi\n"
	"	mov %rbx, %rsi\n"
	"	mov %r12, %rdx\n"
	"	mov %r13, %r10\n"
	"	xor %r8d, %r8d\n"
	"	mov %r14, %r9\n"
	"	mov $9, %eax\n"
	"	syscall\n"
	"	mov %rax, %rbx\n"
	"	xor %edi, %edi\n"
	"	mov $3, %eax\n"
	"	syscall\n"
	"	mov %rbx, %rax\n"
	"1:\n"
	END("c_map")
	/* 2: load */
	CELL("c_load")
	"	mov (%rdi), %eax\n"
	END("c_load")
	/* 3: compare with esi, exchange for edx */
	CELL("c_cas")
	"	mov %esi, %eax\n"
	"	lock cmpxchg %edx, (%rdi)\n"
	END("c_cas")
	/* 4..8: set, add, or, andn, xor, in the order of FUTEX_OP_* */
	CELL("c_set")
	"	mov %esi, %eax\n"
	"	xchg %eax, (%rdi)\n"
	END("c_set")
	CELL("c_add")
	"	mov %esi, %eax\n"
	"	lock xadd %eax, (%rdi)\n"
	END("c_add")
	UPDATE("c_or", "or")
	/* The operand comes inverted: x86 has no and-not for general registers. */
	UPDATE("c_andn", "and")
	UPDATE("c_xor", "xor")
	/* 9: handler of SIGSEGV and SIGBUS: the tracer takes what it wants from the signal frame */
	CELL("c_handler")
	END("c_handler")
	/* 10: what a handler returns to; none ever does */
	CELL("c_restorer")
	"	ud2\n"
	END("c_restorer")
	/*
	 * 11: many mappings of descriptor 0: rbp of them, in a list at rbx (address, length, protection, offset of each); r10: flags.
	 * What is in memory could be changed by another thread: only for a process that has none.
	 */
	CELL("c_map_many")
	"1:	mov (%rbx), %rdi\n"
	"	mov 8(%rbx), %rsi\n"
	"	mov 16(%rbx), %rdx\n"
	"	mov 24(%rbx), %r9\n"
	"	xor %r8d, %r8d\n"
	"	mov $9, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	js 2f\n"
	"	add $32, %rbx\n"
	"	dec %rbp\n"
	"	jnz 1b\n"
	"	xor %eax, %eax\n"
	"2:\n"
	END("c_map_many")
	".globl cells_end\n"
	"cells_end:\n");

/* Structures for system calls, answers of mincore, and the stack that SIGSEGV arrives on: see ptrace.ts. */
__attribute__((used, aligned(4096))) uint8_t scratch[131072];
