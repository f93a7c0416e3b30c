/** What commands need for the network outside, bound to src/native/network.c, which documents each function. */
import { bind, i32, pointer } from "./library.ts";

const symbols = bind({
  nw_start_broker: { args: [i32, i32, i32, i32, pointer, pointer, i32, pointer], returns: i32 },
  nw_listen: { args: [pointer, i32, pointer], returns: i32 },
  nw_accept: { args: [i32, i32], returns: i32 },
});

export const startBrokerProcess = symbols.nw_start_broker;
export const listenTcp = symbols.nw_listen;
export const acceptAll = symbols.nw_accept;
