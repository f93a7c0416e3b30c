/**
 * Where plugins are asked about the network: what a guest connects to, accepts, binds, and first sends a datagram to.
 *
 * They are asked by the system calls, above the sockets and before whoever else has a say (the broker of the network
 * outside decides last), about the address that the kernel has read already: the guest cannot change it any more. There
 * is an object of NetworkHooks only where a plugin has a hook; without one a call looks at a field that is null.
 *
 * A hook answers at once, or gives a Decision. Who waits for it is the calling thread; but a connect of a stream socket
 * that does not wait is EINPROGRESS, and goes on when the decision is there. What is outstanding when the kernel is saved
 * is in Asking: calls that wait are asked about anew; connects under way fail, as those to the outside do.
 *
 * Known gaps: who waits for a decision does not look at SO_SNDTIMEO and SO_RCVTIMEO; accept, bind and send wait for one with
 * non-blocking sockets too; a connection whose accept a signal has ended while it was asked about is given to the next
 * accept, but poll does not tell of it.
 */
import { ECONNRESET, EINPROGRESS } from "../abi/errno.ts";
import { O_NONBLOCK } from "../abi/fcntl.ts";
import type { Container } from "../container.ts";
import type { Kernel } from "../kernel.ts";
import { perCall, persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import type { Io } from "../vfs/io.ts";
import { WaitQueue } from "../wait-queue.ts";
import {
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  MSG_FASTOPEN,
  SOCK_DGRAM,
  SOCK_STREAM,
} from "./abi.ts";
import { type Endpoint, familyOf, parseAddress } from "./inet/address.ts";
import { InetSocket } from "./inet/inet-socket.ts";
import { type Ip, isAny } from "./inet/ip.ts";
import { mostExact } from "./inet/ports.ts";
import { ResolvedNames } from "./names.ts";
import type { Network } from "./network.ts";
import { ReceiveInfo, type SendInfo, type Socket } from "./socket.ts";

export type NetworkEvent = "connect" | "accept" | "bind" | "send";

/** What a hook is asked about. */
export interface NetworkAttempt {
  task: Task;
  /** The other side's; of a bind, the own one. */
  ip: Ip;
  port: number;
  protocol: string;
  inside: boolean;
  names: readonly string[];
}

/** 0: go on; -errno: refused; or it takes its time. */
export type NetworkHook = (attempt: NetworkAttempt) => number | Decision;

/** An answer that is not there yet. */
export class Decision {
  /** 0 or -errno; undefined until then. */
  outcome: number | undefined;
  readonly queue = new WaitQueue();
  private readonly listeners: ((outcome: number) => void)[] = [];

  settle(outcome: number): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.queue.wake();
    for (const tell of this.listeners.splice(0)) tell(outcome);
  }
  /** Called when it is there. */
  whenSettled(tell: (outcome: number) => void): void {
    if (this.outcome === undefined) this.listeners.push(tell);
    else tell(this.outcome);
  }
}

/** What hooks have not answered yet and is nobody's call: saved with the kernel. */
export class Asking {
  /** Sockets whose connect is "in progress", each with the number of its question. */
  readonly connects = new Map<InetSocket, number>();
  /** By their listener: connections that were taken from its queue, and not given to the guest yet. */
  readonly accepted = new Map<Socket, Socket[]>();
  questions = 0;

  /** A socket is gone. */
  forget(socket: Socket): void {
    if (this.connects.size > 0) this.connects.delete(socket as InetSocket);
    if (this.accepted.size === 0) return;
    const held = this.accepted.get(socket);
    this.accepted.delete(socket);
    for (const each of held ?? []) each.release();
  }

  /** In a kernel that was saved: nobody answers any more. */
  giveUp(): void {
    const sockets = [...this.connects.keys()];
    this.connects.clear();
    for (const socket of sockets) socket.connectRefused(ECONNRESET);
  }
}

