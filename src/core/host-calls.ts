/**
 * What the host half needs of the host kernel and JavaScript cannot do. Supplied by `src/native`, injected by
 * `src/main.ts`. Every function returns `>= 0` or a negative errno and never throws.
 */
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
  /** Connects to the unix socket at `path` and sends one message `name` with descriptor `fd`. */
  sendDescriptor(path: string, name: string, fd: number): number;
  /**
   * Runs a program in namespaces of another process (bits of CLONE_NEW*, 0: none). Its 0 is `stdinFd`, its 1 and 2 are
   * `outputFd`; no other descriptor. Returns a pidfd-less host pid that the caller waits for with `waitProcess`.
   */
  spawnIn(
    namespacesOfPid: number,
    namespaces: number,
    path: string,
    args: readonly string[],
    env: readonly string[],
    stdinFd: number,
    outputFd: number,
  ): number;
  /** waitpid(WNOHANG): -1 while it runs (never a valid status), else the raw wait status. */
  waitProcess(pid: number): number;
  /** kill(2). */
  kill(pid: number, signal: number): number;
}
