/**
 * The real broker in a network namespace of its own, spoken to as the sandbox process does: what it makes and refuses, what
 * it has left itself, and that nothing which is said to it takes it along or makes it grow.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { brokerStub } from "../generated/native-blobs.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  EBADF,
  ECONNREFUSED,
  EDESTADDRREQ,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENFILE,
  ENOBUFS,
  ENOTSOCK,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
  EPROTONOSUPPORT,
} from "../kernel/abi/errno.ts";
import { type Ip, LOOPBACK4, LOOPBACK6 } from "../kernel/net/inet/ip.ts";
import {
  type Answer,
  decodeAnswer,
  encodeRequest,
  HAS_DESCRIPTOR,
  IS_RELAY,
  KIND_ANSWER,
  KIND_REFUSAL,
  KIND_ROUTES,
  OP_BIND,
  OP_CONNECT,
  OP_DISCONNECT,
  OP_LISTEN,
  OP_NETWORK,
  OP_OPEN,
  OP_OPTION,
  OP_PING,
  PLACE_SIZE,
  type Place,
  type Request,
  readPlace,
  WITH_V6ONLY,
  writePlace,
} from "../kernel/net/outside/protocol.ts";
import {
  accept,
  closeFd,
  dup,
  epollCreate,
  getuid,
  ioctl,
  memfdCreate,
  pipe2,
  poll1,
  readFd,
  recvmsg,
  sendmsg,
  socketpair,
  unixSocket,
  writeFd,
} from "./host.ts";
import { hostCalls } from "./host-calls.ts";

// On a busy machine.
setDefaultTimeout(60_000);

const AF_INET = 2;
const AF_INET6 = 10;
const STREAM = 1;
const DGRAM = 2;
const RAW = 3;
const SEQPACKET = 5;
const ICMP = 1;
const TCP = 6;
const UDP = 17;
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;
const RELAY_ERROR = 0xffff;
const PATIENCE_MS = 8000;

const at = (port: number, ip: Ip = LOOPBACK4, family = AF_INET): Place => ({ family, ip, port, scope: 0 });
const at6 = (port: number, ip: Ip = LOOPBACK6): Place => at(port, ip, AF_INET6);
/** Nobody's, and with no route to it either. */
const ELSEWHERE = 0x08080808;

// Rules, as a file (broker-rules.h).

const RESTRICTED = 1;
const RAW_TOO = 2;
const PUBLISH = 8;
interface Rules {
  flags: number;
  /** Where the host binds, for which port of the guest's. */
  publications?: { place: Place; protocol: number; port: number }[];
  rules?: {
    kind: number;
    deny?: boolean;
    prefix?: [ip: number, bits: number];
    name?: string;
    ports?: [number, number];
  }[];
  resolvers?: Place[];
}
const ALL = 1;
const PREFIX = 2;
const NAME = 3;
const EVERYTHING: Rules = { flags: 0 };
const LOOPBACK_ONLY: Rules = { flags: RESTRICTED, rules: [{ kind: PREFIX, prefix: [0x7f000000, 8] }] };

function encodeRules({ flags, publications = [], rules = [], resolvers = [] }: Rules): Uint8Array {
  const bytes = new Uint8Array(16 + resolvers.length * PLACE_SIZE + publications.length * 28 + rules.length * 300);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x52554c45, true);
  view.setUint16(4, 1, true);
  view.setUint16(6, flags, true);
  view.setUint16(8, rules.length, true);
  view.setUint16(10, publications.length, true);
  view.setUint16(12, resolvers.length, true);
  let end = 16;
  for (const resolver of resolvers) {
    writePlace(view, end, resolver);
    end += PLACE_SIZE;
  }
  for (const { place, protocol, port } of publications) {
    writePlace(view, end, place);
    view.setUint16(end + 24, protocol, true);
    view.setUint16(end + 26, port, true);
    end += 28;
  }
  for (const { kind, deny, prefix, name = "", ports = [0, 65535] } of rules) {
    bytes.set([kind, deny ? 1 : 0, 0, prefix?.[1] ?? 0], end);
    view.setUint16(end + 4, ports[0], true);
    view.setUint16(end + 6, ports[1], true);
    if (prefix !== undefined) writePlace(view, end + 8, at(0, prefix[0]));
    view.setUint16(end + 32, name.length, true);
    bytes.set(Buffer.from(name), end + 34);
    end += (34 + name.length + 3) & ~3;
  }
  return bytes.subarray(0, end);
}

function memoryFile(name: string, bytes: Uint8Array): number {
  const fd = memfdCreate(encodeCString(name), 1);
  expect(writeFd(fd, bytes, bytes.length)).toBe(bytes.length);
  return fd;
}

// A network namespace, with a process that keeps it.

let keeper: ReturnType<typeof Bun.spawn> | undefined;
let namespace = -1;
let own = -1;
let program = -1;

/** What happens within, does so in the namespace. */
function inNamespace<T>(work: () => T): T {
  expect(hostCalls.joinNamespace(namespace)).toBe(0);
  try {
    return work();
  } finally {
    if (hostCalls.joinNamespace(own) !== 0) process.abort();
  }
}

/** SIOCSIFFLAGS, SIOCSIFMTU and their like, of the loopback device. */
function setLoopback(request: number, value: number): void {
  const ifreq = new Uint8Array(40);
  ifreq.set(Buffer.from("lo"));
  new DataView(ifreq.buffer).setInt32(16, value, true);
  const socket = inNamespace(() => unixSocket(STREAM));
  expect(ioctl(socket, request, ifreq)).toBe(0);
  closeFd(socket);
}
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFMTU = 0x8922;

const children: Broker[] = [];

const isRoot = getuid() === 0;
beforeAll(async () => {
  if (!isRoot) return;
  keeper = Bun.spawn(["unshare", "-n", "sleep", "1000"], { stdio: ["ignore", "ignore", "ignore"] });
  const path = `/proc/${keeper.pid}/ns/net`;
  const ours = readlinkSync("/proc/self/ns/net");
  for (let tries = 0; tries < 1000 && readlinkSync(path) === ours; tries++) await Bun.sleep(5);
  expect(readlinkSync(path)).not.toBe(ours);
  namespace = openSync(path, "r");
  own = openSync("/proc/self/ns/net", "r");
  program = memoryFile("runts-broker", Buffer.from(brokerStub, "base64"));
  setLoopback(SIOCSIFFLAGS, 1);
});
afterAll(() => {
  for (const child of children) child.close();
  keeper?.kill("SIGKILL");
  for (const fd of [namespace, own, program]) if (fd >= 0) closeSync(fd);
});

/** Longer than any answer, and than any message of a relay. */
const buffer = new Uint8Array(1 << 17);

class Broker {
  readonly socket: number;
  readonly child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly refusals: string[] = [];
  private seq = 0;

  constructor(rules: Rules | Uint8Array = EVERYTHING, args: string[] = []) {
    const pair = new Int32Array(2);
    expect(socketpair(SEQPACKET, pair)).toBe(0);
    const file = memoryFile("rules", rules instanceof Uint8Array ? rules : encodeRules(rules));
    this.child = inNamespace(() =>
      Bun.spawn([`/proc/${process.pid}/fd/${program}`, ...args], {
        argv0: "runts-broker",
        stdio: [pair[1]!, file, "pipe"],
        env: {},
      }),
    ) as unknown as typeof this.child;
    closeFd(pair[1]!);
    closeFd(file);
    this.socket = pair[0]!;
    children.push(this);
  }

