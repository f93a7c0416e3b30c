import { describe, expect, test } from "bun:test";
import { EACCES, EALREADY, ECONNREFUSED, ECONNRESET, EINPROGRESS, EPERM } from "../abi/errno.ts";
import { BLOCKED } from "../syscall.ts";
import { accept4 } from "../syscalls/accept.ts";
import { bind, listen } from "../syscalls/bind.ts";
import { close } from "../syscalls/close.ts";
import { connect } from "../syscalls/connect.ts";
import { read } from "../syscalls/read.ts";
import { recvfrom } from "../syscalls/recvfrom.ts";
import { sendto } from "../syscalls/sendto.ts";
import { socket } from "../syscalls/socket.ts";
import { getsockopt } from "../syscalls/sockopt.ts";
import { write } from "../syscalls/write.ts";
import { MEMORY, TaskKit } from "../testing/task-kit.ts";
import { POLLERR, POLLOUT } from "../vfs/file.ts";
import { AF_INET, SO_ERROR, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } from "./abi.ts";
import { Decision, type NetworkAttempt, type NetworkEvent, type NetworkHook, NetworkHooks } from "./hooks.ts";
import { formatIp } from "./inet/ip.ts";

const DATA = MEMORY;
const ADDR = MEMORY + 0x180000;
const VALUE = MEMORY + 0x180100;
const LENGTH = MEMORY + 0x180200;
const PORT = 8080;

class Hooked extends TaskKit {
  readonly seen: string[] = [];
  readonly listener: number;

  constructor(hooks: Partial<Record<NetworkEvent, NetworkHook>>) {
    super();
    this.listener = this.make(SOCK_STREAM);
    this.call(bind, this.listener, ADDR, this.address(PORT));
    this.call(listen, this.listener, 16);
    this.kernel.networkHooks = new NetworkHooks(this.kernel);
    for (const [event, hook] of Object.entries(hooks) as [NetworkEvent, NetworkHook][])
      this.kernel.networkHooks.add(event, (attempt) => {
        this.seen.push(this.text(event, attempt));
        return hook(attempt);
      });
  }
  private text(event: string, { ip, port, protocol, inside, names }: NetworkAttempt): string {
    return [event, protocol, `${formatIp(ip)}:${port}`, ...(inside ? ["inside"] : []), ...names].join(" ");
  }
  make(type: number): number {
    return this.call(socket, AF_INET, type, 0);
  }
  address(port: number, ip = "127.0.0.1"): number {
    const bytes = [AF_INET, 0, port >> 8, port & 255, ...ip.split(".").map(Number), ...new Array<number>(8).fill(0)];
    return this.put(ADDR, Uint8Array.from(bytes));
  }
  connectTo(fd: number, port = PORT, ip?: string): number {
    return this.call(connect, fd, ADDR, this.address(port, ip));
  }
  error(fd: number): number {
    this.put(LENGTH, Uint8Array.of(4, 0, 0, 0));
    this.call(getsockopt, fd, SOL_SOCKET, SO_ERROR, VALUE, LENGTH);
    return this.view(VALUE, 4).getInt32(0, true);
  }
  poll(fd: number): number {
    return this.task.files.get(fd)!.poll();
  }
  /** The blocked call of the first task goes on. */
  rerun(what: Parameters<TaskKit["again"]>[1]): number | undefined {
    this.kernel.rerunning = true;
    const result = this.again(this.task, what);
    this.kernel.rerunning = false;
    return result;
  }
}

