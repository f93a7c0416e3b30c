/**
 * What the host half needs of the host kernel and JavaScript cannot do. Supplied by `src/native`, injected by
 * `src/main.ts`. Every function returns `>= 0` or a negative errno and never throws.
 */
import type { ProcessRef } from "./sandbox.ts";

export interface HostCalls {
  /** flock(2) with LOCK_EX, or LOCK_SH when `shared`, always with LOCK_NB: -EWOULDBLOCK when held by another. */
  flock(fd: number, shared: boolean): number;
  /** posix_openpt, grantpt, unlockpt, open of the slave; both close-on-exec. Fills `out` with [master, slave]. */
  openpty(out: Int32Array): number;
  /** TIOCSWINSZ. */
  setWindowSize(fd: number, rows: number, columns: number): number;
  /** TIOCGWINSZ into out [rows, columns]; -ENOTTY when it is no terminal. */
  getWindowSize(fd: number, out: Int32Array): number;
  /** cfmakeraw on a terminal; `saved` (at least 64 bytes) takes its old settings. */
  makeRaw(fd: number, saved: Uint8Array): number;
  /** Puts back what makeRaw saved. */
  restoreTerminal(fd: number, saved: Uint8Array): number;
  /** fchown: the slave of a pty belongs to the user whose terminal it is. */
  changeOwner(fd: number, uid: number, gid: number): number;
  /** Connects to the unix socket at `path` and sends one message `name` with descriptor `fd`. */
  sendDescriptor(path: string, name: string, fd: number): number;
  /** socketpair(AF_UNIX, SOCK_STREAM), both close-on-exec, into out [a, b]. */
  socketPair(out: Int32Array): number;
  /** setns(2) of the calling thread: processes that it starts are in the namespace. Kinds: network, uts, ipc. */
  joinNamespace(fd: number): number;
  /**
   * A tiny process that reads one byte from `channel` and exits with it; with 137 when the channel closes first. A child
   * of this process, in a session of its own, holding nothing but `channel`. With a `terminal` (else -1) that is the
   * session's controlling terminal, and the numbers of the signals that come from it are written to `channel`. It is
   * in the mount namespace of the process `sandbox` (0: in ours), and its network's, as far as we may enter them. Its pid.
   */
  spawnWaiter(channel: number, terminal: number, sandbox: number): number;
  /**
   * Copies from one descriptor to another in a thread of its own until the end of `from`, then sets done[0] to 1. The
   * array and the descriptors must stay until then, or until the process ends.
   */
  copy(from: number, to: number, done: Int32Array): number;
  /** A socket that listens on an address, IPv4 or IPv6, and a port; 0: any. The port goes into out[0]. -EINVAL: no address. */
  listenTcp(address: string, port: number, out: Int32Array): number;
  /** Calls `accepted` with each connection that comes there, until the process ends; its descriptor is the callee's. */
  acceptConnections(listener: number, accepted: (fd: number) => void): number;
  /** A copy of the descriptor, close-on-exec: its number. */
  dup(fd: number): number;
  /** dup2(2): `to` becomes a copy of `fd`, also for who is reading or writing there. */
  dupTo(fd: number, to: number): number;
  /** kill(2) of that process, and of no later one with its number: -ESRCH when it is gone. */
  signalProcess(process: ProcessRef, signal: number): number;
}
