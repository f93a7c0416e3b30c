/**
 * Layout of the mailbox between a stub thread and the kernel; the TypeScript side of src/native/mailbox.h.
 *
 * Offsets are in 32-bit words of a slot unless said otherwise.
 */
export const SLOT_SIZE = 131072;
export const SLOTS_MAX = 4096;
export const IN_OFFSET = 4096;
export const OUT_OFFSET = 65536;
export const OUT_SIZE = 65536;
export const INFO_SIZE = 16384;
export const GUEST_END = 0x7fe000000000;
/** Where every stub has its mailbox. */
export const MAILBOX_BASE = 0x7fe200000000;

export const W_STATE = 0;
export const W_STUB_SLEEPING = 1;
export const W_PARK = 3;
export const W_EVENT = 4;
export const W_REPLY = 5;
export const W_NPREFETCH = 6;
export const W_NOUTS = 7;
export const W_FAULT_SIGNO = 8;
export const W_FAULT_CODE = 9;
export const W_FAULT_ADDR = 10;
export const W_FAULT_TRAPNO = 12;
export const W_FAULT_ERROR = 13;
export const W_RESULT = 16;
export const W_REGS = 20;
/** Words of registers that a stub fills in: to ss. */
export const REGS_USED = 42;
export const W_PREFETCH = 76;
export const W_OUTS = 92;
export const W_COMMAND = 160;
/** Words per segment. */
export const SEGMENT_WORDS = 4;
export const PREFETCH_MAX = 4;
export const OUTS_MAX = 16;

export const STATE_RUNNING = 0;
export const STATE_EVENT = 1;
export const STATE_REPLY = 2;
export const STATE_EXITED = 3;

export const REPLY_RESULT = 1;
export const REPLY_REGS = 2;
export const REPLY_COMMAND = 3;
export const REPLY_EXIT = 4;

export const OP_MMAP = 1;
export const OP_MUNMAP = 2;
export const OP_MPROTECT = 3;
export const OP_MREMAP = 4;
export const OP_MADVISE = 5;
export const OP_MSYNC = 6;
export const OP_MINCORE = 7;
export const OP_THREAD = 8;
export const OP_FORK = 9;
export const OP_SAVE_FP = 10;
export const OP_LOAD_FP = 11;
export const OP_RESET_FP = 12;
export const OP_SET_FS = 13;
export const OP_SET_GS = 14;
export const OP_GET_FS = 15;
export const OP_GET_GS = 16;
export const OP_CAS = 18;
export const OP_FETCH = 19;
export const OP_FP_SIZE = 20;
export const OP_COPY_IN = 21;
export const OP_MMAP_MANY = 22;
export const OP_STATE = 23;
/** Where in the out area OP_STATE leaves the segment bases. */
export const STATE_BASES = 16384;

/** Bytes of one mapping in the out area, for OP_MMAP_MANY: address, length, offset, then protection and flags. */
export const MAPPING_SIZE = 32;

/** Byte offset of the prefetch table in the info page, and bytes per spec (three specs per call). */
export const INFO_PREFETCH = 4096;
export const SPEC_SIZE = 8;
