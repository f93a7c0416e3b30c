/**
 * The kernel's end of the network broker: a process in the container's network namespace that makes, binds and connects
 * the sockets of the outside and hands their descriptors over (src/native/broker.stub.c). This process can make none.
 *
 * Requests are answered later, in any order; nothing here waits. The broker is believed nothing but the answers to what it
 * was asked: one that says something else is dropped, as is one that ends, and from then on the outside is down (ENETDOWN).
 * What it has handed over lives on. Bounded: REQUESTS_MAX unanswered, of which UNSENT_MAX wait for room in the socket.
 */
import { forGuest } from "../../../native/guest-descriptors.ts";
import { closeFd, dup, recvmsg, sendmsg } from "../../../native/host.ts";
import type { HostWatcher } from "../../../native/poller.ts";
import { EAGAIN, EINTR, ENETDOWN, ENFILE, ENOBUFS } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { perCall } from "../../state/registry.ts";
import { POLLIN, POLLOUT } from "../../vfs/file.ts";
import { MSG_DONTWAIT } from "../abi.ts";
import type { Ip } from "../inet/ip.ts";
import {
  ANSWER_MAX,
  type Answer,
  decodeAnswer,
  encodeRequest,
  HAS_DESCRIPTOR,
  KIND_ANSWER,
  KIND_ROUTES,
  type Request,
} from "./protocol.ts";

/** Unanswered requests, at most; further ones get ENOBUFS. */
const REQUESTS_MAX = 65536;
/** Requests that the socket had no room for, at most. */
const UNSENT_MAX = 4096;
/** Messages taken in one turn of the kernel's loop: what the broker says must not keep guests waiting. */
const MESSAGES_PER_TURN = 64;
/** Refusals that are logged in one second. */
const REFUSALS_PER_SECOND = 20;
const REFUSAL_MAX = 300;
/** Places whose users are remembered for the log. */
const MEANT_MAX = 256;
const SEQ_MAX = 0xffffffff;

/** Gets the answer to a request, once. On the broker's death, and when too much is asked, within `request` itself. */
export interface BrokerWaiter {
  /** `answer.fd` is the waiter's to close. */
  answered(answer: Answer): void;
}

interface Unsent {
  readonly bytes: Uint8Array;
  /** A descriptor of our own, or -1. */
  readonly fd: number;
}

const failure = (result: number): Answer => ({
  seq: 0,
  result,
  kind: KIND_ANSWER,
  flags: 0,
  place: null,
  data: new Uint8Array(0),
  fd: -1,
});

/** One longer than any answer: what fills it is none. */
const buffer = new Uint8Array(ANSWER_MAX + 1);
const descriptors = new Int32Array(8);
const descriptorCount = new Int32Array(1);
const noDescriptors = new Int32Array(1);

export class Broker implements HostWatcher {
  readonly essential = true;
  alive = true;
  /** By sequence number; null: whoever asked does not want to know any more. */
  private readonly waiters = new Map<number, BrokerWaiter | null>();
  /** What each has asked: closing thousands of sockets that ask must not look through all of them each time. */
  private readonly asked = new Map<BrokerWaiter, number[]>();
  private readonly unsent: Unsent[] = [];
  private lastSeq = 0;
  private refusals = 0;
  private refusalsSince = 0;
  /** Told what has become of devices, addresses and routes: raw rtnetlink messages. */
  onRoutes: (bytes: Uint8Array) => void = () => {};
  /** Told of a connection or datagram that the rules refuse, by default the log. */
  onRefusal: (text: string) => void = (text) => this.logRefusal(text);
  /** Whose request or datagram a place was in last, by that: refusals name the place alone. */
  private readonly meant = new Map<string, string>();

  /** `socket` is taken over. */
  constructor(
    readonly kernel: Kernel,
    private readonly socket: number,
  ) {
    const watched = kernel.poller.watch(socket, POLLIN, this);
    if (watched < 0) this.drop(`it cannot be watched (errno ${-watched})`);
  }

  /** Asks for something, about the socket `fd` unless it is -1; that stays the caller's. */
  request(request: Request, fd: number, waiter: BrokerWaiter): void {
    if (!this.alive) return waiter.answered(failure(-ENETDOWN));
    if (this.waiters.size >= REQUESTS_MAX || this.unsent.length >= UNSENT_MAX)
      return waiter.answered(failure(-ENOBUFS));
    if (request.place !== undefined) this.means(request.place.ip, request.place.port);
    const seq = this.nextSeq();
    const bytes = encodeRequest(seq, request);
    const sent = this.unsent.length > 0 ? -EAGAIN : this.send(bytes, fd);
    if (sent === -EAGAIN) {
      const copy = fd < 0 ? -1 : forGuest(dup(fd));
      if (fd >= 0 && copy < 0) return waiter.answered(failure(copy));
      this.expect(seq, waiter);
      this.unsent.push({ bytes, fd: copy });
      if (this.unsent.length === 1) this.kernel.poller.watch(this.socket, POLLIN | POLLOUT, this);
    } else if (sent < 0) {
      this.drop(`it cannot be asked (errno ${-sent})`);
      waiter.answered(failure(-ENETDOWN));
    } else this.expect(seq, waiter);
  }

  /** The waiter does not want its answers any more: descriptors that come with them are closed. */
  forget(waiter: BrokerWaiter): void {
    for (const seq of this.asked.get(waiter) ?? []) this.waiters.set(seq, null);
    this.asked.delete(waiter);
  }
  private expect(seq: number, waiter: BrokerWaiter): void {
    this.waiters.set(seq, waiter);
    const asked = this.asked.get(waiter);
    if (asked === undefined) this.asked.set(waiter, [seq]);
    else asked.push(seq);
  }
  private expected(seq: number, waiter: BrokerWaiter): void {
    this.waiters.delete(seq);
    const asked = this.asked.get(waiter);
    if (asked === undefined) return;
    if (asked.length > 1) asked.splice(asked.indexOf(seq), 1);
    else this.asked.delete(waiter);
  }