  get pid(): number {
    return this.child.pid;
  }
  /** Descriptors that it has open. */
  get open(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }
  status(name: string): string {
    return new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(readFileSync(`/proc/${this.pid}/status`, "latin1"))?.[1] ?? "";
  }
  /** Its memory, KiB. */
  get pss(): number {
    return Number(/^Pss:\s*(\d+)/m.exec(readFileSync(`/proc/${this.pid}/smaps_rollup`, "latin1"))?.[1]);
  }

  send(bytes: Uint8Array, fds: number[] = [], flags = 0): number {
    return sendmsg(this.socket, bytes, bytes.length, Int32Array.from(fds), fds.length, flags);
  }
  /** The next message, whatever it is. null: the broker has ended. */
  receive(patience = PATIENCE_MS): Answer | null {
    if (poll1(this.socket, POLLIN, patience) === 0) throw new Error("the broker says nothing");
    const fds = new Int32Array(4);
    const count = Int32Array.of(fds.length);
    const n = recvmsg(this.socket, buffer, buffer.length, fds, count, MSG_DONTWAIT);
    if (n <= 0) return null;
    expect(count[0]).toBeLessThanOrEqual(1);
    const answer = decodeAnswer(buffer, n, count[0] === 1 ? fds[0]! : -1);
    if (answer === null)
      throw new Error(
        `no answer: ${n} bytes, ${count[0]} descriptors, ${Buffer.from(buffer.subarray(0, 64)).toString("hex")}`,
      );
    expect(answer.fd >= 0).toBe((answer.flags & HAS_DESCRIPTOR) !== 0);
    return answer;
  }
  post(request: Partial<Request> & { op: number }, fd = -1): number {
    const bytes = encodeRequest(++this.seq, { family: AF_INET, type: STREAM, protocol: 0, ...request });
    expect(this.send(bytes, fd < 0 ? [] : [fd])).toBe(bytes.length);
    return this.seq;
  }
  /** The answer to that one; refusals on the way are kept. */
  answer(seq = this.seq, patience = PATIENCE_MS): Answer {
    for (;;) {
      const answer = this.receive(patience);
      if (answer === null) throw new Error("the broker has ended");
      if (answer.kind === KIND_REFUSAL) this.refusals.push(Buffer.from(answer.data).toString());
      else if (answer.kind === KIND_ANSWER) {
        expect(answer.seq).toBe(seq);
        return answer;
      }
    }
  }
  ask(request: Partial<Request> & { op: number }, fd = -1): Answer {
    return this.answer(this.post(request, fd));
  }
  ping(): void {
    expect(this.ask({ op: OP_PING }).result).toBe(0);
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    closeFd(this.socket);
  }
  private closed = false;

  /** A TCP listener: its descriptor and its port. */
  listener(place = at(0)): { fd: number; port: number } {
    const bound = this.ask({ op: OP_BIND, family: place.family, place });
    expect(bound.result).toBe(0);
    expect(this.ask({ op: OP_LISTEN, arg: 16 }, bound.fd).result).toBe(0);
    return { fd: bound.fd, port: bound.place!.port };
  }
}

const byte = new Uint8Array(64);
/** What comes next of a socket; -errno. */
function take(fd: number): string | number {
  if (poll1(fd, POLLIN, PATIENCE_MS) === 0) return -EAGAIN;
  const n = readFd(fd, byte, byte.length);
  return n < 0 ? n : Buffer.from(byte.subarray(0, n)).toString();
}
function say(fd: number, text: string): void {
  expect(writeFd(fd, Buffer.from(text), text.length)).toBe(text.length);
}

// The sandbox's end of a relay.

function sendRelayed(fd: number, to: Place | null, payload: string | Uint8Array): number {
  const bytes = new Uint8Array(PLACE_SIZE + payload.length);
  if (to !== null) writePlace(new DataView(bytes.buffer), 0, to);
  bytes.set(typeof payload === "string" ? Buffer.from(payload) : payload, PLACE_SIZE);
  return sendmsg(fd, bytes, bytes.length, new Int32Array(0), 0, MSG_DONTWAIT);
}
/** A datagram, the errno (negative) that was told, or null: nothing. */
function takeRelayed(fd: number, patience = PATIENCE_MS): { from: Place; payload: Uint8Array } | number | null {
  if (poll1(fd, POLLIN, patience) === 0) return null;
  const n = recvmsg(fd, buffer, buffer.length, new Int32Array(0), Int32Array.of(0), MSG_DONTWAIT);
  expect(n).toBeGreaterThanOrEqual(PLACE_SIZE);
  const view = new DataView(buffer.buffer, 0, n);
  if (view.getUint16(0, true) === RELAY_ERROR) return -view.getUint32(8, true);
  return { from: readPlace(view, 0)!, payload: buffer.slice(PLACE_SIZE, n) };
}
const textOf = (taken: ReturnType<typeof takeRelayed>): string | number | null =>
  taken === null || typeof taken === "number" ? taken : Buffer.from(taken.payload).toString();

