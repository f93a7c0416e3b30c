/**
 * Readiness of host descriptors (stdio, host sockets, the control connection), over one epoll instance.
 *
 * Watchers are told by `dispatch`, from the kernel loop; nothing here blocks.
 */
import { closeFd, epollCreate, epollCtl, epollWait } from "./host.ts";

/** Told when a watched host descriptor becomes ready; `events` are POLL* bits (equal to EPOLL* bits). */
export interface HostWatcher {
  hostReady(fd: number, events: number): void;
  /** Serves the sandbox' own side and not a guest: an exception costs it the event, not the watch. */
  readonly essential?: boolean;
}

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

export class HostPoller {
  /** Also waited on by the platform, which sleeps in epoll_wait. */
  readonly fd = epollCreate();
  private readonly watchers = new Map<number, HostWatcher>();
  private readonly out = new Int32Array(128);
  /** Told when a watcher has thrown. */
  onError: (fd: number, error: unknown) => void = (_fd, error) => {
    throw error;
  };

  /** Watches fd for `events` (POLL* bits, may include EPOLLET 1<<31). A descriptor has one watcher. -errno: EPERM for files that are always ready. */
  watch(fd: number, events: number, watcher: HostWatcher): number {
    const op = this.watchers.has(fd) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    const result = epollCtl(this.fd, op, fd, events, fd);
    if (result === 0) this.watchers.set(fd, watcher);
    return result;
  }

  unwatch(fd: number): void {
    if (this.watchers.delete(fd)) epollCtl(this.fd, EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** Tells the watchers of ready descriptors. */
  dispatch(): void {
    this.tell(0);
  }
  /** The same, waiting until one is ready, or for so many milliseconds. */
  wait(timeoutMs = -1): void {
    this.tell(timeoutMs);
  }
  private tell(timeoutMs: number): void {
    const n = epollWait(this.fd, this.out, 64, timeoutMs);
    for (let i = 0; i < n; i++) {
      const fd = this.out[2 * i]!;
      const watcher = this.watchers.get(fd);
      try {
        watcher?.hostReady(fd, this.out[2 * i + 1]!);
      } catch (error) {
        if (watcher?.essential !== true) this.unwatch(fd);
        this.onError(fd, error);
      }
    }
  }

  close(): void {
    closeFd(this.fd);
  }
}