const PROTOCOLS: Readonly<Record<number, string>> = {
  [IPPROTO_TCP]: "tcp",
  [IPPROTO_UDP]: "udp",
  [IPPROTO_UDPLITE]: "udplite",
  [IPPROTO_ICMP]: "icmp",
  [IPPROTO_ICMPV6]: "icmp",
};
/** Places that one socket is known to send datagrams to. */
const SENT_TO_MAX = 256;
/** Of a datagram, what is looked at for names. */
const REPLY_MAX = 4096;
const NAME_SERVER = 53;
/** What `task.interception` is while a task waits for a decision and no interceptor has put anything there. */
const WAITING = {};

export class NetworkHooks {
  private readonly hooks: Record<NetworkEvent, NetworkHook[]> = { connect: [], accept: [], bind: [], send: [] };
  /** Decisions that tasks wait for, by what they are about. */
  private readonly awaited = new WeakMap<Task, Map<string, Decision>>();
  /** Those about connections that are held back. */
  private readonly aboutAccepted = new WeakMap<Socket, Decision>();
  private readonly sentTo = new WeakMap<Socket, Set<string>>();
  private readonly names = new WeakMap<Container, ResolvedNames>();

  constructor(private readonly kernel: Kernel) {}

  /** Those of one event are asked in the order in which they were added; the first that refuses decides. */
  add(event: NetworkEvent, hook: NetworkHook): void {
    this.hooks[event].push(hook);
  }

  /** Asks the hooks from the one of that index on. */
  private ask(event: NetworkEvent, attempt: NetworkAttempt, from = 0): number | Decision {
    const hooks = this.hooks[event];
    for (let i = from; i < hooks.length; i++) {
      const answer = hooks[i]!(attempt);
      if (typeof answer === "number") {
        if (answer < 0) return answer;
        continue;
      }
      if (i === hooks.length - 1) return answer;
      const whole = new Decision();
      answer.whenSettled((outcome) => {
        const rest = outcome < 0 ? outcome : this.ask(event, attempt, i + 1);
        if (typeof rest === "number") whole.settle(rest);
        else rest.whenSettled((last) => whole.settle(last));
      });
      return whole;
    }
    return 0;
  }

  private attempt(task: Task, socket: Socket, { ip, port }: Endpoint, inside?: boolean): NetworkAttempt {
    return {
      task,
      ip,
      port,
      protocol: PROTOCOLS[socket.protocol] ?? String(socket.protocol),
      inside: inside ?? staysInside(this.kernel.net, socket.protocol, ip, port),
      names: this.names.get(task.container)?.of(ip) ?? [],
    };
  }

  /** The answer to a question, asked once in all runs of a call: 0, -errno, or undecided. */
  private answer(task: Task, event: NetworkEvent, key: string, attempt: () => NetworkAttempt): number | Decision {
    if (!this.kernel.rerunning) this.awaited.delete(task);
    const known = this.awaited.get(task)?.get(key);
    if (known === undefined) return this.ask(event, attempt());
    if (known.outcome === undefined) return known;
    this.awaited.get(task)!.delete(key);
    if (task.interception === WAITING) task.interception = null;
    return known.outcome;
  }

  /** The call waits: BLOCKED, or -ERESTARTSYS. */
  private wait(task: Task, key: string, decision: Decision): number {
    let known = this.awaited.get(task);
    if (known === undefined) {
      known = new Map();
      this.awaited.set(task, known);
    }
    known.set(key, decision);
    return this.sleep(task, decision);
  }
  private sleep(task: Task, decision: Decision): number {
    // A saved kernel runs such calls again (ASKED).
    task.interception ??= WAITING;
    return task.block(decision.queue);
  }