describe.skipIf(!isRoot)("what it makes", () => {
  test("TCP: bound, listening, connected, accepted, over IPv4 and IPv6", () => {
    const broker = new Broker();
    for (const place of [at(0), at6(0)]) {
      const { fd, port } = broker.listener(place);
      const connected = broker.ask({ op: OP_CONNECT, family: place.family, place: { ...place, port } });
      expect([0, -EINPROGRESS]).toContain(connected.result);
      expect(connected.flags).toBe(HAS_DESCRIPTOR);
      expect(connected.place!.ip).toBe(place.ip);
      poll1(fd, POLLIN, PATIENCE_MS);
      const accepted = accept(fd, 0);
      expect(accepted).toBeGreaterThan(0);
      say(accepted, "hello");
      expect(take(connected.fd)).toBe("hello");
      // connect(2) tells once more of one that was in progress.
      const again = (): number =>
        broker.ask({ op: OP_CONNECT, family: place.family, place: { ...place, port } }, connected.fd).result;
      expect([0, -EISCONN]).toContain(again());
      expect(again()).toBe(-EISCONN);
      for (const each of [fd, accepted, connected.fd]) closeFd(each);
    }
    broker.close();
  });

  test("what the host refuses is the answer", () => {
    const broker = new Broker();
    const { fd, port } = broker.listener();
    expect(broker.ask({ op: OP_BIND, place: at(port) }).result).toBe(-EADDRINUSE);
    expect(broker.ask({ op: OP_BIND, place: at(0, ELSEWHERE) }).result).toBe(-EADDRNOTAVAIL);
    expect(broker.ask({ op: OP_BIND, family: AF_INET, place: at6(0) }).result).toBe(-EAFNOSUPPORT);
    closeFd(fd);
    const connecting = broker.ask({ op: OP_CONNECT, place: at(port) });
    // Over loopback the host knows at once, but says so later.
    expect(connecting.result === -ECONNREFUSED || take(connecting.fd) === -ECONNREFUSED).toBe(true);
    closeFd(connecting.fd);
    expect(broker.ask({ op: OP_OPEN, type: STREAM, protocol: 132 }).result).toBe(-EPROTONOSUPPORT);
    expect(broker.ask({ op: OP_OPEN, family: 1 }).result).toBe(-EAFNOSUPPORT);
    expect(broker.ask({ op: OP_OPEN, type: RAW, protocol: ICMP }).result).toBe(-EPERM);
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }).result).toBe(-EBADF);
    broker.close();
  });

  test("ports that ask for a privilege, and raw sockets where they are allowed", () => {
    const broker = new Broker({ flags: RAW_TOO });
    const low = broker.ask({ op: OP_BIND, place: at(80) });
    expect(low.result).toBe(0);
    const raw = broker.ask({ op: OP_OPEN, type: RAW, protocol: ICMP });
    expect([raw.result, raw.flags]).toEqual([0, HAS_DESCRIPTOR]);
    closeFd(low.fd);
    closeFd(raw.fd);
    broker.close();
  });

  test("datagrams of a socket that is handed over, where everything is allowed", () => {
    const broker = new Broker();
    const receiver = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    expect(receiver.flags).toBe(HAS_DESCRIPTOR);
    const sender = broker.ask({ op: OP_CONNECT, type: DGRAM, place: at(receiver.place!.port) });
    expect(sender.result).toBe(0);
    say(sender.fd, "datagram");
    expect(take(receiver.fd)).toBe("datagram");
    expect(broker.ask({ op: OP_DISCONNECT }, sender.fd).result).toBe(0);
    expect(writeFd(sender.fd, Uint8Array.of(1), 1)).toBe(-EDESTADDRREQ);
    closeFd(sender.fd);
    closeFd(receiver.fd);
    broker.close();
  });

  test("an IPv6 socket takes IPv4 addresses, and with V6ONLY it does not", () => {
    const broker = new Broker();
    const { fd, port } = broker.listener(at6(0, "0".repeat(32)));
    const connected = broker.ask({ op: OP_CONNECT, place: at(port) });
    expect(poll1(fd, POLLIN, PATIENCE_MS)).toBe(POLLIN);
    const only = broker.ask({ op: OP_BIND, family: AF_INET6, place: at6(0, "0".repeat(32)), flags: WITH_V6ONLY });
    expect(broker.ask({ op: OP_BIND, place: at(only.place!.port, 0) }).result).toBe(0);
    for (const each of [fd, connected.fd, only.fd]) closeFd(each);
    broker.close();
  });

  test("the network as the host has it, then what changes", () => {
    const broker = new Broker();
    broker.post({ op: OP_NETWORK });
    const types = new Set<number>();
    const look = (data: Uint8Array): void => {
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      for (let i = 0; i < data.length; i += (view.getUint32(i, true) + 3) & ~3) {
        expect(view.getUint32(i, true)).toBeGreaterThanOrEqual(16);
        expect(i + view.getUint32(i, true)).toBeLessThanOrEqual(data.length);
        types.add(view.getUint16(i + 4, true));
      }
    };
    for (let answer = broker.receive()!; answer.kind !== KIND_ANSWER; answer = broker.receive()!) {
      expect([answer.kind, answer.seq]).toEqual([KIND_ROUTES, 1]);
      look(answer.data);
    }
    // RTM_NEWLINK, NEWADDR, NEWROUTE; and maybe neighbours, but no end of a dump.
    for (const type of [16, 20, 24]) expect(types.has(type)).toBe(true);
    expect(Math.min(...types)).toBe(16);
    types.clear();
    setLoopback(SIOCSIFMTU, 60000);
    const change = broker.receive()!;
    expect([change.kind, change.seq, change.result]).toEqual([KIND_ROUTES, 0, 0]);
    look(change.data);
    expect(types.has(16)).toBe(true);
    // Two at a time are answered one after the other.
    const [first, second] = [broker.post({ op: OP_NETWORK }), broker.post({ op: OP_NETWORK })];
    const order: number[] = [];
    while (order.length < 2) {
      const answer = broker.receive()!;
      if (answer.kind === KIND_ANSWER) order.push(answer.seq);
    }
    expect(order).toEqual([first, second]);
    setLoopback(SIOCSIFMTU, 65536);
    broker.close();
  });
});

