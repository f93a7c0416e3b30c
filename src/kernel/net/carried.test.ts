import { afterEach, describe, expect, test } from "bun:test";
import { closeFd, readNoWait, shutdown, socketpair, writeNoWait } from "../../native/host.ts";
import { EAGAIN, ECONNREFUSED, ECONNRESET } from "../abi/errno.ts";
import { O_NONBLOCK } from "../abi/fcntl.ts";
import type { Slice } from "../slice.ts";
import { resaved } from "../testing/saving.ts";
import { TaskKit } from "../testing/task-kit.ts";
import { KernelIo } from "../vfs/io.ts";
import { AF_INET, AF_INET6 } from "./abi.ts";
import { Carried } from "./carried.ts";
import { formatEndpoint } from "./inet/address.ts";
import { ANY4, ANY6, type Ip, LOOPBACK4, LOOPBACK6 } from "./inet/ip.ts";
import { TcpSocket } from "./inet/tcp.ts";
import type { Socket } from "./socket.ts";

const PORT = 8000;
const SHUT_WR = 1;
const SOCK_STREAM_NONBLOCK = 1 | O_NONBLOCK;

class World {
  readonly kit = new TaskKit();
  readonly kernel = this.kit.kernel;
  readonly results: number[] = [];
  closed = 0;
  /** Outside's end. */
  readonly outside: number;
  private readonly inside: number;

  constructor() {
    const pair = new Int32Array(2);
    socketpair(SOCK_STREAM_NONBLOCK, pair);
    [this.outside, this.inside] = [pair[0]!, pair[1]!];
  }
  listen(ip: Ip): TcpSocket {
    const family = typeof ip === "number" ? AF_INET : AF_INET6;
    const server = new TcpSocket(this.kernel, family, O_NONBLOCK, 0);
    expect(server.bind(this.kit.task, formatEndpoint(ip, PORT, family))).toBe(0);
    expect(server.listen(this.kit.task, 5)).toBe(0);
    return server;
  }
  begin(): Carried | number {
    return Carried.begin(
      this.kernel,
      this.kit.task,
      this.inside,
      PORT,
      (result) => this.results.push(result),
      () => this.closed++,
    );
  }
  /** Until nothing more happens. */
  turn(): void {
    for (let i = 0; i < 200; i++) {
      this.kernel.poller.dispatch();
      for (let chore = this.kernel.chores.shift(); chore !== undefined; chore = this.kernel.chores.shift())
        chore.step(null as unknown as Slice);
    }
  }
  accept(server: TcpSocket): Socket {
    const child = server.accept(this.kit.task, O_NONBLOCK);
    if (typeof child === "number") throw new Error(`accept: ${child}`);
    return child;
  }
  receive(socket: Socket, size = 100): string | number {
    const io = new KernelIo(new Uint8Array(size));
    const n = socket.receive(this.kit.task, io, 0, null);
    return n < 0 ? n : Buffer.from(io.buffer.subarray(0, n)).toString();
  }
  read(): string | number {
    const bytes = new Uint8Array(100);
    const n = readNoWait(this.outside, bytes, bytes.length);
    return n < 0 ? n : Buffer.from(bytes.subarray(0, n)).toString();
  }
  write(text: string): void {
    expect(writeNoWait(this.outside, Buffer.from(text), text.length)).toBe(text.length);
  }
}

