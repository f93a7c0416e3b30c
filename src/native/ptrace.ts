/** The kernel's side of the ptrace platform in C, bound to src/native/ptrace.c, which documents each function. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  pt_seize: { args: [i32], returns: i32 },
  pt_ready: { args: [i32, pointer], returns: i32 },
  pt_newborn: { args: [i32], returns: i32 },
  pt_call: { args: [i32, pointer], returns: f64 },
  pt_map: { args: [i32, pointer], returns: f64 },
  pt_map_many: { args: [i32, pointer, i32, i32, f64, f64, i32], returns: f64 },
  pt_atomic: { args: [i32, i32, f64, f64, f64], returns: f64 },
  pt_getregs: { args: [i32, pointer], returns: i32 },
  pt_resume: { args: [i32, pointer], returns: i32 },
  pt_result: { args: [i32, f64], returns: i32 },
  pt_go: { args: [i32], returns: i32 },
  pt_step: { args: [i32, pointer], returns: i32 },
  pt_interrupt: { args: [i32], returns: i32 },
  pt_check: { args: [i32], returns: i32 },
  pt_exit: { args: [i32], returns: i32 },
  pt_continue: { args: [i32], returns: i32 },
  pt_siginfo: { args: [i32, pointer], returns: i32 },
  pt_trap: { args: [i32, i32, pointer], returns: i32 },
  pt_fp_size: { args: [i32], returns: i32 },
  pt_fp_save: { args: [i32, f64], returns: i32 },
  pt_fp_load: { args: [i32, f64], returns: i32 },
  pt_fp_get: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  pt_fp_put: { args: [i32, pointer, i32], returns: i32, sized: [1, 2] },
  pt_fp_reset: { args: [i32], returns: i32 },
  pt_write_filter: { args: [i32, f64, i32, i32], returns: i32 },
  pt_cpus: { args: [], returns: i32 },
  pt_cpu: { args: [], returns: i32 },
  pt_pin: { args: [i32, i32], returns: i32 },
  pt_watch: { args: [i32], returns: i32 },
  pt_wait: { args: [pointer, i32, f64], returns: i32 },
});

/** No errno: the thread was gone when it should have answered. */
export const LOST = -100000;

export const seize = symbols.pt_seize;
export const waitReady = symbols.pt_ready;
export const waitNewborn = symbols.pt_newborn;
export const callIn = symbols.pt_call;
export const mapIn = symbols.pt_map;
export const mapManyIn = symbols.pt_map_many;
export const atomicIn = symbols.pt_atomic;
export const getRegs = symbols.pt_getregs;
export const resumeWith = symbols.pt_resume;
export const resumeResult = symbols.pt_result;
export const resumePlain = symbols.pt_go;
export const stepThread = symbols.pt_step;
export const interruptThread = symbols.pt_interrupt;
export const checkEmulation = symbols.pt_check;
export const exitThread = symbols.pt_exit;
export const continueThread = symbols.pt_continue;
export const signalInfo = symbols.pt_siginfo;
export const trapInfo = symbols.pt_trap;
export const fpSize = symbols.pt_fp_size;
export const fpSave = symbols.pt_fp_save;
export const fpLoad = symbols.pt_fp_load;
export const fpGet = symbols.pt_fp_get;
export const fpPut = symbols.pt_fp_put;
export const fpReset = symbols.pt_fp_reset;
export const writeFilter = symbols.pt_write_filter;
export const usableCpus = symbols.pt_cpus;
export const currentCpu = symbols.pt_cpu;
export const pinThread = symbols.pt_pin;
export const watchTracees = symbols.pt_watch;
export const waitForTracee = symbols.pt_wait;
