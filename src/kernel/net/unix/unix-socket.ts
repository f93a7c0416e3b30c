/**
 * What unix sockets of every type share: names, options, credentials, the connection state, being told of room.
 *
 * Source: unix(7), Linux net/unix/af_unix.c. Stream sockets are in stream.ts, datagrams and packets in datagram.ts.
 *
 * Invariant: `wmem` is what of this socket's sends lies unread in other sockets' queues, counted as Linux counts buffer
 * memory; it stays below sndbuf plus one message. `room` holds who waits for room in this socket's queue or backlog.
 */
import {
  EADDRINUSE,
  ECONNREFUSED,
  EFAULT,
  EINVAL,
  ENODATA,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPROTOTYPE,
  ERANGE,
  ESRCH,
} from "../../abi/errno.ts";
import { S_IFSOCK } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Process } from "../../task/process.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
import {
  AF_UNIX,
  RCV_SHUTDOWN,
  SHUTDOWN_MASK,
  SO_PASSCRED,
  SO_PASSPIDFD,
  SO_PASSRIGHTS,
  SO_PASSSEC,
  SO_PEEK_OFF,
  SO_PEERCRED,
  SO_PEERGROUPS,
  SO_PEERPIDFD,
  SOL_SOCKET,
} from "../abi.ts";
import { credBytes, installPidfd } from "../message.ts";
import type { OptionValue } from "../option-value.ts";
import { intOption, type ReceiveInfo, type SendInfo, Socket, type Ucred } from "../socket.ts";
import type { Cargo } from "./in-flight.ts";
import { addressPath, checkAddress, isAbstract, pathAddress, UNNAMED } from "./names.ts";
import { bindPath, findPath } from "./paths.ts";

export const CLOSED = 0;
export const LISTENING = 1;
export const CONNECTED = 2;

export const CAN_WRITE = POLLOUT | POLLWRNORM | POLLWRBAND;
export const CAN_READ = POLLIN | POLLRDNORM;

/** Messages (or connections) that wait in a queue, beyond one more, before senders must wait (net.unix.max_dgram_qlen). */
const MAX_DGRAM_QLEN = 10;

/** Credentials of a task as a connection shows them (SO_PEERCRED). */
export function connectionCreds(task: Task): Ucred {
  return { pid: task.process.pid, uid: task.cred.euid, gid: task.cred.egid, process: task.process };
}
/** Credentials of a task as a message carries them (SCM_CREDENTIALS). */
export function messageCreds(task: Task): Ucred {
  return { pid: task.process.pid, uid: task.cred.uid, gid: task.cred.gid, process: task.process };
}
/** What a receiver sees when the sender's were not attached. */
export const NOBODY: Ucred = { pid: 0, uid: 65534, gid: 65534, process: null };

export abstract class UnixSocket extends Socket {
  state = CLOSED;
  peer: UnixSocket | null = null;
  /** Own address; null while unnamed. */
  addr: Uint8Array | null = null;
  /** The place of a file-system name; held. */
  boundPath: Path | null = null;
  wmem = 0;
  /** Longest queue: messages, or connections when listening. */
  maxBacklog = MAX_DGRAM_QLEN;
  /** Sockets to tell when there is room here again; made on first use. */
  protected room: Set<UnixSocket> | null = null;
  passCred = false;
  passPidfd = false;
  /** SO_PASSRIGHTS: takes files. */
  passRights = true;
  /** Whose the other end is (SO_PEERCRED), and its groups. */
  peerCred: Ucred | null = null;
  peerGroups: readonly number[] | null = null;
  /** SO_PEEK_OFF; -1: off. */
  peekOffset = -1;
  /** Released: no longer there for others. */
  dead = false;

  constructor(kernel: Kernel, type: number, flags: number) {
    super(kernel, AF_UNIX, type, 0, flags);
  }

  /** Messages with files in this socket's queue (and those of connections not yet accepted). */
  abstract queuedCargo(): Iterable<Cargo>;
  /** Takes the files out of all those messages. */
  abstract takeCargo(): Cargo[];
  override fdInfo(): string {
    let files = 0;
    for (const cargo of this.queuedCargo()) files += cargo.files.length;
    return `scm_fds: ${files}\n`;
  }