describe.skipIf(!isRoot)("what rules restrict", () => {
  test("datagrams go through a relay, to where they may", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const receiver = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const sender = broker.ask({ op: OP_OPEN, type: DGRAM });
    expect([receiver.flags, sender.flags]).toEqual([HAS_DESCRIPTOR | IS_RELAY, HAS_DESCRIPTOR | IS_RELAY]);
    const to = at(receiver.place!.port);
    sendRelayed(sender.fd, to, "there");
    const came = takeRelayed(receiver.fd);
    expect(textOf(came)).toBe("there");
    sendRelayed(receiver.fd, (came as { from: Place }).from, "and back");
    const back = takeRelayed(sender.fd) as { from: Place };
    expect(back.from).toEqual(to);
    // Empty ones, and the longest.
    sendRelayed(sender.fd, to, "");
    expect(textOf(takeRelayed(receiver.fd))).toBe("");
    sendRelayed(sender.fd, to, new Uint8Array(65507).fill(7));
    expect((takeRelayed(receiver.fd) as { payload: Uint8Array }).payload).toEqual(new Uint8Array(65507).fill(7));
    sendRelayed(sender.fd, to, new Uint8Array(65508));
    expect(takeRelayed(sender.fd)).toBe(-90);
    // Where they may not.
    sendRelayed(sender.fd, at(53, ELSEWHERE), "secret");
    expect(takeRelayed(sender.fd)).toBe(-EACCES);
    broker.ping();
    expect(broker.refusals).toEqual(["egress udp 8.8.8.8:53: no rule allows it"]);
    // Rubbish is no datagram, and no end.
    for (const length of [0, 1, PLACE_SIZE - 1])
      sendmsg(sender.fd, new Uint8Array(64), length, new Int32Array(0), 0, MSG_DONTWAIT);
    sendRelayed(sender.fd, { ...to, family: 77 }, "x");
    expect(takeRelayed(sender.fd)).toBe(-EAFNOSUPPORT);
    sendRelayed(sender.fd, null, "x");
    expect(takeRelayed(sender.fd)).toBe(-EDESTADDRREQ);
    closeFd(sender.fd);
    closeFd(receiver.fd);
    broker.close();
  });

  test("a relay is bound, connected and disconnected by its descriptor", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const peer = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const socket = broker.ask({ op: OP_OPEN, type: DGRAM });
    expect(broker.ask({ op: OP_BIND, place: at(0) }, socket.fd).place!.port).toBeGreaterThan(0);
    const connected = broker.ask({ op: OP_CONNECT, place: at(peer.place!.port) }, socket.fd);
    expect([connected.result, connected.fd]).toEqual([0, -1]);
    sendRelayed(socket.fd, null, "connected");
    expect(textOf(takeRelayed(peer.fd))).toBe("connected");
    // The host's error for a port where nobody is.
    closeFd(peer.fd);
    for (let tries = 0; tries < 100 && broker.open > 7; tries++) Bun.sleepSync(5);
    sendRelayed(socket.fd, null, "x");
    expect(takeRelayed(socket.fd)).toBe(-ECONNREFUSED);
    expect(broker.ask({ op: OP_DISCONNECT }, socket.fd).result).toBe(0);
    sendRelayed(socket.fd, null, "x");
    expect(takeRelayed(socket.fd)).toBe(-EDESTADDRREQ);
    // There is no route, and no rule: the rules are asked when something is sent.
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }, socket.fd).result).toBe(-EOPNOTSUPP);
    closeFd(socket.fd);
    broker.close();
  });

  test("a connected socket hears of a refusal as of a port where nobody is", () => {
    const broker = new Broker({
      flags: RESTRICTED,
      rules: [{ kind: PREFIX, prefix: [0x7f000001, 32], ports: [1, 9] }],
    });
    const other = new Broker();
    const target = other.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const socket = broker.ask({ op: OP_CONNECT, type: DGRAM, place: at(target.place!.port) });
    expect(socket.result).toBe(0);
    sendRelayed(socket.fd, null, "x");
    expect(takeRelayed(socket.fd)).toBe(-ECONNREFUSED);
    expect(poll1(target.fd, POLLIN, 50)).toBe(0);
    for (const each of [socket.fd, target.fd]) closeFd(each);
    other.close();
    broker.close();
  });

  test("who serves at a port may answer whoever has spoken to it, and nobody else", () => {
    const broker = new Broker({ flags: RESTRICTED });
    const other = new Broker();
    const server = broker.ask({ op: OP_BIND, type: DGRAM, place: at(5300) });
    const client = other.ask({ op: OP_CONNECT, type: DGRAM, place: at(5300) });
    const stranger = other.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    say(client.fd, "question");
    const question = takeRelayed(server.fd) as { from: Place };
    sendRelayed(server.fd, question.from, "reply");
    expect(take(client.fd)).toBe("reply");
    sendRelayed(server.fd, at(stranger.place!.port), "news");
    expect(takeRelayed(server.fd)).toBe(-EACCES);
    for (const each of [server.fd, client.fd, stranger.fd]) closeFd(each);
    other.close();
    broker.close();
    // What a rule denies stays denied.
    const strict = new Broker({ flags: RESTRICTED, rules: [{ kind: PREFIX, prefix: [0x7f000001, 32], deny: true }] });
    const asker = new Broker();
    const denied = strict.ask({ op: OP_BIND, type: DGRAM, place: at(5301) });
    const asking = asker.ask({ op: OP_CONNECT, type: DGRAM, place: at(5301) });
    say(asking.fd, "question");
    sendRelayed(denied.fd, (takeRelayed(denied.fd) as { from: Place }).from, "reply");
    expect(takeRelayed(denied.fd)).toBe(-EACCES);
    for (const each of [denied.fd, asking.fd]) closeFd(each);
    asker.close();
    strict.close();
  });

  test("connections go where they may", () => {
    const broker = new Broker({
      flags: RESTRICTED | RAW_TOO,
      rules: [{ kind: PREFIX, prefix: [0x7f000001, 32], ports: [1, 9999] }],
    });
    const other = new Broker();
    const allowed = other.listener(at(8080));
    const forbidden = other.listener();
    const socket = broker.ask({ op: OP_CONNECT, place: at(8080) });
    expect([0, -EINPROGRESS]).toContain(socket.result);
    const refused = broker.ask({ op: OP_CONNECT, place: at(forbidden.port) });
    expect([refused.result, refused.fd]).toEqual([-ECONNREFUSED, -1]);
    expect(broker.refusals).toEqual([`egress tcp 127.0.0.1:${forbidden.port}: no rule allows it`]);
    // The same socket, once it is connected to nothing.
    expect(broker.ask({ op: OP_DISCONNECT }, socket.fd).result).toBe(0);
    expect(broker.ask({ op: OP_CONNECT, place: at(forbidden.port) }, socket.fd).result).toBe(-ECONNREFUSED);
    // Headers of its own would say what no rule has seen.
    expect(broker.ask({ op: OP_OPEN, type: RAW, protocol: UDP }).result).toBe(-EPERM);
    expect(broker.ask({ op: OP_OPEN, type: RAW, protocol: 255 }).result).toBe(-EPERM);
    const raw = broker.ask({ op: OP_OPEN, type: RAW, protocol: ICMP });
    expect([raw.result, raw.flags]).toEqual([0, HAS_DESCRIPTOR | IS_RELAY]);
    // IP_HDRINCL, IP_OPTIONS, IP_TRANSPARENT, SO_MARK, TCP_REPAIR; a group that no rule allows. IP_TTL is harmless.
    for (const [level, name] of [
      [0, 3],
      [0, 4],
      [0, 19],
      [1, 36],
      [TCP, 19],
    ] as const)
      expect(broker.ask({ op: OP_OPTION, level, name, data: new Uint8Array(4) }, raw.fd).result).toBe(-EPERM);
    const group = Uint8Array.of(224, 1, 2, 3, 127, 0, 0, 1);
    expect(broker.ask({ op: OP_OPTION, level: 0, name: 35, data: group }, raw.fd).result).toBe(-EPERM);
    expect(broker.ask({ op: OP_OPTION, level: 0, name: 2, data: Uint8Array.of(9, 0, 0, 0) }, raw.fd).result).toBe(0);
    for (const each of [socket.fd, raw.fd, allowed.fd, forbidden.fd]) closeFd(each);
    other.close();
    broker.close();
  });

  test("IPv4 through a relay of IPv6, by the rules of IPv4", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const receiver = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const { fd } = broker.ask({ op: OP_OPEN, type: DGRAM, family: AF_INET6 });
    const mapped = (port: number, ip: number): Place => at6(port, ip);
    sendRelayed(fd, mapped(receiver.place!.port, LOOPBACK4), "mapped");
    const came = takeRelayed(receiver.fd);
    expect(textOf(came)).toBe("mapped");
    sendRelayed(receiver.fd, (came as { from: Place }).from, "back");
    expect(takeRelayed(fd)).toMatchObject({ from: { family: AF_INET6, ip: LOOPBACK4, port: receiver.place!.port } });
    sendRelayed(fd, mapped(53, ELSEWHERE), "x");
    expect(takeRelayed(fd)).toBe(-EACCES);
    sendRelayed(fd, at6(53), "x");
    expect(takeRelayed(fd)).toBe(-EACCES);
    closeFd(fd);
    closeFd(receiver.fd);
    broker.close();
  });

  test("errors that come by ICMP are told where they are asked for, and once", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const { fd } = broker.ask({ op: OP_OPEN, type: DGRAM });
    sendRelayed(fd, at(9), "nobody is told");
    expect(takeRelayed(fd, 50)).toBeNull();
    // IP_RECVERR
    expect(broker.ask({ op: OP_OPTION, level: 0, name: 11, data: Uint8Array.of(1, 0, 0, 0) }, fd).result).toBe(0);
    sendRelayed(fd, at(9), "x");
    expect(takeRelayed(fd)).toBe(-ECONNREFUSED);
    expect(takeRelayed(fd, 50)).toBeNull();
    closeFd(fd);
    broker.close();
  });

  test("an echo through a raw relay", () => {
    const broker = new Broker({ ...LOOPBACK_ONLY, flags: RESTRICTED | RAW_TOO });
    const { fd } = broker.ask({ op: OP_OPEN, type: RAW, protocol: ICMP });
    // ICMP_ECHO, its checksum, 1, 1.
    sendRelayed(fd, at(0), Uint8Array.of(8, 0, 0xf7, 0xfd, 0, 1, 0, 1));
    const kinds = [takeRelayed(fd), takeRelayed(fd)].map((taken) => (taken as { payload: Uint8Array }).payload[20]);
    // It hears the question, too.
    expect(kinds).toEqual([8, 0]);
    sendRelayed(fd, at(0, ELSEWHERE), Uint8Array.of(8, 0, 0xf7, 0xfd, 0, 1, 0, 1));
    expect(takeRelayed(fd)).toBe(-EACCES);
    broker.ping();
    expect(broker.refusals).toEqual(["egress icmp 8.8.8.8: no rule allows it"]);
    closeFd(fd);
    broker.close();
  });

  test("where ports are published by the rules, others are not", () => {
    const broker = new Broker({
      flags: PUBLISH,
      publications: [
        { place: at(8081), protocol: TCP, port: 81 },
        { place: at(8082), protocol: UDP, port: 82 },
      ],
    });
    const web = broker.ask({ op: OP_BIND, place: at(81, 0) });
    expect(web.place).toEqual(at(8081));
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }, web.fd).result).toBe(0);
    const datagrams = broker.ask({ op: OP_BIND, type: DGRAM, place: at(82, 0) });
    expect(datagrams.place).toEqual(at(8082));
    expect(broker.ask({ op: OP_BIND, place: at(82, 0) }).result).toBe(-EACCES);
    expect(broker.ask({ op: OP_BIND, place: at(8081, 0) }).result).toBe(-EACCES);
    expect(broker.refusals).toEqual([
      "publish tcp 0.0.0.0:82: no rule allows it",
      "publish tcp 0.0.0.0:8081: no rule allows it",
    ]);
    // A client's port, which is nobody's to listen at.
    const client = broker.ask({ op: OP_BIND, place: at(0, 0) });
    expect(client.result).toBe(0);
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }, client.fd).result).toBe(-EACCES);
    const unbound = broker.ask({ op: OP_OPEN });
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }, unbound.fd).result).toBe(-EACCES);
    for (const { fd } of [web, datagrams, client, unbound]) closeFd(fd);
    broker.close();
  });

  test("relays have an end, and those that are closed make room", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    broker.ping();
    const before = broker.open;
    const fds: number[] = [];
    for (;;) {
      const { result, fd } = broker.ask({ op: OP_OPEN, type: DGRAM });
      if (result !== 0) {
        expect(result).toBe(-ENFILE);
        break;
      }
      fds.push(fd);
    }
    expect(fds.length).toBe(512);
    expect(broker.open).toBe(before + 1024);
    for (const fd of fds) closeFd(fd);
    for (let tries = 0; tries < 400 && broker.open > before; tries++) Bun.sleepSync(5);
    expect(broker.open).toBe(before);
    const again = broker.ask({ op: OP_OPEN, type: DGRAM });
    expect(again.result).toBe(0);
    closeFd(again.fd);
    broker.close();
  });

  test("what was sent last goes out although the sandbox has ended", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const other = new Broker();
    const target = other.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const { fd } = broker.ask({ op: OP_OPEN, type: DGRAM });
    process.kill(broker.pid, "SIGSTOP");
    sendRelayed(fd, at(target.place!.port), "last words");
    closeFd(fd);
    broker.close();
    process.kill(broker.pid, "SIGCONT");
    expect(take(target.fd)).toBe("last words");
    closeFd(target.fd);
    other.close();
  });
});