describe("connect", () => {
  test("the hook is told where to, and refuses", () => {
    const kit = new Hooked({ connect: ({ port }) => (port === PORT ? 0 : -EACCES) });
    expect(kit.connectTo(kit.make(SOCK_STREAM))).toBe(0);
    expect(kit.connectTo(kit.make(SOCK_STREAM), 81)).toBe(-EACCES);
    expect(kit.connectTo(kit.make(SOCK_STREAM), 82, "192.0.2.7")).toBe(-EACCES);
    expect(kit.seen).toEqual([
      "connect tcp 127.0.0.1:8080 inside",
      "connect tcp 127.0.0.1:81 inside",
      "connect tcp 192.0.2.7:82",
    ]);
  });

  test("the first that refuses decides, also after one that took its time", () => {
    const first = new Decision();
    const kit = new Hooked({ connect: () => first });
    const asked: string[] = [];
    kit.kernel.networkHooks!.add("connect", () => -EPERM);
    kit.kernel.networkHooks!.add("connect", () => asked.push("third") && 0);
    expect(kit.connectTo(kit.make(SOCK_STREAM))).toBe(BLOCKED);
    first.settle(0);
    expect(kit.rerun(connect)).toBe(-EPERM);
    expect(asked).toEqual([]);
    expect(kit.seen).toHaveLength(1);
  });

  test("what would be no new connection is not asked about", () => {
    const kit = new Hooked({ connect: () => 0 });
    const fd = kit.make(SOCK_STREAM);
    expect(kit.connectTo(fd)).toBe(0);
    expect(kit.connectTo(fd)).toBeLessThan(0);
    expect(kit.seen).toHaveLength(1);
  });

  test("a waiting thread is asked about once, and about what it says then", () => {
    const decisions: Decision[] = [];
    const kit = new Hooked({
      connect: () => {
        decisions.push(new Decision());
        return decisions.at(-1)!;
      },
    });
    const fd = kit.make(SOCK_STREAM);
    expect(kit.connectTo(fd)).toBe(BLOCKED);
    // Another thread changes the address while it waits.
    kit.address(81);
    decisions[0]!.settle(0);
    expect(kit.rerun(connect)).toBe(BLOCKED);
    expect(kit.seen).toEqual(["connect tcp 127.0.0.1:8080 inside", "connect tcp 127.0.0.1:81 inside"]);
    decisions[1]!.settle(-EACCES);
    expect(kit.rerun(connect)).toBe(-EACCES);
  });

  test("a connect that does not wait is under way until the answer", () => {
    const decisions: Decision[] = [];
    const kit = new Hooked({
      connect: () => {
        decisions.push(new Decision());
        return decisions.at(-1)!;
      },
    });
    const [allowed, refused, nobody, closed] = [0, 1, 2, 3].map(() => kit.make(SOCK_STREAM | SOCK_NONBLOCK));
    expect(kit.connectTo(allowed!)).toBe(-EINPROGRESS);
    expect(kit.connectTo(allowed!)).toBe(-EALREADY);
    expect(kit.connectTo(refused!)).toBe(-EINPROGRESS);
    expect(kit.connectTo(nobody!, 81)).toBe(-EINPROGRESS);
    expect(kit.connectTo(closed!)).toBe(-EINPROGRESS);
    expect(kit.poll(allowed!)).toBe(0);
    kit.call(close, closed!);
    decisions[0]!.settle(0);
    decisions[1]!.settle(-EACCES);
    decisions[2]!.settle(0);
    decisions[3]!.settle(0);
    expect(kit.poll(allowed!) & (POLLOUT | POLLERR)).toBe(POLLOUT);
    expect(kit.error(allowed!)).toBe(0);
    expect(kit.poll(refused!) & POLLERR).toBe(POLLERR);
    expect(kit.error(refused!)).toBe(EACCES);
    expect(kit.error(nobody!)).toBe(ECONNREFUSED);
    expect(decisions).toHaveLength(4);
    expect(kit.kernel.net.asking.connects.size).toBe(0);
  });

  test("an old answer is not for a new question", () => {
    const decisions: Decision[] = [];
    const kit = new Hooked({
      connect: () => {
        decisions.push(new Decision());
        return decisions.at(-1)!;
      },
    });
    const fd = kit.make(SOCK_STREAM | SOCK_NONBLOCK);
    expect(kit.connectTo(fd)).toBe(-EINPROGRESS);
    kit.put(ADDR, new Uint8Array(16));
    expect(kit.call(connect, fd, ADDR, 16)).toBe(0);
    expect(kit.connectTo(fd, 81)).toBe(-EINPROGRESS);
    decisions[0]!.settle(0);
    expect(kit.poll(fd) & POLLOUT).toBe(0);
    decisions[1]!.settle(-EACCES);
    expect(kit.error(fd)).toBe(EACCES);
  });

  test("in a kernel that was saved they fail", () => {
    const kit = new Hooked({ connect: () => new Decision() });
    const fd = kit.make(SOCK_STREAM | SOCK_NONBLOCK);
    kit.connectTo(fd);
    kit.kernel.net.asking.giveUp();
    expect(kit.error(fd)).toBe(ECONNRESET);
  });
});

