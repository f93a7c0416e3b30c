/** Looking into processes that stand still, and at the processor: bound to src/native/snapshot.c, which documents each function. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  sn_changed: { args: [i32, f64, f64, pointer, i32, pointer], returns: i32 },
  sn_without_scan: { args: [i32], returns: i32 },
  sn_read: { args: [i32, i32, f64, pointer, f64], returns: f64, sized: [3, 4] },
  sn_copy: { args: [i32, i32, f64, f64, i32, f64], returns: f64 },
  sn_cpuid: { args: [pointer], returns: i32 },
  sn_component: { args: [i32, pointer], returns: i32 },
});

/** Words that `cpuid` fills in. */
export const CPUID_WORDS = 19;

export const changedPages = symbols.sn_changed;
export const withoutScan = symbols.sn_without_scan;
export const readMemory = symbols.sn_read;
export const copyMemory = symbols.sn_copy;
export const cpuid = symbols.sn_cpuid;
export const xsaveComponent = symbols.sn_component;
