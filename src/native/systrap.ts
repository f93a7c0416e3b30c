/** The kernel's side of the systrap platform in C, bound to src/native/systrap.c, which documents each function. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  sy_windows: { args: [i32], returns: f64 },
  sy_window_open: { args: [pointer, i32, i32], returns: i32 },
  sy_window_close: { args: [pointer], returns: i32 },
  sy_wait: { args: [pointer, pointer, i32, i32, pointer, i32, i32, f64], returns: i32, ours: true },
  sy_sync: { args: [pointer, i32, f64], returns: i32, ours: true },
  sy_wake: { args: [pointer], returns: i32, ours: true },
  sy_tgkill: { args: [i32, i32, i32], returns: i32 },
  sy_adopt: { args: [i32, i32], returns: i32 },
  sy_reap: { args: [pointer], returns: i32 },
  sy_watch_children: { args: [i32], returns: i32 },
  sy_children_pending: { args: [], returns: i32, ours: true },
});

export const reserveWindows = symbols.sy_windows;
export const openWindow = symbols.sy_window_open;
export const closeWindow = symbols.sy_window_close;
export const waitForStub = symbols.sy_wait;
export const waitForCommands = symbols.sy_sync;
export const wakeStub = symbols.sy_wake;
export const signalThread = symbols.sy_tgkill;
export const adoptChild = symbols.sy_adopt;
export const reapChild = symbols.sy_reap;
export const watchChildren = symbols.sy_watch_children;
export const childrenPending = symbols.sy_children_pending;