  // Names.

  override bind(task: Task, addr: Uint8Array): number {
    if (addr.length === 2 && (addr[0]! | (addr[1]! << 8)) === AF_UNIX) return this.autobind();
    const checked = checkAddress(addr);
    if (checked < 0) return checked;
    if (isAbstract(addr)) {
      if (this.addr !== null) return -EINVAL;
      const name = addr.slice();
      if (!this.kernel.net.unixNames.add(name, this)) return -EADDRINUSE;
      this.addr = name;
      return 0;
    }
    const path = bindPath(task, addressPath(addr), this.addr !== null);
    if (typeof path === "number") return path;
    this.addr = pathAddress(addr);
    this.boundPath = path;
    path.dentry.holders++;
    path.dentry.inode.hold();
    path.dentry.inode.socket = this;
    return 0;
  }

  protected autobind(): number {
    if (this.addr !== null) return 0;
    this.addr = this.kernel.net.unixNames.autobind(this);
    return this.addr === null ? -EADDRINUSE : 0;
  }

  /** Credentials are wanted, so the other side must be able to answer: Linux gives the socket a name. */
  protected autobindForCreds(): number {
    return (this.passCred || this.passPidfd) && this.addr === null ? this.autobind() : 0;
  }

  /** The socket that an address names, of this socket's type. */
  protected findOther(task: Task, addr: Uint8Array): UnixSocket | number {
    let other: UnixSocket | undefined;
    if (isAbstract(addr)) other = this.kernel.net.unixNames.find(addr, this.sockType);
    else {
      const inode = findPath(task, addressPath(addr));
      if (typeof inode === "number") return inode;
      if (inode.type !== S_IFSOCK) return -ECONNREFUSED;
      other = inode.socket instanceof UnixSocket ? inode.socket : undefined;
      if (other !== undefined && !other.dead && other.sockType !== this.sockType) return -EPROTOTYPE;
    }
    return other === undefined || other.dead ? -ECONNREFUSED : other;
  }

  override getName(peer: boolean): Uint8Array | number {
    if (!peer) return this.addr ?? UNNAMED;
    if (this.peer === null) return -ENOTCONN;
    return this.peer.addr ?? UNNAMED;
  }

  // Room.

  /** `who` could not go on for want of room here: tell it when there is some. */
  awaitRoom(who: UnixSocket): void {
    this.room ??= new Set();
    this.room.add(who);
  }

  roomMade(): void {
    const room = this.room;
    if (room === null || room.size === 0) return;
    this.room = null;
    for (const socket of room) socket.waiters.wake(CAN_WRITE);
  }

  /** A send has put this much into another's queue. */
  protected charge(truesize: number): void {
    this.wmem += truesize;
    this.kernel.net.buffered += truesize;
  }

  /** Part of what this socket sent has been read. */
  sent(truesize: number): void {
    this.wmem -= truesize;
    this.kernel.net.buffered -= truesize;
    if (this.wmem * 4 <= this.sndbuf) this.waiters.wake(CAN_WRITE);
  }

  /** Bytes to read. */
  get queuedBytes(): number {
    return 0;
  }

  /** Poll's idea of room to send, stricter than send's own. */
  protected get hasSendRoom(): boolean {
    return this.state !== LISTENING && this.wmem * 4 <= this.sndbuf;
  }

  override onBufferChange(): void {
    if (this.hasSendRoom) this.waiters.wake(CAN_WRITE);
  }