  /** Before connect(2): 0, or what the call returns. */
  connect(task: Task, socket: Socket, addr: Uint8Array): number {
    if (this.hooks.connect.length === 0 || !(socket instanceof InetSocket)) return 0;
    const { asking } = this.kernel.net;
    if (familyOf(addr) === AF_UNSPEC) {
      asking.connects.delete(socket);
      return 0;
    }
    if (!socket.mayConnect) return 0;
    // What was asked before was about a connect that has been given up.
    asking.connects.delete(socket);
    const stream = socket.sockType === SOCK_STREAM;
    const to = parseAddress(addr, socket.family, !stream && socket.family === AF_INET6);
    // What makes no sense the socket refuses by itself.
    if (typeof to === "number") return 0;
    const key = keyOf("connect", socket, to);
    const answer = this.answer(task, "connect", key, () => this.attempt(task, socket, to));
    if (typeof answer === "number") return answer;
    if (!stream || !socket.nonBlocking) return this.wait(task, key, answer);
    socket.connectHeld();
    this.hold(task, socket, addr, answer);
    return -EINPROGRESS;
  }

  /** A connect that does not wait goes on, or fails, when the decision is there. */
  private hold(task: Task, socket: InetSocket, addr: Uint8Array, decision: Decision): void {
    const { asking } = this.kernel.net;
    const question = ++asking.questions;
    asking.connects.set(socket, question);
    decision.whenSettled((outcome) => {
      // It may have been closed, or connects to another place.
      if (asking.connects.get(socket) !== question) return;
      asking.connects.delete(socket);
      try {
        if (outcome < 0) socket.connectRefused(-outcome);
        else socket.connectAllowed(task, addr);
      } catch (error) {
        this.kernel.logBug("a connect that a plugin has allowed", error);
      }
    });
  }

  /** Before bind(2): 0, or what the call returns. */
  bind(task: Task, socket: Socket, addr: Uint8Array): number {
    if (this.hooks.bind.length === 0 || !(socket instanceof InetSocket)) return 0;
    const own = parseAddress(addr, socket.family, false);
    if (typeof own === "number") return 0;
    const key = keyOf("bind", socket, own);
    const answer = this.answer(task, "bind", key, () =>
      this.attempt(task, socket, own, !isAny(own.ip) && this.kernel.net.stack.isLocal(own.ip)),
    );
    return typeof answer === "number" ? answer : this.wait(task, key, answer);
  }

  /** The next connection of a listener that the guest may have; -errno; or what the call returns meanwhile. */
  accept(task: Task, listener: Socket, flags: number): Socket | number {
    if (this.hooks.accept.length === 0 || !(listener instanceof InetSocket)) return listener.accept(task, flags);
    const { accepted } = this.kernel.net.asking;
    for (;;) {
      const held = accepted.get(listener) ?? [];
      const made = held.length > 0 ? held[0]! : listener.accept(task, flags);
      if (typeof made === "number") return made;
      const answer = this.aboutConnection(task, made);
      if (typeof answer !== "number") {
        if (held.length === 0) accepted.set(listener, [made]);
        return this.sleep(task, answer);
      }
      if (task.interception === WAITING) task.interception = null;
      held.shift();
      if (held.length === 0) accepted.delete(listener);
      if (answer >= 0) {
        made.flags = (made.flags & ~O_NONBLOCK) | flags;
        return made;
      }
      // As if it had never come; the peer finds it closed.
      made.release();
    }
  }

  private aboutConnection(task: Task, made: Socket): number | Decision {
    let known = this.aboutAccepted.get(made);
    if (known === undefined) {
      const name = made.getName(true);
      const peer = typeof name === "number" ? name : parseAddress(name, made.family, false);
      // It has ended already: whoever looks at it learns that.
      if (typeof peer === "number") return 0;
      const inside = peerIsHere(this.kernel.net, made as InetSocket, peer);
      const answer = this.ask("accept", this.attempt(task, made, peer, inside));
      if (typeof answer === "number") return answer;
      known = answer;
      this.aboutAccepted.set(made, known);
    }
    return known.outcome ?? known;
  }

