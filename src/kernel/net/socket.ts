/**
 * Sockets: what every family has in common, and how families are found.
 *
 * A socket is an open file. Its calls move what can be moved now and return -EAGAIN when they would have to wait; the
 * system calls (net/wait.ts) and read/write then block on `waiters`. A family registers a factory with the kernel's
 * `net` (net/network.ts), so that others can be added without touching the calls.
 *
 * Source: socket(2), socket(7), Linux net/socket.c and net/core/sock.c.
 */
import { EFAULT, EINPROGRESS, EOPNOTSUPP } from "../abi/errno.ts";
import { S_IFSOCK } from "../abi/stat.ts";
import { OWNER_PGRP, OWNER_PID, ownerFor, setOwner } from "../ipc/async-io.ts";
import type { Kernel } from "../kernel.ts";
import { SIGPIPE } from "../signal/numbers.ts";
import { sendSignalToTask, userInfo } from "../signal/send.ts";
import { persistent } from "../state/registry.ts";
import type { Process } from "../task/process.ts";
import type { Task } from "../task/task.ts";
import { File } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { FIOGETOWN, FIOSETOWN, MSG_EOR, SIOCGPGRP, SIOCSPGRP, SOCK_SEQPACKET } from "./abi.ts";
import type { OptionValue } from "./option-value.ts";

/** Who a message or a connection is from (struct ucred). Immutable and shared. */
export interface Ucred {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** For pidfds; null for forged ids and the kernel's own. */
  readonly process: Process | null;
}

/** What goes along with the bytes of a send. */
export interface SendInfo {
  /** Destination as the guest gave it, null for none. */
  name: Uint8Array | null;
  /** SCM_RIGHTS: files held by this record; the socket takes them over by setting the field to null. */
  files: File[] | null;
  /** SCM_CREDENTIALS. */
  creds: Ucred | null;
  /** Other control messages (IP_PKTINFO…), by level and type. */
  control: { level: number; type: number; data: Uint8Array }[] | null;
}

/** What a receive gives besides bytes. */
export class ReceiveInfo {
  /** Sender's address. */
  name: Uint8Array | null = null;
  /** SCM_RIGHTS: held by this record until installed or dropped. */
  files: File[] | null = null;
  /** SCM_CREDENTIALS, when the socket wants them. */
  creds: Ucred | null = null;
  /** MSG_TRUNC, MSG_EOR… */
  flags = 0;
  /** Data of this kind ends here: a WAITALL does not go on. */
  stop = false;
  /** Further control messages. */
  control: { level: number; type: number; data: Uint8Array }[] | null = null;

  drop(): void {
    if (this.files !== null) for (const file of this.files) file.release();
    this.files = null;
  }
}

/** Makes a socket of a family, or -errno. `flags`: O_NONBLOCK. */
export type SocketFactory = (task: Task, type: number, protocol: number, flags: number) => Socket | number;

export interface Family {
  create: SocketFactory;
  /** socketpair(2), for families that have it. */
  pair?(task: Task, type: number, protocol: number, flags: number): [Socket, Socket] | number;
}

export interface Linger {
  on: boolean;
  seconds: number;
}

export abstract class Socket extends File {
  override readonly anonymousMode: number = S_IFSOCK | 0o777;
  override readonly raisesSigpipe = false;
  /** SO_SNDBUF and SO_RCVBUF, as getsockopt shows them. */
  sndbuf = 212992;
  rcvbuf = 212992;
  /** The buffer sizes that the program set itself: SO_SNDBUF bit 1, SO_RCVBUF bit 2. */
  bufLock = 0;
  rcvlowat = 1;
  linger: Linger | null = null;
  /** Pending error, reported once (SO_ERROR). */
  error = 0;
  /** RCV_SHUTDOWN | SEND_SHUTDOWN. */
  shutdownMask = 0;
  /** Integer options that are only kept: by name. Made on first use. */
  kept: Map<number, number> | null = null;

  constructor(
    readonly kernel: Kernel,
    readonly family: number,
    readonly sockType: number,
    readonly protocol: number,
    flags: number,
  ) {
    super(2 | flags, null, null);
    kernel.net.sockets++;
  }

  override onRelease(): void {
    super.onRelease();
    this.kernel.net.sockets--;
    this.kernel.net.asking.forget(this);
  }

  override description(): string {
    return `socket:[${this.serial}]`;
  }