describe("a connection that is carried", () => {
  let world: World;
  afterEach(() => closeFd(world.outside));

  test.each([
    [ANY4, "any"],
    [LOOPBACK4, "loopback"],
    [ANY6, "any of IPv6"],
    [LOOPBACK6, "loopback of IPv6"],
  ])("reaches who listens on %p (%s), both ways, to both ends", (ip) => {
    world = new World();
    const server = world.listen(ip);
    expect(world.begin()).toBeInstanceOf(Carried);
    world.write("hello");
    world.turn();
    expect(world.results).toEqual([0]);
    const child = world.accept(server);
    expect(world.receive(child)).toBe("hello");
    expect(child.send(world.kit.task, new KernelIo(Buffer.from("there")), 0, null)).toBe(5);
    world.turn();
    expect(world.read()).toBe("there");
    shutdown(world.outside, SHUT_WR);
    world.turn();
    expect(world.receive(child)).toBe("");
    expect(child.send(world.kit.task, new KernelIo(Buffer.from("last")), 0, null)).toBe(4);
    child.release();
    world.turn();
    expect(world.read()).toBe("last");
    expect(world.read()).toBe("");
    expect(world.closed).toBe(1);
    expect(world.kernel.net.sockets).toBe(1);
    server.release();
  });

  test("moves much, while neither end holds it all", () => {
    world = new World();
    const server = world.listen(ANY4);
    world.begin();
    world.turn();
    const child = world.accept(server);
    const chunk = new Uint8Array(100_000).fill(7);
    const wanted = 20_000_000;
    let [sent, received, back, echoed] = [0, 0, 0, 0];
    const buffer = new Uint8Array(70_000);
    for (let i = 0; i < 20_000 && echoed < wanted; i++) {
      if (sent < wanted) sent += Math.max(0, writeNoWait(world.outside, chunk, Math.min(chunk.length, wanted - sent)));
      for (let j = 0; j < 3; j++) {
        world.kernel.poller.dispatch();
        world.kernel.chores.shift()?.step(null as unknown as Slice);
      }
      const n = child.receive(world.kit.task, new KernelIo(buffer), 0, null);
      if (n > 0) received += n;
      if (back < received) {
        const out = child.send(
          world.kit.task,
          new KernelIo(buffer, 0, Math.min(buffer.length, received - back)),
          0,
          null,
        );
        if (out > 0) back += out;
      }
      const m = readNoWait(world.outside, buffer, buffer.length);
      if (m > 0) echoed += m;
    }
    expect([sent, received, back, echoed]).toEqual([wanted, wanted, wanted, wanted]);
    child.release();
    server.release();
    world.turn();
  });

  test("nobody there is a refusal, and the descriptor is gone", () => {
    world = new World();
    expect(world.begin()).toBe(-ECONNREFUSED);
    expect(world.read()).toBe("");
  });

  test("a full queue of who listens is waited for", () => {
    world = new World();
    const server = world.listen(ANY4);
    server.listen(world.kit.task, 0);
    const other = new World();
    world.begin();
    // The second waits behind the first.
    const pair = new Int32Array(2);
    socketpair(SOCK_STREAM_NONBLOCK, pair);
    const results: number[] = [];
    Carried.begin(
      world.kernel,
      world.kit.task,
      pair[1]!,
      PORT,
      (result) => results.push(result),
      () => {},
    );
    world.turn();
    expect(world.results).toEqual([0]);
    expect(results).toEqual([]);
    const child = world.accept(server);
    world.turn();
    expect(results).toEqual([0]);
    closeFd(pair[0]!);
    closeFd(other.outside);
    child.release();
    server.release();
    world.turn();
  });

  test("its end is the server's end, and a reset where it has to be", () => {
    world = new World();
    const server = world.listen(ANY4);
    const carried = world.begin() as Carried;
    world.turn();
    const child = world.accept(server);
    expect(world.receive(child)).toBe(-EAGAIN);
    carried.close();
    expect(world.receive(child)).toBe("");
    expect(world.read()).toBe("");
    expect(world.closed).toBe(1);
    child.release();

    const pair = new Int32Array(2);
    socketpair(SOCK_STREAM_NONBLOCK, pair);
    const second = Carried.begin(
      world.kernel,
      world.kit.task,
      pair[1]!,
      PORT,
      () => {},
      () => {},
    ) as Carried;
    world.turn();
    const other = world.accept(server);
    second.reset();
    expect(world.receive(other)).toBe(-ECONNRESET);
    for (const fd of pair) closeFd(fd);
    other.release();
    server.release();
  });

  test("is reset in a restored kernel", () => {
    world = new World();
    const server = world.listen(ANY4);
    world.begin();
    world.write("unseen");
    world.turn();
    const { task, kernel } = world.kit;
    const fd = task.files.install(world.accept(server), false, 100);
    task.files.install(server, false, 100);
    kernel.current = null;
    const restored = resaved(kernel, undefined, undefined, [], false);
    const other = [...restored.tasks][0]!;
    const child = other.files.get(fd) as Socket;
    const io = new KernelIo(new Uint8Array(100));
    // What had come is there to be read.
    expect(child.receive(other, io, 0, null)).toBe(6);
    expect(child.receive(other, io, 0, null)).toBe(-ECONNRESET);
    expect(restored.net.sockets).toBe(kernel.net.sockets - 1);
  });
});
