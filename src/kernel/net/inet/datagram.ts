/**
 * What UDP, ping and raw sockets share: their outside life (outside/datagrams.ts), when it begins and what it is told.
 *
 * Source: udp(7), ip(7), ipv6(7). The host's socket has the options of ours; groups are joined there, since only there
 * somebody speaks to them. Without a network outside nothing of this happens.
 */
import type { ControlMessage } from "../../../native/datagram.ts";
import { EAGAIN, EFAULT, EINVAL, ENETDOWN, ENETUNREACH } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET6,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_TRUNC,
  RCV_SHUTDOWN,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from "../abi.ts";
import type { OptionValue } from "../option-value.ts";
import { type Arrival, OutsideDatagrams } from "../outside/datagrams.ts";
import { REQUEST_DATA_MAX } from "../outside/protocol.ts";
import type { ReceiveInfo } from "../socket.ts";
import { InetSocket } from "./inet-socket.ts";
import type { Ip } from "./ip.ts";

const IP_HDRINCL = 3;
const IP_MTU = 14;
const IPV6_MTU = 24;
const IP_MULTICAST_IF = 32;
const IPV6_MULTICAST_IF = 17;

/** An option that is set by what it does: a group joined, the device that groups are spoken to through. */
export interface GroupOption {
  level: number;
  name: number;
  data: Uint8Array;
}

/**
 * Those options. SOL_IP: MULTICAST_IF, ADD and DROP_MEMBERSHIP, UNBLOCK and BLOCK_SOURCE, ADD and DROP_SOURCE_MEMBERSHIP; SOL_IPV6:
 * MULTICAST_IF, JOIN and LEAVE_GROUP, JOIN and LEAVE_ANYCAST; both: MCAST_JOIN_GROUP, BLOCK_ and UNBLOCK_SOURCE, LEAVE_GROUP,
 * JOIN_ and LEAVE_SOURCE_GROUP.
 */
const MCAST = [42, 43, 44, 45, 46, 47];
const GROUP_OPTIONS: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [SOL_IP, new Set([IP_MULTICAST_IF, 35, 36, 37, 38, 39, 40, ...MCAST])],
  [SOL_IPV6, new Set([IPV6_MULTICAST_IF, 20, 21, 27, 28, ...MCAST])],
]);
/** What undoes what, at either level; of sources: which is left out. */
const UNDOES: ReadonlyMap<number, number> = new Map([
  [36, 35],
  [40, 39],
  [37, 38],
  [21, 20],
  [28, 27],
  [45, 42],
  [47, 46],
  [44, 43],
]);
/** Groups that are kept to be joined again, at most; the host's own bounds are lower. */
const GROUPS_MAX = 256;

/** Socket level options that are kept under another name. */
const KEPT_AS: ReadonlyMap<number, number> = new Map([
  [SO_RCVBUFFORCE, SO_RCVBUF],
  [SO_SNDBUFFORCE, SO_SNDBUF],
  [SO_BINDTODEVICE, SO_BINDTOIFINDEX],
]);

export abstract class InetDatagramSocket extends InetSocket {
  /** Its outside life; null: it has none yet. */
  outside: OutsideDatagrams | null = null;
  /** The socket outside has an address; it is connected. */
  outsideBound = false;
  outsideConnected = false;
  /** Some call waits for the broker. */
  waitsOutside = false;
  /** Groups joined outside, in order. */
  groups: GroupOption[] | null = null;
  /** connect(2) has named a peer. */
  protected connected = false;

  /** Is there an outside for it? What it has there outlives the broker. */
  protected get reachesOut(): boolean {
    return this.kernel.net.outside || this.outside?.open === true;
  }
  /** Why nothing goes to an address that is not here. */
  protected get unreachable(): number {
    return this.kernel.net.broker?.alive === false ? -ENETDOWN : -ENETUNREACH;
  }
  protected get life(): OutsideDatagrams {
    this.outside ??= new OutsideDatagrams(this);
    return this.outside;
  }
  /** See OutsideDatagrams.claim. */
  protected claim(task: Task): number | undefined {
    return this.outside?.claim(task);
  }

  /** There is a new outside, in a restored sandbox: what was there is made anew. */
  abstract renew(): void;
  /** Adds what a relay does not say of a datagram: what its control messages would have said. */
  protected abstract describe(from: Ip, info: ReceiveInfo): void;

  /** Its connecting waits for the broker's answer even if nothing else would wait. */
  override connectBegun(task: Task, addr: Uint8Array): number {
    return this.connect(task, addr, true);
  }

  override setOption(task: Task, level: number, name: number, value: OptionValue): number | null {
    const grouping = GROUP_OPTIONS.get(level)?.has(name) === true && (level === SOL_IP || this.family === AF_INET6);
    if (!grouping || !this.reachesOut) return super.setOption(task, level, name, value);
    return this.claim(task) ?? this.setGroup(task, level, name, value);
  }

  /** An option has another value: the socket outside gets it too. */
  override optionSet(level: number, name: number, task: Task): number {
    const { outside } = this;
    const before = this.claim(task);
    if (before !== undefined) return before;
    const own = level === SOL_SOCKET ? (KEPT_AS.get(name) ?? name) : name;
    if (outside === null || !outside.open || !outside.shares(level, own)) return 0;
    return outside.begin(task, (finish) =>
      outside.apply(level, own, (result) => {
        // What a relay does not say of a datagram, or takes for one, is no reason to fail.
        const strict = !outside.relay || (level === SOL_SOCKET ? own === SO_BINDTOIFINDEX : own === IP_HDRINCL);
        finish(strict ? result : 0);
      }),
    );
  }

