/**
 * seccomp: filters that a guest puts on its own system calls, as classic BPF programs over struct seccomp_data.
 *
 * Source: seccomp(2), Linux Documentation/networking/filter (classic BPF). Programs are checked before they are
 * accepted: every jump goes forward and stays inside, every load is inside the 64 bytes, the last word returns; so each
 * run ends. Invariant: filters are only ever added; a task's chain is shared by fork and never changes.
 * Gaps: SECCOMP_RET_USER_NOTIF and _TRACE have nobody to ask and give ENOSYS, as Linux does without a tracer.
 */

import { REG } from "../../platform/platform.ts";
import { EINVAL, ENOSYS } from "../abi/errno.ts";
import { forceSignal } from "../signal/deliver.ts";
import { setReg } from "../signal/frame.ts";
import { SIGKILL, SIGSYS } from "../signal/numbers.ts";
import { persistent } from "../state/registry.ts";
import { exitGroup, exitTask } from "./exit.ts";
import type { Task } from "./task.ts";

export const BPF_MAXINSNS = 4096;
/** Instructions in all filters of a task, with four more for each filter. */
const MAX_INSNS_PER_PATH = 32768;

export const SECCOMP_MODE_STRICT = 1;
export const SECCOMP_MODE_FILTER = 2;

const RET_KILL_PROCESS = 0x80000000;
const RET_KILL_THREAD = 0;
const RET_TRAP = 0x00030000;
const RET_ERRNO = 0x00050000;
const RET_USER_NOTIF = 0x7fc00000;
const RET_TRACE = 0x7ff00000;
export const RET_LOG = 0x7ffc0000;
export const RET_ALLOW = 0x7fff0000;
const RET_ACTION = 0xffff0000;
const RET_DATA = 0xffff;
export const RET_ACTIONS = [
  RET_KILL_PROCESS,
  RET_KILL_THREAD,
  RET_TRAP,
  RET_ERRNO,
  RET_TRACE,
  RET_LOG,
  RET_ALLOW,
] as const;

const AUDIT_ARCH_X86_64 = 0xc000003e;
/** System call numbers below this have their answers remembered. */
const CALLS = 512;
const SYS_SECCOMP = 1;
const DATA_SIZE = 64;

const nothingKnown = (): Float64Array => new Float64Array(CALLS).fill(-1);

/** One program, and what was installed before it. */
export class SeccompFilter {
  /** Instructions in this filter and those before it. */
  readonly cost: number;
  /** How many filters: this one and those before it. */
  readonly depth: number;
  constructor(
    /** Four words each: code, jt, jf, k. */
    readonly program: Uint32Array,
    readonly previous: SeccompFilter | null,
  ) {
    this.cost = program.length / 4 + 4 + (previous?.cost ?? 0);
    this.depth = 1 + (previous?.depth ?? 0);
  }
  /** Answers that depend on nothing but the call's number, -1 where not known: most calls never run the program twice. */
  private readonly known = nothingKnown();

  answer(data: Uint32Array): number {
    const nr = data[0]!;
    const known = nr < CALLS ? this.known[nr]! : -1;
    if (known >= 0) return known;
    lookedAtArguments = false;
    const answer = runProgram(this.program, data) >>> 0;
    if (!lookedAtArguments && nr < CALLS) this.known[nr] = answer;
    return answer;
  }

  get tooLong(): boolean {
    return this.cost > MAX_INSNS_PER_PATH;
  }
}

/** What a task has: SECCOMP_MODE_STRICT, or a chain of filters. */
export interface Seccomp {
  mode: number;
  filter: SeccompFilter | null;
}

const LD = 0;
const LDX = 1;
const ST = 2;
const STX = 3;
const ALU = 4;
const JMP = 5;
const RET = 6;
const MISC = 7;
const X = 8;
const MEM = 0x60;
const W_ABS = 0x20;
const W_LEN = 0x80;
const NEG = 0x80;

