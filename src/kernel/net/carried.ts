/**
 * A connection of the host's that is carried to a server in this kernel: `runts port-forward` has accepted it, this end is a
 * client socket of the kernel's own. So servers that only listen on the loopback are reached, whatever network the sandbox has.
 *
 * Bytes are moved in turns of the kernel's own (chores), never within the call that made them movable. Bounded: one buffer
 * each way, besides what the two sockets hold; PIECES a turn; CARRIED_MAX connections.
 *
 * A checkpoint leaves it out: the restored server finds the connection reset.
 */
import { closeFd, readNoWait, shutdown, writeNoWait } from "../../native/host.ts";
import type { HostWatcher } from "../../native/poller.ts";
import { EAGAIN, ECONNREFUSED, ENFILE, ENOTCONN } from "../abi/errno.ts";
import { O_NONBLOCK } from "../abi/fcntl.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT } from "../vfs/file.ts";
import { KernelIo } from "../vfs/io.ts";
import { WaitEntry, type Waiter } from "../wait-queue.ts";
import { AF_INET, AF_INET6, MSG_NOSIGNAL, SEND_SHUTDOWN } from "./abi.ts";
import { formatEndpoint } from "./inet/address.ts";
import { ANY4, ANY6, type Ip, LOOPBACK4, LOOPBACK6 } from "./inet/ip.ts";
import { TcpSocket } from "./inet/tcp.ts";

const CARRIED_MAX = 256;
const BUFFER = 65536;
/** Buffers moved in one turn, each way. */
const PIECES = 4;
const SHUT_WR = 1;
/** Who owns the client's end: nobody of the guests. */
const KERNEL_UID = 0;

/** Bytes on their way in one direction. */
class Piece {
  readonly data = new Uint8Array(BUFFER);
  start = 0;
  end = 0;
  /** No more will come; that has been told to the other side. */
  ended = false;
  told = false;
  get empty(): boolean {
    return this.start === this.end;
  }
}

let carriedNow = 0;

export class Carried implements Waiter, HostWatcher {
  readonly essential = true;
  private readonly entry = new WaitEntry(this);
  private readonly inward = new Piece();
  private readonly outward = new Piece();
  private connected = false;
  private scheduled = false;
  private closed = false;

  private constructor(
    private readonly kernel: Kernel,
    private readonly task: Task,
    private readonly socket: TcpSocket,
    /** Taken over; non-blocking. -1 after a restore. */
    private fd: number,
    /** Told once: of the connection (0), or of why there is none (-errno). */
    private onConnected: ((result: number) => void) | null,
    private onClosed: (() => void) | null,
  ) {}

  /**
   * Begins to carry the stream socket `fd`, which is taken over, to whoever listens on the port. 0 or -errno; what comes of it is told to
   * `onConnected`. `task`: one of the container's.
   */
  static begin(
    kernel: Kernel,
    task: Task,
    fd: number,
    port: number,
    onConnected: (result: number) => void,
    onClosed: () => void,
  ): Carried | number {
    const ip = serverAt(kernel, port);
    const result = ip === null ? -ECONNREFUSED : kernel.net.full || carriedNow >= CARRIED_MAX ? -ENFILE : 0;
    if (ip === null || result < 0) {
      closeFd(fd);
      return result;
    }
    const family = typeof ip === "number" ? AF_INET : AF_INET6;
    const socket = new TcpSocket(kernel, family, O_NONBLOCK, KERNEL_UID);
    const carried = new Carried(kernel, task, socket, fd, onConnected, onClosed);
    carriedNow++;
    socket.waiters.add(carried.entry);
    socket.connect(task, formatEndpoint(ip, port, family), true);
    kernel.poller.watch(fd, POLLIN | POLLHUP, carried);
    carried.schedule();
    return carried;
  }

  /** Waiter: of the kernel's socket. */
  wake(): void {
    this.schedule();
  }
  /** HostWatcher. */
  hostReady(fd: number): void {
    // Asked for again when something of it could be used.
    this.kernel.poller.unwatch(fd);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    this.kernel.chores.push({
      step: () => {
        this.scheduled = false;
        this.turn();
        return true;
      },
    });
  }

