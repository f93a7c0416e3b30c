/** Where things are in a stub process (src/native/ptrace.stub.c), and how its threads and forks are made: see clone(2). */

/** One past the highest address that guests may map: the stub lies there (see its link flags). */
export const GUEST_END = 0x7fe000000000;
export const MAX_HOST_ADDRESS = 0x7ffffffff000;
/** Cells of the stub. */
export const CELL_LOAD = 2;
export const CELL_CAS = 3;
export const CELL_FETCH = 4;
export const CELL_HANDLER = 9;
export const CELL_RESTORER = 10;
export const CELL_SIZE = 128;

/** The stub's scratch area: structures for system calls, mincore's answer, the signal stack. */
export const SCRATCH_MESSAGE = 0;
export const SCRATCH_IOVEC = 64;
export const SCRATCH_BYTE = 80;
export const SCRATCH_CONTROL = 96;
export const SCRATCH_ALTSTACK = 128;
export const SCRATCH_SETUP = 1024;
export const SCRATCH_MINCORE = 8192;
export const MINCORE_MAX = 32768;
/** Mappings of a list, in the same place: 32 bytes each. */
export const MAPPINGS_MAX = MINCORE_MAX / 32;
export const SCRATCH_STACK = 65536;
export const STACK_SIZE = 65536;

const SIGCHLD = 17;
/** CLONE_PTRACE: traced from birth, without an extra stop of the parent. */
const CLONE_PTRACE = 0x2000;
/** VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. */
export const THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | CLONE_PTRACE;
/** CLONE_PARENT: we are the parent of every stub process. */
export const FORK_FLAGS = 0x8000 | CLONE_PTRACE | SIGCHLD;