/** A resolver at a place, that says for every name the address that is asked for. */
class Resolver {
  private readonly broker = new Broker({ flags: RESTRICTED, rules: [{ kind: ALL }] });
  private readonly fd: number;
  constructor(place: Place) {
    const bound = this.broker.ask({ op: OP_BIND, type: DGRAM, place });
    expect(bound.result).toBe(0);
    this.fd = bound.fd;
  }
  /** Takes a question, without answering it. */
  question(): { from: Place; payload: Uint8Array } {
    const taken = takeRelayed(this.fd);
    if (taken === null || typeof taken === "number") throw new Error(`no question, but ${taken}`);
    return taken;
  }
  /** The reply to it: an address, or that there is no such name. */
  reply({ from, payload }: { from: Place; payload: Uint8Array }, ip: number | null): void {
    // Without what is behind the question (EDNS).
    let end = 12;
    while (payload[end] !== 0) end += payload[end]! + 1;
    end += 5;
    const reply = new Uint8Array(end + (ip === null ? 0 : 16));
    reply.set(payload.subarray(0, end));
    const view = new DataView(reply.buffer);
    view.setUint16(2, ip === null ? 0x8183 : 0x8180);
    view.setUint16(6, ip === null ? 0 : 1);
    view.setUint32(8, 0);
    if (ip !== null) {
      view.setUint16(end, 0xc00c);
      view.setUint32(end + 2, 0x00010001);
      view.setUint32(end + 6, 60);
      view.setUint16(end + 10, 4);
      view.setUint32(end + 12, ip);
    }
    sendRelayed(this.fd, from, reply);
  }
  close(): void {
    closeFd(this.fd);
    this.broker.close();
  }
}

describe.skipIf(!isRoot)("names", () => {
  const RESOLVER = at(5353, 0x7f000001);
  // An address of loopback is never what a name stands for; these have no route, and the host says so.
  const NAMED = 0x01020304;
  const OTHER = 0x01020305;
  const ENETUNREACH = 101;
  const rules: Rules = {
    flags: RESTRICTED,
    rules: [
      { kind: NAME, name: "example.org" },
      { kind: PREFIX, prefix: [0x7f000000, 8], ports: [7000, 7999] },
    ],
    resolvers: [RESOLVER],
  };

  test("a connection waits for its name, others do not, and neither does the next one", () => {
    const resolver = new Resolver(RESOLVER);
    const broker = new Broker(rules);
    const waiting = broker.post({ op: OP_CONNECT, place: at(443, NAMED) });
    const question = resolver.question();
    broker.ping();
    const meanwhile = broker.post({ op: OP_CONNECT, place: at(443, OTHER) });
    broker.ping();
    resolver.reply(question, NAMED);
    const results = new Map<number, number>();
    while (results.size < 2) {
      const answer = broker.receive()!;
      if (answer.kind === KIND_ANSWER) results.set(answer.seq, answer.result);
    }
    // Allowed, and the host has no way there; refused.
    expect(results.get(waiting)).toBe(-ENETUNREACH);
    expect(results.get(meanwhile)).toBe(-ECONNREFUSED);
    expect(broker.ask({ op: OP_CONNECT, place: at(443, NAMED) }).result).toBe(-ENETUNREACH);
    resolver.close();
    broker.close();
  });

  test("a datagram waits for its name, in its relay alone", () => {
    const resolver = new Resolver(RESOLVER);
    const broker = new Broker(rules);
    const one = broker.ask({ op: OP_OPEN, type: DGRAM });
    const another = broker.ask({ op: OP_BIND, type: DGRAM, place: at(7001) });
    sendRelayed(one.fd, at(443, NAMED), "waits");
    sendRelayed(one.fd, at(443, OTHER), "waits behind it");
    const question = resolver.question();
    sendRelayed(another.fd, at(7001), "to itself");
    expect(textOf(takeRelayed(another.fd))).toBe("to itself");
    expect(takeRelayed(one.fd, 50)).toBeNull();
    resolver.reply(question, NAMED);
    expect(takeRelayed(one.fd)).toBe(-ENETUNREACH);
    expect(takeRelayed(one.fd)).toBe(-EACCES);
    for (const { fd } of [one, another]) closeFd(fd);
    resolver.close();
    broker.close();
  });

  test("what the guest asks the resolver itself is learned before the guest has it", () => {
    const resolver = new Resolver(RESOLVER);
    const broker = new Broker(rules);
    const { fd } = broker.ask({ op: OP_OPEN, type: DGRAM });
    // A question for example.org, A.
    const question = Buffer.from("1234010000010000000000000765786d706c65036f726700", "hex");
    const name = Buffer.from("076578616d706c65036f726700", "hex");
    sendRelayed(fd, RESOLVER, Buffer.concat([question.subarray(0, 12), name, Buffer.from("00010001", "hex")]));
    resolver.reply(resolver.question(), NAMED);
    expect(takeRelayed(fd)).not.toBeNull();
    expect(broker.ask({ op: OP_CONNECT, place: at(443, NAMED) }).result).toBe(-ENETUNREACH);
    // Nobody poses as the resolver.
    expect(broker.ask({ op: OP_BIND, type: DGRAM, place: at(5353, 0) }).result).toBe(-EACCES);
    closeFd(fd);
    resolver.close();
    broker.close();
  });

  test("a name that nobody resolves is none that allows anything, after some seconds", () => {
    const broker = new Broker(rules);
    const silent = new Broker();
    const hole = silent.ask({ op: OP_BIND, type: DGRAM, place: RESOLVER });
    const began = performance.now();
    const fds = new Set<number>();
    // As many as there is room for wait; one more is told to try again.
    const seqs = Array.from({ length: 65 }, () => broker.post({ op: OP_CONNECT, place: at(443, NAMED) }));
    expect(broker.answer(seqs[64]).result).toBe(-EAGAIN);
    for (let i = 0; i < 64; ) {
      const answer = broker.receive()!;
      if (answer.kind !== KIND_ANSWER) continue;
      i++;
      expect(answer.result).toBe(-ECONNREFUSED);
      if (answer.fd >= 0) fds.add(answer.fd);
    }
    const took = performance.now() - began;
    expect(took).toBeGreaterThan(1000);
    expect(took).toBeLessThan(7000);
    expect(fds.size).toBe(0);
    closeFd(hole.fd);
    silent.close();
    broker.close();
  });
});