  /** Before a send, to where it says or to the peer: 0, or what the call returns. */
  send(task: Task, socket: Socket, flags: number, info: SendInfo | null): number {
    if (!(socket instanceof InetSocket)) return 0;
    // Fast open: a send that connects.
    if (socket.sockType === SOCK_STREAM)
      return info?.name && (flags & MSG_FASTOPEN) !== 0 ? this.connect(task, socket, info.name) : 0;
    if (this.hooks.send.length === 0) return 0;
    const name = info?.name ?? socket.getName(true);
    const to = typeof name === "number" ? name : parseAddress(name, socket.family, socket.family === AF_INET6);
    if (typeof to === "number") return 0;
    const key = keyOf("send", socket, to);
    let before = this.sentTo.get(socket);
    if (before?.has(key)) return 0;
    const answer = this.answer(task, "send", key, () => this.attempt(task, socket, to));
    if (typeof answer !== "number") return this.wait(task, key, answer);
    if (answer < 0) return answer;
    if (before === undefined || before.size >= SENT_TO_MAX) {
      before = new Set();
      this.sentTo.set(socket, before);
    }
    before.add(key);
    return 0;
  }

  /** A receive by which names may be learned. */
  receive(task: Task, socket: Socket, io: Io, flags: number, info: ReceiveInfo | null): number {
    if (socket.sockType !== SOCK_DGRAM || !(socket instanceof InetSocket)) return socket.receive(task, io, flags, info);
    const heard = new HeardIo(io);
    const about = info ?? new ReceiveInfo();
    const result = socket.receive(task, heard, flags, about);
    const from = about.name === null ? -1 : parseAddress(about.name, socket.family, false);
    if (result > 0 && typeof from !== "number" && from.port === NAME_SERVER) this.learn(task.container, heard.heard);
    return result;
  }

  private learn(container: Container, bytes: Uint8Array): void {
    let names = this.names.get(container);
    if (names === undefined) {
      names = new ResolvedNames();
      this.names.set(container, names);
    }
    names.learn(bytes);
  }
}

const keyOf = (event: NetworkEvent, socket: Socket, { ip, port }: Endpoint): string =>
  `${event} ${socket.serial} ${ip} ${port}`;

/** Does what goes there stay in this kernel? An own address that nobody here listens at may be another's outside. */
function staysInside(net: Network, protocol: number, ip: Ip, port: number): boolean {
  if (!isAny(ip) && !net.stack.isLocal(ip)) return false;
  if (!reachesOutside(net)) return true;
  const here: Iterable<InetSocket> =
    protocol === IPPROTO_TCP ? (net.tcp.listeners.get(port) ?? []) : net.udpPorts.on(port);
  return mostExact(here, isAny(ip) ? (net.stack.sourceFor(ip) ?? ip) : ip, 0, () => 1) !== null;
}

/** Is the other end of a connection a socket of this kernel? */
function peerIsHere(net: Network, made: InetSocket, peer: Endpoint): boolean {
  if (!reachesOutside(net)) return true;
  for (const socket of net.tcpPorts.on(peer.port))
    if (socket !== made && socket.localIp === peer.ip && socket.remotePort === made.localPort) return true;
  return false;
}

const reachesOutside = (net: Network & { readonly outside?: boolean }): boolean => net.outside ?? false;

/** Hears the beginning of what is put. */
class HeardIo implements Io {
  heard: Uint8Array = new Uint8Array(0);
  constructor(private readonly io: Io) {}

  get remaining(): number {
    return this.io.remaining;
  }
  set remaining(value: number) {
    this.io.remaining = value;
  }
  put(src: Uint8Array, offset: number, length: number): number {
    const n = this.io.put(src, offset, length);
    const room = Math.min(n, REPLY_MAX - this.heard.length);
    if (room > 0) this.heard = Buffer.concat([this.heard, src.subarray(offset, offset + room)]);
    return n;
  }
  take(dst: Uint8Array, offset: number, length: number): number {
    return this.io.take(dst, offset, length);
  }
  usable(length: number, forPut: boolean): number {
    return this.io.usable(length, forPut);
  }
  skip(length: number): void {
    this.io.skip(length);
  }
  rewind(length: number): void {
    this.io.rewind(length);
  }
  limit(length: number): void {
    this.io.limit(length);
  }
}

persistent("network-asking", Asking);
// The kernel's hooks are its plugins': transient in Kernel, as what waits for their answers is.
perCall(NetworkHooks);
perCall(Decision);
perCall(HeardIo);