/** Is the program one that the kernel would run? */
export function checkProgram(program: Uint32Array): boolean {
  const count = program.length / 4;
  if (count === 0 || count > BPF_MAXINSNS) return false;
  for (let pc = 0; pc < count; pc++) {
    const code = program[4 * pc]!;
    const k = program[4 * pc + 3]!;
    const rest = count - pc - 1;
    switch (code & 7) {
      case LD:
        if (code === (LD | W_ABS) && k % 4 === 0 && k < DATA_SIZE) break;
        if (code === (LD | W_LEN) || code === LD) break;
        if (code === (LD | MEM) && k < 16) break;
        return false;
      case LDX:
        if (code === (LDX | W_LEN) || code === LDX || (code === (LDX | MEM) && k < 16)) break;
        return false;
      case ST:
      case STX:
        if ((code !== ST && code !== STX) || k >= 16) return false;
        break;
      case ALU: {
        const op = code & 0xf0;
        if (op > 0xa0 || code & ~0xff) return false;
        if (op === NEG && code & X) return false;
        const constant = (code & X) === 0;
        if (constant && (op === 0x30 || op === 0x90) && k === 0) return false;
        if (constant && (op === 0x60 || op === 0x70) && k >= 32) return false;
        // Linux' seccomp has no modulo.
        if (op === 0x90) return false;
        break;
      }
      case JMP: {
        const op = code & 0xf0;
        if (op > 0x40 || code & ~0xff) return false;
        if (op === 0) {
          if (code & X || k >= rest) return false;
        } else if (program[4 * pc + 1]! >= rest || program[4 * pc + 2]! >= rest) return false;
        break;
      }
      case RET:
        if (code !== RET && code !== (RET | 0x10)) return false;
        break;
      case MISC:
        if (code !== MISC && code !== (MISC | 0x80)) return false;
        break;
    }
  }
  return (program[4 * (count - 1)]! & 7) === RET && storesBeforeLoads(program);
}

/** No scratch word may be read before it has been written, on any path. */
function storesBeforeLoads(program: Uint32Array): boolean {
  const count = program.length / 4;
  const valid = new Uint16Array(count + 1).fill(0xffff);
  let known = 0;
  for (let pc = 0; pc < count; pc++) {
    const code = program[4 * pc]!;
    const k = program[4 * pc + 3]!;
    known &= valid[pc]!;
    if (code === ST || code === STX) known |= 1 << k;
    else if (code === (LD | MEM) || code === (LDX | MEM)) {
      if ((known & (1 << k)) === 0) return false;
    } else if ((code & 7) === JMP) {
      if ((code & 0xf0) === 0) valid[pc + 1 + k]! &= known;
      else {
        valid[pc + 1 + program[4 * pc + 1]!]! &= known;
        valid[pc + 1 + program[4 * pc + 2]!]! &= known;
      }
      known = 0xffff;
    } else if ((code & 7) === RET) known = 0xffff;
  }
  return true;
}

const scratch = new Uint32Array(16);
/** In struct seccomp_data: behind the number and the architecture, which do not change from call to call. */
const FIRST_VARIABLE_OFFSET = 8;
/** The last program run has read more than those two. */
let lookedAtArguments = false;

/** Runs a checked program over the 16 words of struct seccomp_data. */
export function runProgram(program: Uint32Array, data: Uint32Array): number {
  let a = 0;
  let x = 0;
  for (let at = 0; ; at += 4) {
    const code = program[at]!;
    const k = program[at + 3]!;
    const operand = code & X ? x : k;
    switch (code & 7) {
      case LD:
        if (code === (LD | W_ABS) && k >= FIRST_VARIABLE_OFFSET) lookedAtArguments = true;
        a = code & W_LEN ? DATA_SIZE : code === (LD | W_ABS) ? data[k >> 2]! : code === (LD | MEM) ? scratch[k]! : k;
        break;
      case LDX:
        x = code & W_LEN ? DATA_SIZE : code === (LDX | MEM) ? scratch[k]! : k;
        break;
      case ST:
        scratch[k] = a;
        break;
      case STX:
        scratch[k] = x;
        break;
      case ALU:
        if ((code & 0xf0) === 0x30 && operand === 0) return RET_KILL_THREAD;
        a = compute(code & 0xf0, a, operand) >>> 0;
        break;
      case JMP: {
        const op = code & 0xf0;
        if (op === 0) {
          at += 4 * k;
          break;
        }
        const yes =
          op === 0x10 ? a === operand : op === 0x20 ? a > operand : op === 0x30 ? a >= operand : (a & operand) !== 0;
        at += 4 * program[at + (yes ? 1 : 2)]!;
        break;
      }
      case RET:
        return code & 0x10 ? a : k;
      case MISC:
        if (code & 0x80) a = x;
        else x = a;
        break;
    }
  }
}