  /** The task whose turn it is means to reach that place, or to be reached there: a refusal will name it. */
  means(ip: Ip, port: number): void {
    const task = this.kernel.current;
    if (task === null) return;
    const place = `${ip} ${port}`;
    this.meant.delete(place);
    this.meant.set(place, `${task.comm}, process ${task.process.pid} of ${task.process.container.id}`);
    if (this.meant.size > MEANT_MAX) for (const [oldest] of this.meant) return void this.meant.delete(oldest);
  }

  private nextSeq(): number {
    do this.lastSeq = this.lastSeq >= SEQ_MAX ? 1 : this.lastSeq + 1;
    while (this.waiters.has(this.lastSeq));
    return this.lastSeq;
  }

  private send(bytes: Uint8Array, fd: number): number {
    noDescriptors[0] = fd;
    for (;;) {
      const n = sendmsg(this.socket, bytes, bytes.length, noDescriptors, fd < 0 ? 0 : 1, MSG_DONTWAIT);
      if (n !== -EINTR) return n;
    }
  }

  /** HostWatcher. */
  hostReady(_fd: number, events: number): void {
    if ((events & POLLOUT) !== 0) this.flush();
    for (let i = 0; i < MESSAGES_PER_TURN && this.alive; i++) if (!this.receive()) return;
  }

  private flush(): void {
    while (this.alive) {
      const first = this.unsent[0];
      if (first === undefined) {
        this.kernel.poller.watch(this.socket, POLLIN, this);
        return;
      }
      const sent = this.send(first.bytes, first.fd);
      if (sent === -EAGAIN) return;
      if (sent < 0) return this.drop(`it cannot be asked (errno ${-sent})`);
      this.unsent.shift();
      if (first.fd >= 0) closeFd(first.fd);
    }
  }

  /** Takes one message; false: there is none. */
  private receive(): boolean {
    descriptorCount[0] = descriptors.length;
    const n = recvmsg(this.socket, buffer, buffer.length, descriptors, descriptorCount, MSG_DONTWAIT);
    if (n === -EINTR) return true;
    if (n === -EAGAIN) return false;
    const came = Array.from(descriptors.subarray(0, descriptorCount[0]));
    // An empty message looks like the end; neither is an answer.
    const answer = n <= 0 || came.length > 1 ? null : decodeAnswer(buffer, n, came[0] ?? -1);
    if (answer === null) {
      for (const fd of came) closeFd(fd);
      this.drop(
        n === 0 && came.length === 0
          ? "it has ended"
          : n < 0
            ? `it cannot be heard (errno ${-n})`
            : "it said what is no answer",
      );
      return false;
    }
    this.take(answer);
    return true;
  }

  private take(answer: Answer): void {
    if (answer.kind === KIND_ROUTES) return this.onRoutes(answer.data);
    if (answer.kind !== KIND_ANSWER) {
      const { place } = answer;
      const who = place === null ? undefined : this.meant.get(`${place.ip} ${place.port}`);
      return this.onRefusal(printable(answer.data) + (who === undefined ? "" : ` (${who})`));
    }
    const waiter = this.waiters.get(answer.seq);
    const fd = answer.fd < 0 ? answer.fd : forGuest(answer.fd);
    if (waiter === undefined) {
      if (fd >= 0) closeFd(fd);
      return this.drop("it answered what nobody had asked");
    }
    if (waiter === null) {
      this.waiters.delete(answer.seq);
      if (fd >= 0) closeFd(fd);
      return;
    }
    this.expected(answer.seq, waiter);
    if (fd < 0 && (answer.flags & HAS_DESCRIPTOR) !== 0) waiter.answered(failure(-ENFILE));
    else waiter.answered(answer);
  }

  private logRefusal(text: string): void {
    const now = this.kernel.now();
    if (now - this.refusalsSince >= 1e9) {
      if (this.refusals > REFUSALS_PER_SECOND)
        this.kernel.log.warn(`network: ${this.refusals - REFUSALS_PER_SECOND} more refusals`);
      this.refusals = 0;
      this.refusalsSince = now;
    }
    if (++this.refusals <= REFUSALS_PER_SECOND) this.kernel.log.warn(`network: refused ${text}`);
  }

  /** It is of no more use, or none: everything outside is down. */
  private drop(why: string): void {
    if (!this.alive) return;
    this.alive = false;
    this.kernel.poller.unwatch(this.socket);
    closeFd(this.socket);
    for (const { fd } of this.unsent) if (fd >= 0) closeFd(fd);
    this.unsent.length = 0;
    this.kernel.log.warn(`the network broker is gone, the network outside is down: ${why}`);
    const waiters = [...this.waiters.values()];
    this.waiters.clear();
    this.asked.clear();
    for (const waiter of waiters) {
      try {
        waiter?.answered(failure(-ENETDOWN));
      } catch (error) {
        // One socket's bug is not the others'.
        this.kernel.poller.onError(this.socket, error);
      }
    }
  }

  /** Ends it without a word: of kernels that end. */
  close(): void {
    if (!this.alive) return;
    this.alive = false;
    this.kernel.poller.unwatch(this.socket);
    closeFd(this.socket);
  }
}

/** Text of the broker's, for the log: one line, of a bounded length. */
function printable(data: Uint8Array): string {
  return Buffer.from(data.subarray(0, REFUSAL_MAX))
    .toString("latin1")
    .replace(/[^\x20-\x7e]/g, "?");
}

// Never saved: Network has another one after a restore.
perCall(Broker);