describe("accept", () => {
  test("a refused connection is closed, and the next one given", () => {
    let n = 0;
    const kit = new Hooked({ accept: () => (++n === 1 ? -EPERM : 0) });
    const [first, second] = [kit.make(SOCK_STREAM), kit.make(SOCK_STREAM)];
    for (const fd of [first, second]) expect(kit.connectTo(fd)).toBe(0);
    const made = kit.call(accept4, kit.listener, 0, 0, 0);
    expect(made).toBeGreaterThan(second);
    expect(kit.call(write, second, DATA, kit.put(DATA, "to the second"))).toBe(13);
    expect(kit.call(read, made, DATA, 100)).toBe(13);
    expect(kit.call(read, first, DATA, 100)).toBe(0);
    expect(kit.seen).toEqual([expect.stringMatching(/^accept tcp 127\.0\.0\.1:\d+ inside$/), expect.anything()]);
  });

  test("one that is asked about is kept until the answer, and dropped with its listener", () => {
    const decisions: Decision[] = [];
    const kit = new Hooked({
      accept: () => {
        decisions.push(new Decision());
        return decisions.at(-1)!;
      },
    });
    const client = kit.make(SOCK_STREAM);
    kit.connectTo(client);
    expect(kit.call(accept4, kit.listener, 0, 0, 0)).toBe(BLOCKED);
    decisions[0]!.settle(0);
    expect(kit.rerun(accept4)).toBeGreaterThan(client);
    expect(decisions).toHaveLength(1);
    const other = kit.make(SOCK_STREAM);
    kit.connectTo(other);
    expect(kit.call(accept4, kit.listener, 0, 0, 0)).toBe(BLOCKED);
    kit.task.cancelWaits();
    kit.call(close, kit.listener);
    expect(kit.kernel.net.asking.accepted.size).toBe(0);
    expect(kit.call(read, other, DATA, 100)).toBeLessThanOrEqual(0);
  });
});

describe("bind and send", () => {
  test("bind", () => {
    const kit = new Hooked({ bind: ({ port }) => (port === 90 ? -EACCES : 0) });
    expect(kit.call(bind, kit.make(SOCK_STREAM), ADDR, kit.address(90))).toBe(-EACCES);
    expect(kit.call(bind, kit.make(SOCK_DGRAM), ADDR, kit.address(91, "0.0.0.0"))).toBe(0);
    expect(kit.seen).toEqual(["bind tcp 127.0.0.1:90 inside", "bind udp 0.0.0.0:91"]);
  });

  test("the first datagram to each destination, named or connected", () => {
    const kit = new Hooked({ send: ({ port }) => (port === 55 ? -EACCES : 0), connect: () => 0 });
    const [to, fd] = [kit.make(SOCK_DGRAM), kit.make(SOCK_DGRAM)];
    kit.call(bind, to, ADDR, kit.address(54));
    const send = (port: number) => kit.call(sendto, fd, DATA, 4, 0, ADDR, kit.address(port));
    expect([send(54), send(54), send(55), send(55)]).toEqual([4, 4, -EACCES, -EACCES]);
    expect(kit.connectTo(fd, 54)).toBe(0);
    expect(kit.call(write, fd, DATA, 4)).toBe(4);
    const other = kit.make(SOCK_DGRAM);
    expect(kit.connectTo(other, 55)).toBe(0);
    expect(kit.call(write, other, DATA, 4)).toBe(-EACCES);
    const sent = (port: number) => `send udp 127.0.0.1:${port} inside`;
    const connected = (port: number) => `connect udp 127.0.0.1:${port} inside`;
    expect(kit.seen).toEqual([sent(54), sent(55), sent(55), connected(54), connected(55), sent(55)]);
  });

  test("names are learned from replies of name servers", () => {
    for (const how of [recvfrom, read]) {
      const kit = new Hooked({ connect: () => 0 });
      const [server, client] = [kit.make(SOCK_DGRAM), kit.make(SOCK_DGRAM)];
      kit.call(bind, server, ADDR, kit.address(53));
      kit.call(bind, client, ADDR, kit.address(5353));
      const question = [1, 97, 7, ...Buffer.from("example"), 0, 0, 1, 0, 1];
      const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7];
      const message = Uint8Array.from([0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, ...question, ...answer]);
      kit.call(sendto, server, DATA, kit.put(DATA, message), 0, ADDR, kit.address(5353));
      expect(kit.call(how, client, DATA, 512, 0, 0, 0)).toBe(message.length);
      expect(Buffer.from(kit.bytes(DATA, message.length))).toEqual(Buffer.from(message));
      kit.connectTo(kit.make(SOCK_STREAM), 443, "192.0.2.7");
      expect(kit.seen).toContain("connect tcp 192.0.2.7:443 a.example");
    }
  });
});
