/** The host half's native calls: core/host-calls.ts, over src/native/command.c and host.c. */
import type { HostCalls } from "../core/host-calls.ts";
import { closeFd, flock, killProcess, sendmsg, unixConnect, unixSocket, waitChild } from "./host.ts";
import { bind, i32, pointer } from "./library.ts";

const symbols = bind({
  cm_openpty: { args: [pointer], returns: i32 },
  cm_set_winsize: { args: [i32, i32, i32], returns: i32 },
  cm_get_winsize: { args: [i32, pointer], returns: i32 },
  cm_make_raw: { args: [i32, pointer], returns: i32 },
  cm_restore_terminal: { args: [i32, pointer], returns: i32 },
  cm_spawn_in: { args: [i32, i32, pointer, pointer, i32, pointer, i32, i32, i32], returns: i32 },
});

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const SOCK_STREAM = 1;
const WNOHANG = 1;

/** NUL-terminated strings in a row. */
function strings(list: readonly string[]): Uint8Array {
  return Buffer.from(list.length === 0 ? "\0" : list.map((s) => `${s}\0`).join(""));
}

export const hostCalls: HostCalls = {
  flock: (fd, shared) => flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB),
  openpty: (out) => symbols.cm_openpty(out),
  setWindowSize: (fd, rows, columns) => symbols.cm_set_winsize(fd, rows, columns),
  getWindowSize: (fd, out) => symbols.cm_get_winsize(fd, out),
  makeRaw: (fd, saved) => symbols.cm_make_raw(fd, saved),
  restoreTerminal: (fd, saved) => symbols.cm_restore_terminal(fd, saved),
  sendDescriptor(path, name, fd) {
    const socket = unixSocket(SOCK_STREAM);
    if (socket < 0) return socket;
    const address = Buffer.from(`${path}\0`);
    let result = address.length > 108 ? -36 : unixConnect(socket, address, address.length);
    if (result >= 0) {
      const message = Buffer.from(name);
      result = sendmsg(socket, message, message.length, Int32Array.of(fd), 1, 0);
    }
    closeFd(socket);
    return result < 0 ? result : 0;
  },
  spawnIn: (pid, namespaces, path, args, env, stdinFd, outputFd) =>
    symbols.cm_spawn_in(
      pid,
      namespaces,
      Buffer.from(`${path}\0`),
      strings(args),
      args.length,
      strings(env),
      env.length,
      stdinFd,
      outputFd,
    ),
  waitProcess(pid) {
    const out = new Int32Array(2);
    const result = waitChild(pid, WNOHANG, out);
    return result === 1 ? out[1]! : -1;
  },
  kill: (pid, signal) => killProcess(pid, signal),
};