  /** The shutdown and error part of poll. */
  protected pollState(): number {
    let mask = 0;
    if (this.error !== 0) mask |= POLLERR;
    if (this.shutdownMask === SHUTDOWN_MASK) mask |= POLLHUP;
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) mask |= POLLRDHUP | CAN_READ;
    return mask;
  }

  // Credentials and files.

  get wantsCreds(): boolean {
    return this.passCred || this.passPidfd;
  }

  /** What a message from here to `other` says about its sender. */
  protected credsFor(task: Task, other: UnixSocket, info: SendInfo | null): Ucred | null {
    if (info !== null && info.creds !== null) return info.creds;
    return this.wantsCreds || other.wantsCreds ? messageCreds(task) : null;
  }

  /** Takes the files of a send to `other` on board; null: there are none. -EPERM, -ETOOMANYREFS. */
  protected load(task: Task, other: UnixSocket, info: SendInfo | null): Cargo | null | number {
    if (info === null || info.files === null) return null;
    if (!other.passRights) return -EPERM;
    const cargo = this.kernel.net.inFlight.send(task, info.files);
    if (typeof cargo !== "number") info.files = null;
    return cargo;
  }

  override credsShown(info: ReceiveInfo): Ucred | null {
    return this.passCred ? (info.creds ?? NOBODY) : null;
  }
  override pidfdShown(info: ReceiveInfo): Process | null {
    return this.passPidfd ? (info.creds?.process ?? null) : null;
  }

  notePeer(creds: Ucred | null, groups: readonly number[] | null): void {
    this.peerCred = creds;
    this.peerGroups = groups;
  }

  override release(): void {
    super.release();
    if (this.refs > 0) this.kernel.net.inFlight.suspect(this);
  }

  override onRelease(): void {
    super.onRelease();
    this.dead = true;
    if (this.boundPath !== null) {
      const inode = this.boundPath.dentry.inode;
      if (inode.socket === this) inode.socket = null;
      this.boundPath.dentry.holders--;
      inode.letGo();
      this.boundPath = null;
    } else if (this.addr !== null) this.kernel.net.unixNames.remove(this.addr, this);
    this.roomMade();
  }

  // Options.

  override setOption(_task: Task, level: number, name: number, value: OptionValue): number | null {
    if (level !== SOL_SOCKET) return -EOPNOTSUPP;
    switch (name) {
      case SO_PASSCRED:
      case SO_PASSPIDFD:
      case SO_PASSRIGHTS: {
        if (value.length < 4) return -EINVAL;
        const on = value.int();
        if (on === null) return -EFAULT;
        if (name === SO_PASSCRED) this.passCred = on !== 0;
        else if (name === SO_PASSPIDFD) this.passPidfd = on !== 0;
        else this.passRights = on !== 0;
        return 0;
      }
      case SO_PEEK_OFF: {
        if (value.length < 4) return -EINVAL;
        const at = value.int();
        if (at === null) return -EFAULT;
        this.peekOffset = at;
        return 0;
      }
      default:
        return null;
    }
  }

  override getOption(task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    if (level !== SOL_SOCKET) return -EOPNOTSUPP;
    switch (name) {
      case SO_PASSCRED:
        return intOption(this.passCred ? 1 : 0);
      case SO_PASSPIDFD:
        return intOption(this.passPidfd ? 1 : 0);
      case SO_PASSRIGHTS:
        return intOption(this.passRights ? 1 : 0);
      case SO_PASSSEC:
        return intOption(0);
      case SO_PEEK_OFF:
        return intOption(this.peekOffset);
      case SO_PEERCRED: {
        const view = new DataView(new ArrayBuffer(12));
        if (this.peerCred !== null) return credBytes(this.peerCred, task);
        view.setInt32(4, -1, true);
        view.setInt32(8, -1, true);
        return new Uint8Array(view.buffer);
      }
      case SO_PEERPIDFD: {
        const process = this.peerCred?.process ?? null;
        if (process === null) return -ENODATA;
        if (process.reaped) return -ESRCH;
        const fd = installPidfd(task, process);
        return fd < 0 ? fd : intOption(fd);
      }
      case SO_PEERGROUPS: {
        if (this.peerGroups === null) return -ENODATA;
        const groups = Uint32Array.from(this.peerGroups);
        if (length < groups.byteLength) return -ERANGE;
        return new Uint8Array(groups.buffer);
      }
      default:
        return super.getOption(task, level, name, length);
    }
  }
}

persistent("unix-socket", UnixSocket);
