/**
 * AF_NETLINK: requests to the kernel and its answers, as datagrams.
 *
 * Source: netlink(7), Linux net/netlink/af_netlink.c. What can be asked is in protocols.ts. A dump is made at once and
 * handed over as it is read: what does not fit into the receive buffer waits. Known gap: messages between programs.
 */
import {
  EAGAIN,
  EBUSY,
  ECONNREFUSED,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENOBUFS,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTONOSUPPORT,
  ESOCKTNOSUPPORT,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import {
  AF_NETLINK,
  AF_UNSPEC,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  SIOCINQ,
  SO_PASSCRED,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
} from "../abi.ts";
import type { OptionValue } from "../option-value.ts";
import { type Family, intOption, type ReceiveInfo, type SendInfo, Socket, type Ucred } from "../socket.ts";
import {
  align4,
  HEADER_SIZE,
  MessageWriter,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";
import { type NetlinkRequest, netlinkProtocol } from "./protocols.ts";

/** Types below are netlink's own. */
const NLMSG_MIN_TYPE = 16;
/** A datagram of a dump is no longer than this, unless one message is: readers have buffers of a page. */
const DUMP_SIZE = 3776;
/** Options of SOL_NETLINK. */
const ADD_MEMBERSHIP = 1;
const DROP_MEMBERSHIP = 2;
const PKTINFO = 3;
const NO_ENOBUFS = 5;
const LIST_MEMBERSHIPS = 9;
const CAP_ACK = 10;
const EXT_ACK = 11;
const GET_STRICT_CHK = 12;
const OPTION_LAST = 12;
/** NLMSGERR_ATTR_MSG. */
const ERROR_TEXT = 1;

const KERNEL: Ucred = { pid: 0, uid: 0, gid: 0, process: null };
const CAN_READ = POLLIN | POLLRDNORM;

function address(pid: number, groups: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(4, pid, true);
  view.setUint32(8, groups, true);
  return bytes;
}

export class NetlinkSocket extends Socket {
  /** Own port; 0 until bound. */
  private port = 0;
  private groups = 0;
  private peerPort = 0;
  private passCred = false;
  private readonly options = new Map<number, number>();
  /** Groups beyond the 32 that `groups` has bits for. */
  private readonly farGroups = new Set<number>();
  private queue: Uint8Array[] = [];
  /** Of what is in the queue, the groups that it was said to; 0 for answers. */
  private queueGroups: number[] = [];
  private queued = 0;
  /** What is left of a dump: it goes into the queue when there is room. */
  private dumped: Uint8Array[] = [];

  constructor(kernel: Kernel, type: number, protocol: number, flags: number) {
    super(kernel, AF_NETLINK, type, protocol, flags);
  }

  override bind(task: Task, addr: Uint8Array): number {
    if (addr.length < 12) return -EINVAL;
    const view = new DataView(addr.buffer, addr.byteOffset);
    if (view.getUint16(0, true) !== AF_NETLINK) return -EINVAL;
    const pid = view.getUint32(4, true);
    if (this.port !== 0) {
      if (pid !== 0 && pid !== this.port) return -EINVAL;
    } else if (pid !== 0) {
      const taken = this.kernel.net.netlinkPorts.take(this.protocol, pid);
      if (taken < 0) return taken;
      this.port = pid;
    } else this.autobind(task);
    const { groups = 0 } = netlinkProtocol(this.protocol) ?? {};
    this.groups = view.getUint32(8, true) & (groups < 32 ? (1 << groups) - 1 : -1);
    this.noteListening();
    return 0;
  }

  /** Whether it is among those that are told news. */
  private noteListening(): void {
    const { netlinkListeners } = this.kernel.net;
    if (this.groups !== 0 || this.farGroups.size > 0) netlinkListeners.add(this);
    else netlinkListeners.delete(this);
  }
  private listensTo(group: number): boolean {
    return group <= 32 ? (this.groups & (1 << (group - 1))) !== 0 : this.farGroups.has(group);
  }

  /** Something was said to a group. */
  hear(protocol: number, group: number, message: Uint8Array): void {
    if (protocol !== this.protocol || !this.listensTo(group)) return;
    if (this.enqueue(message, group) || (this.options.get(NO_ENOBUFS) ?? 0) !== 0 || this.error !== 0) return;
    this.error = ENOBUFS;
    this.waiters.wake(POLLERR);
  }

  private autobind(task: Task): void {
    if (this.port === 0) this.port = this.kernel.net.netlinkPorts.any(this.protocol, task.process.pid);
  }

  override connect(task: Task, addr: Uint8Array): number {
    if (addr.length < 2) return -EINVAL;
    const view = new DataView(addr.buffer, addr.byteOffset, addr.length);
    const family = view.getUint16(0, true);
    if (family === AF_UNSPEC) {
      this.peerPort = 0;
      return 0;
    }
    if (family !== AF_NETLINK || addr.length < 12) return -EINVAL;
    this.autobind(task);
    this.peerPort = view.getUint32(4, true);
    return 0;
  }

  override getName(peer: boolean): Uint8Array {
    return peer ? address(this.peerPort, 0) : address(this.port, this.groups >>> 0);
  }

  override shutdown(): number {
    return -EOPNOTSUPP;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    let to = this.peerPort;
    if (info !== null && info.name !== null) {
      const { name } = info;
      if (name.length < 12) return -EINVAL;
      const view = new DataView(name.buffer, name.byteOffset);
      if (view.getUint16(0, true) !== AF_NETLINK) return -EINVAL;
      to = view.getUint32(4, true);
    }
    const length = io.remaining;
    if (length > this.sndbuf - 32) return -EMSGSIZE;
    this.autobind(task);
    const bytes = new Uint8Array(length);
    if (length > 0 && io.take(bytes, 0, length) < length) return -EFAULT;
    if (to !== 0) return -ECONNREFUSED;
    this.serve(task, bytes);
    return length;
  }

  /** Answers every request of a datagram. */
  private serve(task: Task, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer);
    for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
      const length = view.getUint32(at, true);
      if (length < HEADER_SIZE || length > bytes.length - at) return;
      this.request(task, bytes.subarray(at, at + length));
      at += align4(length);
    }
  }

  private request(task: Task, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const type = view.getUint16(4, true);
    const flags = view.getUint16(6, true);
    const seq = view.getUint32(8, true);
    const dump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
    const protocol = netlinkProtocol(this.protocol);
    if ((flags & NLM_F_REQUEST) === 0 || type < NLMSG_MIN_TYPE || protocol?.answer === undefined) {
      if ((flags & NLM_F_ACK) !== 0) this.acknowledge(bytes, seq, 0, null);
      return;
    }
    // One dump at a time.
    if (dump && this.dumped.length > 0) return this.acknowledge(bytes, seq, -EBUSY, null);
    const out = new MessageWriter();
    const parts: Uint8Array[] = [];
    let size = 0;
    const cut = (): void => {
      const part = out.takeWhole(DUMP_SIZE);
      if (part.length === 0) return;
      size += part.length;
      parts.push(part);
    };
    const request: NetlinkRequest = {
      type,
      flags,
      dump,
      strict: (this.options.get(GET_STRICT_CHK) ?? 0) !== 0,
      bytes,
      problem: null,
      dumpError: 0,
      filtered: false,
      begin: (answer, more = 0) => {
        if (dump && out.length > DUMP_SIZE) cut();
        return out.begin(answer, (dump ? NLM_F_MULTI : 0) | more, seq, this.port);
      },
    };
    const result = protocol.answer(task, request);
    if (dump && result === 0) {
      const end = request.begin(NLMSG_DONE).u32(request.dumpError);
      if (request.dumpError < 0) this.explain(end, request.problem);
      end.end();
      while (out.length > 0) cut();
      this.putDump(parts, size, bytes, seq);
      return;
    }
    if (out.length > 0) this.enqueue(out.finish(), 0);
    if (result < 0 || (flags & NLM_F_ACK) !== 0) this.acknowledge(bytes, seq, result, request.problem);
  }

  private acknowledge(request: Uint8Array, seq: number, result: number, problem: string | null): void {
    const capped = result === 0 || (this.options.get(CAP_ACK) ?? 0) !== 0;
    const ack = new MessageWriter().begin(NLMSG_ERROR, capped ? NLM_F_CAPPED : 0, seq, this.port).u32(result);
    // An error carries the request back, unless the socket does not want it; an acknowledgement only its header.
    ack.raw(capped ? request.subarray(0, HEADER_SIZE) : request);
    if (result < 0) this.explain(ack, problem);
    this.enqueue(ack.end().finish(), 0);
  }

  /** Says in words what is wrong, to those who want it. */
  private explain(message: MessageWriter, problem: string | null): void {
    if (problem === null || (this.options.get(EXT_ACK) ?? 0) === 0) return;
    message.addFlags(NLM_F_ACK_TLVS).pad().attributeText(ERROR_TEXT, problem);
  }

  private putDump(parts: Uint8Array[], size: number, request: Uint8Array, seq: number): void {
    const { net } = this.kernel;
    if (net.buffersFull) return this.acknowledge(request, seq, -ENOBUFS, null);
    net.buffered += size;
    this.dumped = parts;
    this.moveDump();
  }
  private moveDump(): void {
    let moved = false;
    while (this.dumped.length > 0 && (this.queue.length === 0 || this.queued + this.dumped[0]!.length <= this.rcvbuf)) {
      const part = this.dumped.shift()!;
      this.queued += part.length;
      this.queue.push(part);
      this.queueGroups.push(0);
      moved = true;
    }
    if (moved) this.waiters.wake(CAN_READ);
  }

  /** False: there is no room. Answers that nobody fetches are dropped, as on Linux. */
  private enqueue(data: Uint8Array, group: number): boolean {
    const { net } = this.kernel;
    if (this.queued + data.length > this.rcvbuf || net.buffersFull) return false;
    this.queued += data.length;
    net.buffered += data.length;
    this.queue.push(data);
    this.queueGroups.push(group);
    this.waiters.wake(CAN_READ);
    return true;
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    const data = this.queue[0];
    if (data === undefined) return -EAGAIN;
    const size = Math.min(data.length, io.remaining);
    const bad = size > 0 && (io.usable(size, true) < size || io.put(data, 0, size) < size);
    const group = this.queueGroups[0] ?? 0;
    if ((flags & MSG_PEEK) === 0) {
      this.queue.shift();
      this.queueGroups.shift();
      this.queued -= data.length;
      this.kernel.net.buffered -= data.length;
      if (this.dumped.length > 0) this.moveDump();
    }
    if (bad) return -EFAULT;
    if (info !== null) {
      info.name = address(0, group > 0 && group <= 32 ? (1 << (group - 1)) >>> 0 : 0);
      if ((this.options.get(PKTINFO) ?? 0) !== 0) {
        info.control ??= [];
        info.control.push({ level: SOL_NETLINK, type: PKTINFO, data: new Uint8Array(Uint32Array.of(group).buffer) });
      }
      if (size < data.length) info.flags |= MSG_TRUNC;
    }
    return (flags & MSG_TRUNC) !== 0 ? data.length : size;
  }

  override credsShown(): Ucred | null {
    return this.passCred ? KERNEL : null;
  }

  override setOption(_task: Task, level: number, name: number, value: OptionValue): number | null {
    if (level === SOL_SOCKET && name !== SO_PASSCRED) return null;
    if (level !== SOL_SOCKET && level !== SOL_NETLINK) return -ENOPROTOOPT;
    if (value.length < 4) return -EINVAL;
    const number = value.int();
    if (number === null) return -EFAULT;
    if (level === SOL_SOCKET) this.passCred = number !== 0;
    else if (name === ADD_MEMBERSHIP || name === DROP_MEMBERSHIP) return this.join(number, name === ADD_MEMBERSHIP);
    else if (name < 1 || name > OPTION_LAST || name === LIST_MEMBERSHIPS) return -ENOPROTOOPT;
    else this.options.set(name, number !== 0 ? 1 : 0);
    return 0;
  }

  private join(group: number, joins: boolean): number {
    if (group < 1 || group > (netlinkProtocol(this.protocol)?.groups ?? 0)) return -EINVAL;
    if (group <= 32) this.groups = joins ? this.groups | (1 << (group - 1)) : this.groups & ~(1 << (group - 1));
    else if (joins) this.farGroups.add(group);
    else this.farGroups.delete(group);
    this.noteListening();
    return 0;
  }

  override getOption(_task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    if (level === SOL_SOCKET) return name === SO_PASSCRED ? intOption(this.passCred ? 1 : 0) : null;
    if (level !== SOL_NETLINK || name < PKTINFO || name > OPTION_LAST) return -ENOPROTOOPT;
    if (name === LIST_MEMBERSHIPS) return this.memberships(length);
    return intOption(this.options.get(name) ?? 0);
  }
  /** The groups as bits of 32-bit words. */
  private memberships(length: number): Uint8Array {
    const words = new Uint32Array(Math.ceil((netlinkProtocol(this.protocol)?.groups ?? 0) / 32));
    for (const group of Array.from({ length: 32 * words.length }, (_, i) => i + 1))
      if (this.listensTo(group)) words[(group - 1) >> 5]! |= 1 << ((group - 1) & 31);
    return new Uint8Array(words.buffer, 0, Math.min(words.byteLength, length & ~3));
  }

  override poll(): number {
    const error = this.error !== 0 ? POLLERR : 0;
    return POLLOUT | POLLWRNORM | POLLWRBAND | (this.queue.length > 0 ? CAN_READ : 0) | error;
  }

  /** For /proc/net/netlink. */
  get shown(): { port: number; groups: number; queued: number } {
    return { port: this.port, groups: this.groups >>> 0, queued: this.queued };
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.queue[0]?.length ?? 0);
    return super.ioctl(task, request, arg);
  }

  override onRelease(): void {
    super.onRelease();
    if (this.port !== 0) this.kernel.net.netlinkPorts.drop(this.protocol, this.port);
    this.kernel.net.netlinkListeners.delete(this);
    this.kernel.net.buffered -= this.queued + this.dumped.reduce((sum, { length }) => sum + length, 0);
    this.queued = 0;
    this.queue = [];
    this.queueGroups = [];
    this.dumped = [];
  }
}

export const netlinkFamily: Family = {
  create(task, type, protocol, flags) {
    if (type !== SOCK_RAW && type !== SOCK_DGRAM) return -ESOCKTNOSUPPORT;
    if (netlinkProtocol(protocol) === undefined) return -EPROTONOSUPPORT;
    return new NetlinkSocket(task.kernel, type, protocol, flags);
  },
};

persistent("netlink-socket", NetlinkSocket, {
  added: { farGroups: () => new Set(), queueGroups: () => [], dumped: () => [] },
});