  private turn(): void {
    if (this.closed) return;
    const mask = this.socket.poll();
    if (!this.connected) {
      if ((mask & (POLLERR | POLLHUP)) !== 0) return this.close(this.socket.takeError() || -ECONNREFUSED);
      if ((mask & POLLOUT) === 0) return;
      this.connected = true;
      this.tell(0);
    }
    const moreIn = this.moveIn();
    const moreOut = !this.closed && this.moveOut();
    if (this.closed) return;
    if (this.inward.told && this.outward.told) return this.close(0);
    if (moreIn || moreOut) this.schedule();
    else this.watch();
  }

  /** From the host to the server. True: there may be more to do at once. */
  private moveIn(): boolean {
    const piece = this.inward;
    for (let i = 0; i < PIECES; i++) {
      if (piece.empty && !piece.ended) {
        const n = readNoWait(this.fd, piece.data, BUFFER);
        if (n === -EAGAIN) return false;
        if (n < 0) return this.fail();
        piece.start = 0;
        piece.end = n;
        piece.ended = n === 0;
      }
      if (piece.empty) {
        if (!piece.told) this.socket.shutdown(SEND_SHUTDOWN);
        piece.told = true;
        return false;
      }
      const io = new KernelIo(piece.data, piece.start, piece.end - piece.start);
      const n = this.socket.send(this.task, io, MSG_NOSIGNAL, null);
      if (n === -EAGAIN) return false;
      if (n < 0) return this.fail();
      piece.start += n;
    }
    return true;
  }

  private moveOut(): boolean {
    const piece = this.outward;
    for (let i = 0; i < PIECES; i++) {
      if (piece.empty && !piece.ended) {
        const n = this.socket.receive(this.task, new KernelIo(piece.data), 0, null);
        if (n === -EAGAIN) return false;
        if (n < 0 && n !== -ENOTCONN) return this.fail();
        piece.start = 0;
        piece.end = Math.max(n, 0);
        piece.ended = n <= 0;
      }
      if (piece.empty) {
        if (!piece.told) shutdown(this.fd, SHUT_WR);
        piece.told = true;
        return false;
      }
      const rest = piece.data.subarray(piece.start, piece.end);
      const n = writeNoWait(this.fd, rest, rest.length);
      if (n === -EAGAIN) return false;
      if (n < 0) return this.fail();
      piece.start += n;
    }
    return true;
  }

  /** The host's socket, for what could be done now; the kernel's own says it by itself. */
  private watch(): void {
    const wanted = (this.inward.empty && !this.inward.ended ? POLLIN : 0) | (this.outward.empty ? 0 : POLLOUT);
    if (wanted !== 0) this.kernel.poller.watch(this.fd, wanted, this);
  }

  private fail(): false {
    // What the peer still sends is not wanted: it is reset, as is the server's end.
    this.socket.linger = { on: true, seconds: 0 };
    this.close(0);
    return false;
  }

  private tell(result: number): void {
    const { onConnected } = this;
    this.onConnected = null;
    onConnected?.(result);
  }

  /** Ends it from here. */
  close(result = -ECONNREFUSED): void {
    if (this.closed) return;
    this.closed = true;
    carriedNow--;
    this.kernel.poller.unwatch(this.fd);
    closeFd(this.fd);
    this.socket.waiters.remove(this.entry);
    this.socket.release();
    this.tell(result);
    const { onClosed } = this;
    this.onClosed = null;
    onClosed?.();
  }

  /** There is no host's socket any more. */
  reset(): void {
    this.closed = true;
    this.socket.waiters.remove(this.entry);
    this.socket.linger = { on: true, seconds: 0 };
    this.socket.release();
  }
}

/** An address at which somebody listens on the port: the loopback's where that will do. */
function serverAt(kernel: Kernel, port: number): Ip | null {
  let found: Ip | null = null;
  for (const { localIp } of kernel.net.tcp.listeners.get(port) ?? []) {
    if (localIp === ANY4 || localIp === LOOPBACK4) return LOOPBACK4;
    if (localIp === ANY6 || localIp === LOOPBACK6) found = LOOPBACK6;
    else found ??= localIp;
  }
  return found;
}

persistent("carried-piece", Piece, {
  transient: { data: () => new Uint8Array(BUFFER), start: () => 0, end: () => 0 },
});
persistent("carried", Carried, {
  transient: {
    fd: () => -1,
    onConnected: () => null,
    onClosed: () => null,
    scheduled: () => false,
    // Whoever it belonged to may be gone.
    task: () => null,
  },
  restored: (carried) => carried.reset(),
});
