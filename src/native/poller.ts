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

interface Watch {
  readonly fd: number;
  readonly tag: number;
  watcher: HostWatcher;
}

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

export class HostPoller {
  /** Also waited on by the platform, which sleeps in epoll_wait. */
  readonly fd = epollCreate();
  private readonly watches = new Map<number, Watch>();
  /** By the tag that epoll tells us with: what it told before a descriptor was closed is not for the next of that number. */
  private readonly tagged = new Map<number, Watch>();
  private lastTag = 0;
  private readonly out = new Int32Array(128);
  /** Told when a watcher has thrown. */
  onError: (fd: number, error: unknown) => void = (_fd, error) => {
    throw error;
  };

  /** Watches fd for `events` (POLL* bits, may include EPOLLET 1<<31). A descriptor has one watcher. -errno: EPERM for files that are always ready. */
  watch(fd: number, events: number, watcher: HostWatcher): number {
    const known = this.watches.get(fd);
    const tag = known?.tag ?? this.nextTag();
    const result = epollCtl(this.fd, known === undefined ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events, tag);
    if (result !== 0) return result;
    if (known !== undefined) known.watcher = watcher;
    else {
      const watch = { fd, tag, watcher };
      this.watches.set(fd, watch);
      this.tagged.set(tag, watch);
    }
    return result;
  }

  private nextTag(): number {
    do this.lastTag = (this.lastTag + 1) | 0;
    while (this.tagged.has(this.lastTag));
    return this.lastTag;
  }

  unwatch(fd: number): void {
    const watch = this.watches.get(fd);
    if (watch === undefined) return;
    this.watches.delete(fd);
    this.tagged.delete(watch.tag);
    epollCtl(this.fd, EPOLL_CTL_DEL, fd, 0, 0);
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
      const watch = this.tagged.get(this.out[2 * i]!);
      if (watch === undefined) continue;
      const { fd, watcher } = watch;
      try {
        watcher.hostReady(fd, this.out[2 * i + 1]!);
      } catch (error) {
        if (watcher.essential !== true) this.unwatch(fd);
        this.onError(fd, error);
      }
    }
  }

  close(): void {
    closeFd(this.fd);
  }
}