  private setGroup(task: Task, level: number, name: number, value: OptionValue): number {
    if (value.length < 4) return -EINVAL;
    const data = value.bytes(Math.min(value.length, REQUEST_DATA_MAX));
    if (data === null) return -EFAULT;
    const { life } = this;
    return life.begin(task, (finish) =>
      life.option(level, name, data, (result) => {
        if (result === 0) this.keepGroup(level, name, data);
        finish(result);
      }),
    );
  }

  private keepGroup(level: number, name: number, data: Uint8Array): void {
    const same = (other: GroupOption, which: number) => other.level === level && other.name === which;
    const undone = UNDOES.get(name);
    let groups = this.groups ?? [];
    if ((level === SOL_IP && name === IP_MULTICAST_IF) || (level === SOL_IPV6 && name === IPV6_MULTICAST_IF)) {
      groups = groups.filter((other) => !same(other, name));
      // It is shown as the address, or the device's number: the second word of the longer forms.
      this.optionValues ??= new Map();
      this.optionValues.set(level * 256 + name, data.length >= 8 ? data.slice(4, 8) : data.slice(0, 4));
    }
    if (undone === undefined) {
      if (groups.length < GROUPS_MAX) groups.push({ level, name, data });
    } else {
      const at = groups.findIndex((other) => same(other, undone) && Buffer.compare(other.data, data) === 0);
      if (at >= 0) groups.splice(at, 1);
      else if (groups.length < GROUPS_MAX && !groups.some((other) => same(other, undone)))
        groups.push({ level, name, data });
    }
    this.groups = groups.length === 0 ? null : groups;
  }

  override getOption(task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    if (((level === SOL_IP && name === IP_MTU) || (level === SOL_IPV6 && name === IPV6_MTU)) && this.outsideConnected) {
      const value = this.outside?.hostOption(level, name);
      if (value !== undefined && typeof value !== "number") return value;
    }
    return super.getOption(task, level, name, length);
  }

  override takeError(): number {
    const own = super.takeError();
    return own !== 0 ? own : (this.outside?.takeError() ?? 0);
  }

  /** What comes from outside is for it: it is not connected to a place inside, and not shut. */
  protected get hearsOutside(): boolean {
    const { outside } = this;
    if (outside === null || !outside.open || (this.shutdownMask & RCV_SHUTDOWN) !== 0) return false;
    if (!this.connected || this.outsideConnected) return true;
    if (outside.stirred) outside.drain();
    return false;
  }

  /** Receives from outside; -EAGAIN: nothing is there. `flags`: MSG_PEEK, MSG_TRUNC, MSG_ERRQUEUE. */
  protected receiveOutside(io: Io, flags: number, info: ReceiveInfo | null): number {
    while (this.hearsOutside) {
      const arrival = this.life.take(flags);
      if (typeof arrival === "number") return arrival;
      if ((flags & MSG_ERRQUEUE) !== 0 || this.passes(arrival)) return this.give(arrival, io, flags, info);
      if ((flags & MSG_PEEK) !== 0) this.life.take(0);
    }
    return -EAGAIN;
  }
  /** Do its filters let a datagram pass? */
  protected passes(_arrival: Arrival): boolean {
    return true;
  }

  private give(arrival: Arrival, io: Io, flags: number, info: ReceiveInfo | null): number {
    const { length } = arrival;
    const size = Math.min(length, io.remaining);
    if (size > 0 && (io.usable(size, true) < size || io.put(arrival.bytes, arrival.offset, size) < size)) {
      // As on Linux the datagram is gone.
      if ((flags & MSG_PEEK) !== 0) this.life.take(0);
      return -EFAULT;
    }
    if (info !== null) {
      info.name = arrival.name;
      info.flags |= arrival.flags | (size < length ? MSG_TRUNC : 0);
      this.tell(arrival.from, arrival.control, info);
    }
    return (flags & MSG_TRUNC) !== 0 ? length : size;
  }

  /** What poll(2) shows of the life outside; one that there is none of is always writable. */
  protected pollOutside(): number {
    const { outside } = this;
    const ready = outside === null ? POLLOUT : outside.poll();
    let mask = ready & POLLERR;
    if ((ready & POLLOUT) !== 0) mask |= POLLOUT | POLLWRNORM | POLLWRBAND;
    if ((ready & POLLIN) !== 0 && this.hearsOutside) mask |= POLLIN | POLLRDNORM;
    return mask;
  }
  /** Bytes of the next datagram from outside. */
  protected get nextOutside(): number {
    return this.outside !== null && this.hearsOutside ? this.outside.next() : 0;
  }

  protected tell(from: Ip | null, control: ControlMessage[] | null, info: ReceiveInfo): void {
    if (control !== null) info.control = control;
    if (from !== null) this.describe(from, info);
  }

  override onRelease(): void {
    super.onRelease();
    this.outside?.close();
  }
}

persistent("inet-datagram-socket", InetDatagramSocket, {
  transient: { outside: () => null },
  added: {
    outsideBound: () => false,
    outsideConnected: () => false,
    waitsOutside: () => false,
    groups: () => null,
    connected: () => false,
  },
  restored(socket) {
    if (!socket.waitsOutside) return;
    // Who waits for the broker that was asks the new one.
    socket.waitsOutside = false;
    socket.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
  },
});