  abstract bind(task: Task, addr: Uint8Array): number;
  abstract connect(task: Task, addr: Uint8Array, nonBlocking: boolean): number;
  /** A non-blocking connect has begun, and whoever may refuse it has spoken or taken long: what it gives. */
  connectBegun(_task: Task, _addr: Uint8Array): number {
    return -EINPROGRESS;
  }
  /** Is it being asked elsewhere whether it may connect? */
  get asking(): boolean {
    return false;
  }
  /** 0 or -errno; BLOCKED when it is run again. */
  listen(_task: Task, _backlog: number): number {
    return -EOPNOTSUPP;
  }
  /** The next connection, or -EAGAIN. `flags`: O_NONBLOCK for the new socket. */
  accept(_task: Task, _flags: number): Socket | number {
    return -EOPNOTSUPP;
  }
  /** Is it listening (SO_ACCEPTCONN)? */
  get listening(): boolean {
    return false;
  }
  /** Own or peer's address, or -errno. */
  abstract getName(peer: boolean): Uint8Array | number;
  /** `how`: RCV_SHUTDOWN | SEND_SHUTDOWN bits. */
  abstract shutdown(how: number): number;
  /** Sends from io what can be sent now: the count, -EAGAIN… `flags`: MSG_*. `info` null: none. */
  abstract send(task: Task, io: Io, flags: number, info: SendInfo | null): number;
  /** Receives into io what is there: the count, 0 at the end, -EAGAIN… `info` null: only bytes are wanted. */
  abstract receive(task: Task, io: Io, flags: number, info: ReceiveInfo | null): number;

  /** Options above SOL_SOCKET, and SOL_SOCKET options that this family treats in its own way; null: not mine. */
  setOption(_task: Task, _level: number, _name: number, _value: OptionValue): number | null {
    return null;
  }
  getOption(_task: Task, _level: number, _name: number, _length: number): Uint8Array | number | null {
    return null;
  }
  /** An option has been set and kept: 0, -errno where something else would not have it, or what waiting for that gives. */
  optionSet(_level: number, _name: number, _task: Task): number {
    return 0;
  }
  /** Credentials that a receiver is shown with a message (SO_PASSCRED), or null. */
  credsShown(_info: ReceiveInfo): Ucred | null {
    return null;
  }
  /** The process that a receiver gets a pidfd of with a message (SO_PASSPIDFD), or null. */
  pidfdShown(_info: ReceiveInfo): Process | null {
    return null;
  }
  /** A buffer size has changed. */
  onBufferChange(): void {}

  /** Takes the pending error: -errno, or 0. */
  takeError(): number {
    const error = this.error;
    this.error = 0;
    return error === 0 ? 0 : -error;
  }

  override read(task: Task, io: Io): number {
    if (io.remaining === 0) return 0;
    const { networkHooks } = this.kernel;
    return networkHooks === null ? this.receive(task, io, 0, null) : networkHooks.receive(task, this, io, 0, null);
  }

  override write(task: Task, io: Io): number {
    const { networkHooks } = this.kernel;
    if (networkHooks !== null) {
      const verdict = networkHooks.send(task, this, 0, null);
      if (verdict !== 0) return verdict;
    }
    return this.send(task, io, this.sockType === SOCK_SEQPACKET ? MSG_EOR : 0, null);
  }

  /** SIGPIPE of a send that moved nothing, in this or an earlier run of the call. */
  protected brokenPipe(task: Task): void {
    if ((task.restart?.moved ?? 0) === 0) sendSignalToTask(task, userInfo(SIGPIPE, task));
  }

  override ioctl(task: Task, request: number, arg: number): number {
    switch (request) {
      case FIOSETOWN:
      case SIOCSPGRP: {
        const view = task.mm.readStruct(arg, 4);
        if (view === null) return -EFAULT;
        const id = view.getInt32(0, true);
        return setOwner(task, this, id < 0 ? OWNER_PGRP : OWNER_PID, Math.abs(id));
      }
      case FIOGETOWN:
      case SIOCGPGRP:
        return task.mm.writeU32(arg, this.ownerType === OWNER_PGRP ? -ownerFor(task, this) : ownerFor(task, this));
      default:
        return this.kernel.net.interfaceIoctl(task, request, arg);
    }
  }
}

/** An option value of one int. */
export function intOption(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

persistent("receive-info", ReceiveInfo);
persistent("socket", Socket);
