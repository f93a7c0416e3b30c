/**
 * AF_NETLINK: requests to the kernel and its answers, as datagrams.
 *
 * Source: netlink(7), Linux net/netlink/af_netlink.c. NETLINK_ROUTE answers (route.ts); NETLINK_KOBJECT_UEVENT can be
 * listened to and never says anything. Known gaps: other protocols, messages between programs, multicast news.
 */
import {
  EAGAIN,
  ECONNREFUSED,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTONOSUPPORT,
  ESOCKTNOSUPPORT,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
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
  NLM_F_DUMP,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";
import { answerRoute } from "./route.ts";

const NETLINK_ROUTE = 0;
const NETLINK_KOBJECT_UEVENT = 15;
/** Types below are netlink's own. */
const NLMSG_MIN_TYPE = 16;
/** A datagram of a dump is cut about here. */
const DUMP_SIZE = 8192;
/** Options of SOL_NETLINK that are kept: membership to extended answers. */
const OPTION_LAST = 12;
const LIST_MEMBERSHIPS = 9;

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
  private queue: Uint8Array[] = [];
  private queued = 0;

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
    this.groups = view.getUint32(8, true);
    return 0;
  }

  private autobind(task: Task): void {
    if (this.port === 0) this.port = this.kernel.net.netlinkPorts.any(this.protocol, task.process.pid);
  }

  override connect(task: Task, addr: Uint8Array): number {
    const view = new DataView(addr.buffer, addr.byteOffset);
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
    return peer ? address(this.peerPort, 0) : address(this.port, this.groups);
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
    if (this.protocol === NETLINK_ROUTE) this.serve(task, bytes);
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
    let result = 0;
    let out = new MessageWriter();
    if ((flags & NLM_F_REQUEST) !== 0 && type >= NLMSG_MIN_TYPE) {
      result = answerRoute(task, this.kernel.net.stack, {
        type,
        dump,
        bytes,
        begin: (answer) => {
          if (out.length > DUMP_SIZE) {
            this.put(out);
            out = new MessageWriter();
          }
          return out.begin(answer, dump ? NLM_F_MULTI : 0, seq, this.port);
        },
      });
      if (dump && result === 0) {
        out.begin(NLMSG_DONE, NLM_F_MULTI, seq, this.port).u32(0).end();
        this.put(out);
        return;
      }
    }
    if (out.length > 0) this.put(out);
    if (result === 0 && (flags & NLM_F_ACK) === 0) return;
    const ack = new MessageWriter().begin(NLMSG_ERROR, 0, seq, this.port).u32(result);
    // An error carries the request back; an acknowledgement only its header.
    this.put(ack.raw(result === 0 ? bytes.subarray(0, HEADER_SIZE) : bytes).end());
  }

  private put(out: MessageWriter): void {
    const data = out.finish();
    // Answers that nobody fetches are dropped, as on Linux when the buffer is full.
    const { net } = this.kernel;
    if (this.queued + data.length > this.rcvbuf || net.buffersFull) return;
    this.queued += data.length;
    net.buffered += data.length;
    this.queue.push(data);
    this.waiters.wake(CAN_READ);
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    const data = this.queue[0];
    if (data === undefined) return -EAGAIN;
    const size = Math.min(data.length, io.remaining);
    const bad = size > 0 && (io.usable(size, true) < size || io.put(data, 0, size) < size);
    if ((flags & MSG_PEEK) === 0) {
      this.queue.shift();
      this.queued -= data.length;
      this.kernel.net.buffered -= data.length;
    }
    if (bad) return -EFAULT;
    if (info !== null) {
      info.name = address(0, 0);
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
    else if (name < 1 || name > OPTION_LAST || name === LIST_MEMBERSHIPS) return -ENOPROTOOPT;
    else this.options.set(name, number !== 0 ? 1 : 0);
    return 0;
  }
  override getOption(_task: Task, level: number, name: number): Uint8Array | number | null {
    if (level === SOL_SOCKET) return name === SO_PASSCRED ? intOption(this.passCred ? 1 : 0) : null;
    if (level !== SOL_NETLINK || name < 1 || name > OPTION_LAST) return -ENOPROTOOPT;
    return intOption(name === LIST_MEMBERSHIPS ? 0 : (this.options.get(name) ?? 0));
  }

  override poll(): number {
    return POLLOUT | POLLWRNORM | POLLWRBAND | (this.queue.length > 0 ? CAN_READ : 0);
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.queue[0]?.length ?? 0);
    return super.ioctl(task, request, arg);
  }

  override onRelease(): void {
    super.onRelease();
    if (this.port !== 0) this.kernel.net.netlinkPorts.drop(this.protocol, this.port);
    this.kernel.net.buffered -= this.queued;
    this.queued = 0;
    this.queue = [];
  }
}

export const netlinkFamily: Family = {
  create(task, type, protocol, flags) {
    if (type !== SOCK_RAW && type !== SOCK_DGRAM) return -ESOCKTNOSUPPORT;
    if (protocol !== NETLINK_ROUTE && protocol !== NETLINK_KOBJECT_UEVENT) return -EPROTONOSUPPORT;
    return new NetlinkSocket(task.kernel, type, protocol, flags);
  },
};

persistent("netlink-socket", NetlinkSocket);