function compute(op: number, a: number, b: number): number {
  switch (op) {
    case 0x00:
      return a + b;
    case 0x10:
      return a - b;
    case 0x20:
      return Math.imul(a, b);
    case 0x30:
      return Math.floor(a / b);
    case 0x40:
      return a | b;
    case 0x50:
      return a & b;
    case 0x60:
      return b >= 32 ? 0 : a << b;
    case 0x70:
      return b >= 32 ? 0 : a >>> b;
    case NEG:
      return -a;
    default:
      return a ^ b;
  }
}

const data = new Uint32Array(16);
const ARGUMENTS = [REG.rdi, REG.rsi, REG.rdx, REG.r10, REG.r8, REG.r9];
/** What strict mode allows: read, write, exit, rt_sigreturn. */
const STRICT = [0, 1, 60, 15];

/**
 * Asks the task's filters about the call that it is making. True: go on. A number: its result. False: the call does not
 * happen, and a signal or the end of the task is on its way.
 */
export function checkCall(task: Task, seccomp: Seccomp): boolean | number {
  if (seccomp.mode === SECCOMP_MODE_STRICT) {
    if (STRICT.includes(task.syscallNr)) return true;
    exitGroup(task, SIGKILL);
    return false;
  }
  const { regs } = task.ctx!;
  data[0] = task.syscallNr;
  data[1] = AUDIT_ARCH_X86_64;
  data[2] = regs[REG.rip * 2]!;
  data[3] = regs[REG.rip * 2 + 1]!;
  for (let i = 0; i < 6; i++) {
    data[4 + 2 * i] = regs[ARGUMENTS[i]! * 2]!;
    data[5 + 2 * i] = regs[ARGUMENTS[i]! * 2 + 1]!;
  }
  // The newest filter is asked first; the strictest answer counts, of equals the newest.
  let verdict = RET_ALLOW;
  for (let filter = seccomp.filter; filter !== null; filter = filter.previous) {
    const answer = filter.answer(data);
    if ((answer & RET_ACTION) < (verdict & RET_ACTION)) verdict = answer;
  }
  switch ((verdict & RET_ACTION) >>> 0) {
    case RET_ALLOW:
    case RET_LOG:
      return true;
    case RET_ERRNO:
      return -Math.min(verdict & RET_DATA, 4095);
    case RET_TRAP:
      // The handler finds the call's number where its result would be.
      setReg(regs, REG.rax, task.syscallNr);
      forceSignal(task, {
        signo: SIGSYS,
        errno: verdict & RET_DATA,
        code: SYS_SECCOMP,
        callAddr: regs[REG.rip * 2]! + regs[REG.rip * 2 + 1]! * 4294967296,
        syscall: task.syscallNr,
        arch: AUDIT_ARCH_X86_64,
      });
      return false;
    case RET_USER_NOTIF:
    case RET_TRACE:
      return -ENOSYS;
    case RET_KILL_THREAD:
      // Of a single thread, Linux makes a whole process.
      if (task.process.tasks.length > 1) exitTask(task, SIGSYS);
      else exitGroup(task, SIGSYS);
      return false;
    default:
      exitGroup(task, SIGSYS);
      return false;
  }
}

/** Reads a struct sock_filter array: code u16, jt u8, jf u8, k u32. */
export function decodeProgram(bytes: Uint8Array): Uint32Array | number {
  const count = bytes.length / 8;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const program = new Uint32Array(count * 4);
  for (let i = 0; i < count; i++) {
    program[4 * i] = view.getUint16(8 * i, true);
    program[4 * i + 1] = bytes[8 * i + 2]!;
    program[4 * i + 2] = bytes[8 * i + 3]!;
    program[4 * i + 3] = view.getUint32(8 * i + 4, true);
  }
  return checkProgram(program) ? program : -EINVAL;
}

persistent("seccomp-filter", SeccompFilter, {
  transient: { known: nothingKnown },
  // A program that nobody has checked would run on behind its end, and a chain that leads into itself for ever.
  reopen({ program, previous, cost, depth }) {
    const counted = program.length / 4 + 4 + (previous?.cost ?? 0) === cost && 1 + (previous?.depth ?? 0) === depth;
    if (program.length % 4 !== 0 || !checkProgram(program) || !counted) throw new Error("is no filter that can be run");
  },
});