describe.skipIf(!isRoot)("what it has left itself", () => {
  test("ids, capabilities, filter, root, descriptors, limits", async () => {
    const spare = openSync("/etc", "r");
    for (const [rules, kept] of [
      [EVERYTHING, 0x400],
      [{ flags: RAW_TOO }, 0x2400],
    ] as const) {
      const broker = new Broker(rules);
      broker.ping();
      expect(broker.status("Name")).toBe("runts-broker");
      expect(broker.status("Uid")).toBe("65534\t65534\t65534\t65534");
      expect(broker.status("Gid")).toBe("65534\t65534\t65534\t65534");
      expect(broker.status("Groups").trim()).toBe("");
      for (const set of ["CapPrm", "CapEff", "CapBnd"]) expect(Number.parseInt(broker.status(set), 16)).toBe(kept);
      for (const set of ["CapInh", "CapAmb"]) expect(Number.parseInt(broker.status(set), 16)).toBe(0);
      expect([broker.status("NoNewPrivs"), broker.status("Seccomp")]).toEqual(["1", "2"]);
      // HUP, INT, QUIT, PIPE, TSTP, TTIN, TTOU, WINCH.
      expect(Number.parseInt(broker.status("SigIgn"), 16)).toBe(0x8381007);
      expect(readdirSync(`/proc/${broker.pid}/root`)).toEqual([]);
      expect(readlinkSync(`/proc/${broker.pid}/cwd`)).toBe("/");
      const kinds = readdirSync(`/proc/${broker.pid}/fd`).map(
        (fd) => readlinkSync(`/proc/${broker.pid}/fd/${fd}`).split(":")[0],
      );
      // Its socket, two of netlink, an epoll, and what it complains to.
      expect(kinds.length).toBe(5);
      expect(kinds.filter((kind) => kind === "socket" || kind === "pipe").length).toBe(4);
      expect(kinds).toContain("anon_inode");
      expect(readFileSync(`/proc/${broker.pid}/limits`, "latin1")).toMatch(/Max processes\s+0\s+0/);
      broker.close();
      expect(await broker.child.exited).toBe(0);
    }
    closeSync(spare);
  });

  test("other ids, if it is told some", () => {
    const broker = new Broker(EVERYTHING, ["70001", "70002"]);
    broker.ping();
    expect(broker.status("Uid")).toBe("70001\t70001\t70001\t70001");
    expect(broker.status("Gid")).toBe("70002\t70002\t70002\t70002");
    broker.close();
  });

  test("in a user namespace where it has no other id it gives up the rest", async () => {
    const pair = new Int32Array(2);
    expect(socketpair(SEQPACKET, pair)).toBe(0);
    const file = memoryFile("rules", encodeRules(EVERYTHING));
    const child = Bun.spawn(["unshare", "-r", "-n", "/proc/self/fd/3"], { stdio: [pair[1]!, file, "pipe", program] });
    closeFd(pair[1]!);
    closeFd(file);
    const bytes = encodeRequest(1, { op: OP_BIND, family: AF_INET, type: DGRAM, protocol: 0, place: at(53, 0) });
    sendmsg(pair[0]!, bytes, bytes.length, new Int32Array(0), 0, 0);
    if (poll1(pair[0]!, POLLIN, PATIENCE_MS) !== POLLIN) throw new Error(await new Response(child.stderr).text());
    const fds = new Int32Array(1);
    const n = recvmsg(pair[0]!, buffer, buffer.length, fds, Int32Array.of(1), MSG_DONTWAIT);
    expect(decodeAnswer(buffer, n, fds[0]!)?.result).toBe(0);
    closeFd(fds[0]!);
    const status = readFileSync(`/proc/${child.pid}/status`, "latin1");
    expect(status).toMatch(/^CapPrm:\s0000000000000400$/m);
    expect(status).toMatch(/^CapBnd:\s0000000000000400$/m);
    expect(status).toMatch(/^Seccomp:\s2$/m);
    expect(readdirSync(`/proc/${child.pid}/root`)).toEqual([]);
    closeFd(pair[0]!);
    expect(await child.exited).toBe(0);
  });

  test("it says why it does not begin", async () => {
    for (const [rules, args, why] of [
      [new Uint8Array(0), [], "its rules make no sense: errno 22"],
      [new Uint8Array(16).fill(255), [], "its rules make no sense: errno 22"],
      [encodeRules(EVERYTHING), ["1"], "usage: [UID GID]"],
      [encodeRules(EVERYTHING), ["1", "4294967295"], "usage: [UID GID]"],
    ] as const) {
      const broker = new Broker(rules, [...args]);
      expect(await broker.child.exited).toBe(1);
      expect(await new Response(broker.child.stderr).text()).toBe(`runts-broker: ${why}\n`);
      broker.close();
    }
  });
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}

/** The same numbers each time. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe.skipIf(!isRoot)("what it must stand", () => {
  for (const [what, rules] of [
    ["everything allowed", EVERYTHING],
    ["restricted", LOOPBACK_ONLY],
  ] as const)
    test(`10,000 requests leave no descriptor and no memory behind: ${what}`, () => {
      const broker = new Broker(rules);
      const { fd: listening, port } = broker.listener();
      const cycle = (): void => {
        for (const type of [STREAM, DGRAM]) {
          const bound = broker.ask({ op: OP_BIND, type, place: at(0) });
          const connected = broker.ask({ op: OP_CONNECT, type, place: at(port) });
          broker.ask({ op: OP_DISCONNECT }, connected.fd);
          broker.ask({ op: OP_OPTION, level: 0, name: 2, data: Uint8Array.of(3, 0, 0, 0) }, bound.fd);
          expect(broker.ask({ op: OP_BIND, type, place: at(0, ELSEWHERE) }).result).toBe(-EADDRNOTAVAIL);
          expect(broker.ask({ op: OP_LISTEN, arg: 1 }, connected.fd).result).toBe(type === STREAM ? 0 : -EOPNOTSUPP);
          for (const { fd } of [bound, connected]) closeFd(fd);
        }
        for (let fd = accept(listening, 0); fd >= 0; fd = accept(listening, 0)) closeFd(fd);
        expect(broker.ask({ op: OP_CONNECT, family: AF_INET6, place: at(1, ELSEWHERE) }).fd).toBe(-1);
      };
      const settled = (): number => {
        let open = broker.open;
        for (let tries = 0; tries < 100 && open > 5; tries++) {
          Bun.sleepSync(2);
          open = broker.open;
        }
        return open;
      };
      for (let i = 0; i < 20; i++) cycle();
      const [open, pss] = [settled(), broker.pss];
      for (let i = 0; i < 800; i++) cycle();
      expect(settled()).toBe(open);
      expect(broker.pss).toBeLessThanOrEqual(pss + 16);
      closeFd(listening);
      broker.close();
    });

  test("requests of random numbers, with descriptors of every kind, are answered, and it is as before", () => {
    for (const rules of [EVERYTHING, LOOPBACK_ONLY, { flags: RESTRICTED | RAW_TOO, rules: [{ kind: ALL }] }]) {
      const random = randomNumbers(rules.flags + 7);
      const broker = new Broker(rules);
      broker.ping();
      const before = broker.open;
      const pipe = new Int32Array(2);
      const pair = new Int32Array(2);
      pipe2(pipe, 0);
      socketpair(SEQPACKET, pair);
      const foreign = new Broker(rules);
      const strange = [
        ...pipe,
        ...pair,
        openSync("/dev/null", "r"),
        openSync("/etc", "r"),
        openSync(`/proc/self/ns/net`, "r"),
        memoryFile("x", new Uint8Array(1)),
        epollCreate(),
        unixSocket(STREAM),
        unixSocket(DGRAM),
        dup(broker.socket),
        foreign.ask({ op: OP_OPEN, type: DGRAM }).fd,
        foreign.listener().fd,
      ];
      const kept: number[] = [];
      const from = <T>(list: readonly T[]): T => list[random(list.length)]!;
      for (let i = 0; i < 3000; i++) {
        const bytes = new Uint8Array(56 + random(4) * random(65));
        for (let k = 0; k < bytes.length; k++) bytes[k] = random(256);
        const view = new DataView(bytes.buffer);
        view.setUint32(0, i + 1, true);
        // Mostly what makes sense a little.
        if (random(8) > 0) view.setUint16(4, random(10), true);
        if (random(8) > 0) view.setUint16(6, from([0, 1, 2, 2, 2, 10, 10, 16, 17]), true);
        if (random(8) > 0) view.setUint16(8, random(6), true);
        if (random(8) > 0) view.setUint16(10, from([0, 0, 0, 1, 6, 17, 58, 132, 255, 256, 262]), true);
        if (random(8) > 0) view.setUint32(16, random(32), true);
        if (random(8) > 0)
          writePlace(view, 20, from([at(random(65536)), at6(random(65536)), at(0, 0), at(9, ELSEWHERE)]));
        if (random(8) > 0) view.setUint16(44, from([0, 1, 6, 17, 41, 255]), true);
        if (random(8) > 0) view.setUint16(46, random(80), true);
        if (random(8) > 0) view.setUint32(48, 0, true);
        if (random(8) > 0) view.setUint32(52, bytes.length - 56, true);
        const fds = Array.from({ length: from([0, 0, 1, 1, 1, 2, 5, 40]) }, () =>
          from(random(2) ? strange : [...strange, ...kept]),
        );
        expect(broker.send(bytes, fds)).toBe(bytes.length);
        for (;;) {
          const answer = broker.receive();
          if (answer === null) throw new Error(`it ended at ${Buffer.from(bytes).toString("hex")}`);
          if (answer.fd >= 0) kept.push(answer.fd);
          if (kept.length > 40) closeFd(kept.splice(random(40), 1)[0]!);
          if (answer.kind === KIND_ANSWER && answer.seq === i + 1) break;
          expect(answer.seq === 0 || answer.kind === KIND_ROUTES).toBe(true);
        }
      }
      for (const fd of [...strange, ...kept]) closeFd(fd);
      foreign.close();
      for (let tries = 0; tries < 400 && broker.open > before; tries++) Bun.sleepSync(5);
      expect(broker.open).toBe(before);
      expect(broker.pss).toBeLessThan(400);
      broker.close();
    }
  });

  test("what has no head ends it, with a word", async () => {
    for (const bytes of [new Uint8Array(1), new Uint8Array(55).fill(1), new Uint8Array(56), new Uint8Array(5000)]) {
      const broker = new Broker();
      broker.send(bytes);
      expect(broker.receive()).toBeNull();
      expect(await broker.child.exited).toBe(1);
      expect(await new Response(broker.child.stderr).text()).toBe(
        "runts-broker: what the sandbox says makes no sense\n",
      );
      broker.close();
    }
  });

  test("rubbish in relays, with descriptors", () => {
    const random = randomNumbers(3);
    const broker = new Broker(LOOPBACK_ONLY);
    const relays = Array.from(
      { length: 8 },
      (_, i) => broker.ask({ op: OP_OPEN, type: DGRAM, family: i < 4 ? AF_INET : AF_INET6 }).fd,
    );
    // It closes what it has handed over after it has.
    broker.ping();
    const [open, file] = [broker.open, openSync("/dev/null", "r")];
    for (let i = 0; i < 5000; i++) {
      const bytes = new Uint8Array(random(random(20) === 0 ? 70000 : 60)).map(() => random(256));
      // 127.x.y.z, or whatever.
      if (bytes.length >= PLACE_SIZE && random(2) === 0)
        writePlace(
          new DataView(bytes.buffer),
          0,
          at(random(65536), 0x7f000000 + random(1 << 24), random(2) === 0 ? AF_INET : AF_INET6),
        );
      const fds = Array.from({ length: random(8) === 0 ? 1 + random(20) : 0 }, () => file);
      const fd = relays[random(relays.length)]!;
      sendmsg(fd, bytes, bytes.length, Int32Array.from(fds), fds.length, MSG_DONTWAIT);
      while (random(4) === 0 && takeRelayed(fd, 0) !== null);
      if (i % 500 === 0) broker.ping();
    }
    broker.ping();
    expect(broker.open).toBe(open);
    for (const fd of [...relays, file]) closeFd(fd);
    broker.close();
  });

  test("changes of the network that were lost are told as such", () => {
    const broker = new Broker();
    broker.ping();
    process.kill(broker.pid, "SIGSTOP");
    for (let i = 0; i < 1500; i++) setLoopback(SIOCSIFMTU, 60000 + (i & 1));
    process.kill(broker.pid, "SIGCONT");
    let lost = false;
    for (let tries = 0; tries < 2000 && !lost; tries++) {
      const answer = broker.receive()!;
      expect([answer.kind, answer.seq]).toEqual([KIND_ROUTES, 0]);
      lost = answer.result === -ENOBUFS;
      if (lost) expect(answer.data.length).toBe(0);
    }
    expect(lost).toBe(true);
    setLoopback(SIOCSIFMTU, 65536);
    broker.close();
  });

  test("descriptors that are no sockets of its own", () => {
    const broker = new Broker();
    const inside = unixSocket(STREAM);
    const file = openSync("/dev/null", "r");
    for (const op of [OP_BIND, OP_CONNECT, OP_LISTEN, OP_OPTION, OP_DISCONNECT]) {
      expect(broker.ask({ op, place: at(1), level: 0, name: 2, data: new Uint8Array(4) }, inside).result).toBe(-EINVAL);
      expect(broker.ask({ op, place: at(1), level: 0, name: 2, data: new Uint8Array(4) }, file).result).toBe(-ENOTSOCK);
    }
    for (const op of [OP_PING, OP_NETWORK, OP_OPEN, 0, 9, 65535])
      expect(broker.ask({ op, type: DGRAM }, inside).result).toBe(-EINVAL);
    closeFd(inside);
    closeSync(file);
    broker.close();
  });

  test("a socket of another network is none of its own", () => {
    const broker = new Broker();
    // The test's own network has one, which the engine opens.
    const before = new Set(readdirSync("/proc/self/fd").map(linkOf));
    const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const fds = readdirSync("/proc/self/fd").filter(
      (fd) => linkOf(fd).startsWith("socket:") && !before.has(linkOf(fd)),
    );
    expect(fds.length).toBe(1);
    expect(broker.ask({ op: OP_LISTEN, arg: 1 }, Number(fds[0])).result).toBe(-EINVAL);
    server.stop(true);
    broker.close();
  });

  test("answers that nobody reads stop requests, not relays, and are all there in the end", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const receiver = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const sender = broker.ask({ op: OP_OPEN, type: DGRAM });
    const pss = broker.pss;
    let sent = 0;
    // Also with answers that carry a descriptor, and refusals.
    for (const deadline = performance.now() + 5000; performance.now() < deadline; ) {
      const request =
        sent % 3 === 0
          ? { op: OP_PING, family: 0, type: 0, protocol: 0 }
          : {
              op: OP_CONNECT,
              family: AF_INET,
              type: STREAM,
              protocol: 0,
              place: at(9, sent % 3 === 1 ? LOOPBACK4 : ELSEWHERE),
            };
      const n = broker.send(encodeRequest(1000 + sent, request), [], MSG_DONTWAIT);
      if (n === -EAGAIN) {
        // It has taken what it takes when nothing more goes in for a while.
        if (poll1(broker.socket, 4, 200) === 0) break;
        continue;
      }
      sent++;
    }
    expect(sent).toBeGreaterThan(100);
    for (let i = 0; i < 1000; i++) {
      sendRelayed(sender.fd, at(receiver.place!.port), `${i}`);
      expect(textOf(takeRelayed(receiver.fd))).toBe(`${i}`);
    }
    expect(broker.pss).toBeLessThanOrEqual(pss + 64);
    let next = 1000;
    while (next < 1000 + sent) {
      const answer = broker.receive()!;
      if (answer.fd >= 0) closeFd(answer.fd);
      if (answer.kind === KIND_ANSWER) expect(answer.seq).toBe(next++);
    }
    broker.ping();
    for (const { fd } of [receiver, sender]) closeFd(fd);
    broker.close();
  });

  test("it hears of the sandbox's end although that lies in its own queue, behind requests that nobody reads the answers of", async () => {
    const broker = new Broker();
    const ping = encodeRequest(7, { op: OP_PING, family: 0, type: 0, protocol: 0 });
    for (;;) {
      const n = broker.send(ping, [broker.socket], MSG_DONTWAIT);
      if (n !== ping.length && poll1(broker.socket, 4, 300) === 0) break;
    }
    broker.close();
    expect(await broker.child.exited).toBe(0);
  });

  test("who does not read for seconds has its requests refused, and is served again when it does", () => {
    const broker = new Broker();
    let sent = 0;
    for (const until = performance.now() + 1500; performance.now() < until; ) {
      const n = broker.send(
        encodeRequest(1 + sent, { op: OP_PING, family: 0, type: 0, protocol: 0 }),
        [],
        MSG_DONTWAIT,
      );
      if (n > 0) sent++;
      else Bun.sleepSync(20);
    }
    const results = new Map<number, number>();
    while (results.size < sent) {
      const { seq, result } = broker.receive()!;
      expect(results.has(seq)).toBe(false);
      results.set(seq, result);
    }
    const refused = [...results.values()].filter((result) => result !== 0);
    expect(refused.length).toBeGreaterThan(0);
    expect(new Set(refused)).toEqual(new Set([-ENOBUFS]));
    broker.ask({ op: OP_PING });
    broker.close();
  });

  test("who asks on and on and never reads is left", async () => {
    const broker = new Broker();
    const ping = encodeRequest(7, { op: OP_PING, family: 0, type: 0, protocol: 0 });
    for (const until = performance.now() + 20_000; performance.now() < until; ) {
      const n = broker.send(ping, [], MSG_DONTWAIT);
      if (n === -EPIPE) break;
      if (n < 0) await Bun.sleep(20);
    }
    expect(await broker.child.exited).toBe(1);
    expect(await new Response(broker.child.stderr).text()).toBe("runts-broker: the sandbox asks and does not listen\n");
    broker.close();
  });

  test("a relay that nobody reads loses datagrams, and its broker nothing else", () => {
    const broker = new Broker(LOOPBACK_ONLY);
    const deaf = broker.ask({ op: OP_BIND, type: DGRAM, place: at(0) });
    const sender = broker.ask({ op: OP_OPEN, type: DGRAM });
    const pss = broker.pss;
    for (let i = 0; i < 3000; i++) {
      sendRelayed(sender.fd, at(deaf.place!.port), new Uint8Array(1000));
      if (i % 50 === 0) broker.ping();
    }
    const used = () => Number(readFileSync(`/proc/${broker.pid}/stat`, "latin1").split(") ")[1]!.split(" ")[11]);
    Bun.sleepSync(50);
    const before = used();
    Bun.sleepSync(300);
    // It waits, and does not turn in circles.
    expect(used() - before).toBeLessThan(10);
    expect(broker.pss).toBeLessThanOrEqual(pss + 80);
    let came = 0;
    while (takeRelayed(deaf.fd, 200) !== null) came++;
    expect(came).toBeGreaterThan(20);
    sendRelayed(sender.fd, at(deaf.place!.port), "heard again");
    expect(textOf(takeRelayed(deaf.fd))).toBe("heard again");
    for (const { fd } of [deaf, sender]) closeFd(fd);
    broker.close();
  });

  test("it ends when its socket does, and what it handed over lives on", async () => {
    const broker = new Broker();
    const { fd, port } = broker.listener();
    const { fd: connected } = broker.ask({ op: OP_CONNECT, place: at(port) });
    poll1(fd, POLLIN, PATIENCE_MS);
    const accepted = accept(fd, 0);
    for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGWINCH"] as const)
      process.kill(broker.pid, signal);
    broker.ping();
    broker.close();
    expect(await broker.child.exited).toBe(0);
    say(connected, "still there");
    expect(take(accepted)).toBe("still there");
    for (const each of [fd, connected, accepted]) closeFd(each);
  });
});
