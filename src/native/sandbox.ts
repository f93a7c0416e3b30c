/** Creating the sandbox process and its jail, bound to src/native/sandbox.c, which documents each function. */
import { bind, f64, i32, pointer } from "./library.ts";

const symbols = bind({
  bt_launch: {
    args: [pointer, pointer, i32, pointer, i32, pointer, i32, i32, pointer, pointer, i32, i32, i32, i32],
    returns: i32,
  },
  bt_catch_signals: { args: [i32], returns: i32 },
  bt_short_slices: { args: [f64], returns: i32 },
  bt_exit: { args: [i32], returns: i32 },
  jl_filter: { args: [pointer, i32], returns: i32 },
  jl_private_mounts: { args: [], returns: i32 },
  jl_open_tree: { args: [pointer, f64], returns: i32 },
  jl_set_mount_attributes: { args: [i32, f64], returns: i32 },
  jl_empty_root: { args: [pointer], returns: i32 },
  jl_drop_capabilities: { args: [f64, f64], returns: i32 },
  jl_set_dumpable: { args: [i32], returns: i32 },
  jl_open_netns: { args: [pointer], returns: i32 },
});

export const launchProcess = symbols.bt_launch;
export const catchSignals = symbols.bt_catch_signals;
export const shortSlices = symbols.bt_short_slices;
export const exitProcess = symbols.bt_exit;
export const installFilter = symbols.jl_filter;
export const privateMounts = symbols.jl_private_mounts;
export const openTree = symbols.jl_open_tree;
export const setMountAttributes = symbols.jl_set_mount_attributes;
export const emptyRoot = symbols.jl_empty_root;
export const dropCapabilities = symbols.jl_drop_capabilities;
export const setDumpable = symbols.jl_set_dumpable;
export const openNetworkNamespace = symbols.jl_open_netns;
