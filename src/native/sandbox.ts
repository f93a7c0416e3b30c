/** Creating the sandbox process and its jail, bound to src/native/sandbox.c, which documents each function. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  bt_launch: {
    args: [pointer, pointer, i32, pointer, i32, pointer, i32, i32, pointer, pointer, i32, pointer, pointer],
    returns: i32,
  },
  bt_catch_signals: { args: [i32], returns: i32 },
  bt_short_slices: { args: [f64], returns: i32 },
  bt_exit: { args: [i32], returns: i32 },
  jl_filter: { args: [pointer, i32, pointer, i32], returns: i32 },
  jl_helper: { args: [i32], returns: i32 },
  jl_helper_done: { args: [], returns: i32 },
  jl_open_tree: { args: [pointer, f64], returns: i32 },
  jl_make_root: { args: [], returns: i32 },
  jl_enter_root: { args: [pointer], returns: i32 },
  jl_stub_ids: { args: [f64, f64, i32], returns: i32 },
  sy_spawn: { args: [i32, i32, i32, i32, i32], returns: i32 },
  jl_set_dumpable: { args: [i32], returns: i32 },
  jl_open_netns: { args: [pointer], returns: i32 },
  op_start: { args: [i32, i32, pointer, pointer], returns: i32 },
  op_ready: { args: [i32], returns: i32 },
  op_tree: { args: [i32, pointer, f64], returns: i32 },
  op_for_use: { args: [i32, pointer, f64], returns: i32 },
  op_attributes: { args: [i32, i32, f64], returns: i32 },
});

export const launchProcess = symbols.bt_launch;
export const catchSignals = symbols.bt_catch_signals;
export const shortSlices = symbols.bt_short_slices;
export const exitProcess = symbols.bt_exit;
export const installFilter = symbols.jl_filter;
export const useHelper = symbols.jl_helper;
export const dismissHelper = symbols.jl_helper_done;
export const openTree = symbols.jl_open_tree;
export const makeRoot = symbols.jl_make_root;
export const enterRoot = symbols.jl_enter_root;
export const setStubIds = symbols.jl_stub_ids;
export const spawnStub = symbols.sy_spawn;
export const setDumpable = symbols.jl_set_dumpable;
export const openNetworkNamespace = symbols.jl_open_netns;
export const startOpener = symbols.op_start;
export const openerReady = symbols.op_ready;
export const openerTree = symbols.op_tree;
export const openerForUse = symbols.op_for_use;
export const openerAttributes = symbols.op_attributes;
