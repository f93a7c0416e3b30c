/**
 * What goes wrong with a network: the broker killed, the device down, the namespace gone, resets at any moment, those who
 * read slowly or never answer, very many connections, no descriptors left. A program gets the errors of Linux and never hangs,
 * and whoever is not concerned goes on.
 */
import { readFileSync } from "node:fs";
import type { Case } from "../harness/suite.ts";
import { full, type Scenario, scenarioCases } from "./scenario.ts";
import { GUEST, PEER, SILENT, type Wire } from "./wire.ts";

const PYTHON = "/usr/bin/python3";
const CONNECTIONS = full ? 5000 : 1000;

const echoServer = `
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
async def echo(r, w):
    try:
        while b := await r.read(65536): w.write(b); await w.drain()
    except OSError: pass
    w.close()
async def main():
    async with await asyncio.start_server(echo, ["0.0.0.0", "::"], 8600, backlog=4000) as s: await s.serve_forever()
asyncio.run(main())
`;

/** Echo outside, at port 8600. */
async function echo(wire: Wire): Promise<void> {
  await wire.listening(8600, "peer", wire.start("peer", [PYTHON, wire.file("echo.py", echoServer)]));
}

/** The broker of the sandbox: of the namespace's processes the one that says so. */
function broker(wire: Wire): number {
  const found = wire.processes().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith("runts-broker");
    } catch {
      return false;
    }
  });
  if (found.length !== 1) throw new Error(`${found.length} brokers`);
  return found[0]!;
}

/** Says in a line how each thing that it is told by its input went; `s` is a connection that it has had from the beginning. */
const asker = `
import errno, os, socket, sys, threading, time
def name(e): return errno.errorcode.get(e.errno, str(e)) if e.errno else type(e).__name__
s = socket.create_connection(("${PEER.v4}", 8600), 5); s.settimeout(5)
l = socket.create_server(("0.0.0.0", 8601))
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "old": s.sendall(b"old"); got = s.recv(10).decode()
        elif word == "new": n = socket.create_connection(("${PEER.v4}", 8600), 5); n.sendall(b"new"); got = n.recv(10).decode(); n.close()
        elif word == "home": n = socket.create_connection(("127.0.0.1", 8601), 5); k, a = l.accept(); k.sendall(b"home"); got = n.recv(10).decode(); n.close(); k.close()
        elif word == "listen": n = socket.create_server(("0.0.0.0", 8602)); got = "listens"; n.close()
        elif word == "udp": n = socket.socket(type=socket.SOCK_DGRAM); n.sendto(b"x", ("${PEER.v4}", 8600)); got = "sent"
        else: got = "?"
    except OSError as e: got = name(e)
    print(word, got, flush=True)
`;

const scenarios: Scenario[] = [
  {
    name: "broker-killed",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      await echo(wire);
      const running = place.start([PYTHON, "-u", wire.file("asker.py", asker)], { input: "pipe" });
      await running.until(/^ready$/m);
      running.write("old\nnew\nhome\n");
      await running.until(/^home home$/m);
      const pid = broker(wire);
      process.kill(pid, "SIGKILL");
      await expect.eventually("the broker's end", () => !wire.processes().includes(pid));
      await Bun.sleep(200);
      running.write("new\nudp\nold\nhome\n");
      await running.until(/^home home\n[\s\S]*^home /m);
      expect.fits("afterwards", running.stdout, /home home\nnew ENETDOWN\nudp ENETDOWN\nold old\nhome home\n$/);
      running.closeInput();
      expect.equal("its end", (await running.end()).status, 0);
    },
  },
  {
    name: "broker-killed-while-asked",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      const script = `
import socket, errno, threading
def one():
    try: socket.create_connection(("${SILENT}", 9)); print("connected")
    except OSError as e: print(errno.errorcode[e.errno])
ts = [threading.Thread(target=one) for _ in range(5)]
[t.start() for t in ts]; print("ready", flush=True); [t.join() for t in ts]
`;
      const running = place.start([PYTHON, "-u", wire.file("waits.py", script)]);
      await running.until(/ready/);
      await Bun.sleep(300);
      process.kill(broker(wire), "SIGKILL");
      // Those that are on their way are the host's: it may be their end, and it may be that they go on. Nothing hangs.
      await wire.must("guest", ["ip", "route", "replace", "unreachable", "10.98.0.0/16"]);
      await Bun.sleep(500);
      expect.that(`it goes on: ${running.report()}`, !running.ended || /ENETDOWN|EHOSTUNREACH/.test(running.stdout));
    },
  },
  {
    name: "device-down-and-up",
    needs: ["python3"],
    async run(wire, place, expect) {
      await echo(wire);
      const running = place.start([PYTHON, "-u", wire.file("asker.py", asker)], { input: "pipe" });
      await running.until(/^ready$/m);
      await wire.must("guest", ["ip", "link", "set", "eth0", "down"]);
      await Bun.sleep(300);
      running.write("new\nhome\n");
      await running.until(/^home home$/m);
      expect.fits("while it is down", running.stdout, /^new ENETUNREACH$/m);
      await wire.must("guest", ["ip", "link", "set", "eth0", "up"]);
      await Bun.sleep(300);
      running.write("old\nnew\n");
      await running.until(/^new new$/m);
      expect.fits("a connection of before", running.stdout, /^old old$/m);
    },
  },
  {
    name: "namespace-loses-its-device",
    needs: ["python3"],
    async run(wire, place, expect) {
      await echo(wire);
      const running = place.start([PYTHON, "-u", wire.file("asker.py", asker)], { input: "pipe" });
      await running.until(/^ready$/m);
      await wire.must("guest", ["ip", "link", "del", "eth0"]);
      await Bun.sleep(300);
      running.write("new\nudp\nhome\n");
      await running.until(/^home home$/m);
      expect.fits("without a device", running.stdout, /^new ENETUNREACH\nudp ENETUNREACH\nhome home$/m);
      const devices = await place.run(["ip", "-o", "link"]);
      expect.that(`devices: ${devices.stdout}`, !devices.stdout.includes("eth0"));
    },
  },
  {
    name: "resets-at-any-moment",
    needs: ["python3"],
    async run(wire, place, expect) {
      const script = `
import random, socket, struct, sys, threading
host, seed = sys.argv[1], int(sys.argv[2])
r = random.Random(seed); done = 0; lock = threading.Lock()
def one(n):
    global done
    for i in range(15):
        with lock: size, how = r.randrange(1, 200000), r.randrange(4)
        s = socket.create_connection((host, 8600), 10)
        try:
            s.sendall(b"x" * size)
            got = 0
            while got < (size if how == 0 else size // 2):
                b = s.recv(65536)
                if not b: break
                got += len(b)
            if how == 1: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how == 2: s.shutdown(socket.SHUT_WR)
        except ConnectionError: pass
        s.close()
        with lock: done += 1
ts = [threading.Thread(target=one, args=(n,)) for n in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(done)
`;
      const resets = wire.file("resets.py", script);
      const inside = place.start([PYTHON, wire.file("echo.py", echoServer)]);
      await wire.listening(8600, "guest", inside);
      expect.result("from outside", await wire.run("peer", [PYTHON, resets, GUEST.v4, "1"]), { stdout: "120\n" });
      await echo(wire);
      expect.result("from inside", await place.run([PYTHON, resets, PEER.v4, "2"]), { stdout: "120\n" });
      const still = `import socket\ns = socket.create_connection(("${GUEST.v4}", 8600), 5)\ns.sendall(b"still")\nprint(s.recv(10))`;
      expect.result("the server still", await wire.run("peer", [PYTHON, "-c", still]), { stdout: "b'still'\n" });
    },
  },
  {
    name: "slow-reader",
    needs: ["python3"],
    async run(wire, place, expect) {
      const inside = place.start([PYTHON, wire.file("echo.py", echoServer)]);
      await wire.listening(8600, "guest", inside);
      // One that does not read must not hold up another, nor grow the sandbox.
      const script = `
import socket, threading, time
slow = socket.create_connection(("${GUEST.v4}", 8600), 10); slow.settimeout(1)
total = 0
try:
    while total < 200 << 20: total += slow.send(b"x" * 65536)
except TimeoutError: pass
print("held up", total < 100 << 20)
other = socket.create_connection(("${GUEST.v4}", 8600), 10)
begun = time.time(); other.sendall(b"quick"); print(other.recv(10), time.time() - begun < 3)
got = 0; slow.settimeout(10)
while got < total: got += len(slow.recv(1 << 20))
print(got == total)
`;
      const done = await wire.run("peer", [PYTHON, wire.file("slow.py", script)], { timeoutMs: 60_000 });
      expect.result("a slow reader", done, { stdout: "held up True\nb'quick' True\nTrue\n" });
    },
  },
  {
    name: "many-connections",
    needs: ["python3"],
    alone: true,
    async run(wire, place, expect) {
      const script = `
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
host, count = sys.argv[1], int(sys.argv[2])
gate = asyncio.Semaphore(200)
async def one(i):
    async with gate: r, w = await asyncio.open_connection(host, 8600)
    return r, w
async def say(i, r, w):
    w.write(b"%06d" % i); return await r.readexactly(6) == b"%06d" % i
async def main():
    all = await asyncio.gather(*(one(i) for i in range(count)))
    print(sum(await asyncio.gather(*(say(i, *c) for i, c in enumerate(all)))))
asyncio.run(asyncio.wait_for(main(), 100))
`;
      const clients = wire.file("clients.py", script);
      const inside = place.start([PYTHON, wire.file("echo.py", echoServer)]);
      await wire.listening(8600, "guest", inside);
      const count = `${CONNECTIONS}`;
      const from = await wire.run("peer", [PYTHON, clients, GUEST.v4, count], { timeoutMs: 120_000 });
      expect.result(`${count} from outside`, from, { stdout: `${count}\n` });
      await echo(wire);
      const to = await place.run([PYTHON, clients, PEER.v4, count], { timeoutMs: 120_000 });
      expect.result(`${count} from inside`, to, { stdout: `${count}\n` });
    },
  },
  {
    name: "no-descriptors-left",
    needs: ["python3"],
    async run(wire, place, expect) {
      await echo(wire);
      const script = `
import errno, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
held = []
try:
    while True: held.append(socket.create_connection(("${PEER.v4}", 8600), 5))
except OSError as e: print(errno.errorcode[e.errno], len(held) > 20)
held.pop().close()
s = socket.create_connection(("${PEER.v4}", 8600), 5); s.sendall(b"room"); print(s.recv(10))
`;
      const done = await place.run([PYTHON, wire.file("limit.py", script)]);
      expect.result("its limit", done, { stdout: "EMFILE True\nb'room'\n" });
      const server = `
import errno, resource, socket, time
l = socket.create_server(("0.0.0.0", 8603), backlog=100)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
held = []
print("ready", flush=True)
try:
    while True: held.append(l.accept()[0])
except OSError as e: print(errno.errorcode[e.errno], len(held) > 10, flush=True)
held.clear()
k = l.accept()[0]; k.sendall(b"next"); print("accepted", flush=True)
time.sleep(1)
`;
      const running = place.start([PYTHON, wire.file("server.py", server)]);
      await wire.listening(8603, "guest", running);
      const many = `import socket, time\nh = [socket.create_connection(("${GUEST.v4}", 8603), 5) for _ in range(40)]\ntime.sleep(2)`;
      await wire.run("peer", [PYTHON, "-c", many]);
      expect.result("a server's limit", await running.end(), { stdout: "ready\nEMFILE True\naccepted\n" });
    },
  },
  {
    name: "nobody-answers",
    needs: ["python3", "curl"],
    async run(wire, place, expect) {
      const curl = ["curl", "-sS", "--connect-timeout", "1", `http://${SILENT}/`];
      expect.result("curl", await place.run(curl), { status: 28, stderr: /timed? ?out|timeout/i });
      // Others go on meanwhile.
      await echo(wire);
      const script = `
import socket, threading, time
def silent():
    s = socket.socket(); s.settimeout(2)
    try: s.connect(("${SILENT}", 9))
    except TimeoutError: late.append(1)
late = []
ts = [threading.Thread(target=silent) for _ in range(20)]
[t.start() for t in ts]
time.sleep(0.2)
begun = time.time()
for _ in range(20):
    s = socket.create_connection(("${PEER.v4}", 8600), 5); s.sendall(b"x"); s.recv(1); s.close()
print(time.time() - begun < 1.5)
[t.join() for t in ts]
print(len(late))
`;
      const done = await place.run([PYTHON, "-u", wire.file("silent.py", script)]);
      expect.result("twenty wait", done, { stdout: "True\n20\n" });
    },
  },
  {
    name: "killed-with-connections",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      const inside = place.start([PYTHON, wire.file("echo.py", echoServer)]);
      await wire.listening(8600, "guest", inside);
      const script = `
import socket, sys
s = [socket.create_connection(("${GUEST.v4}", 8600), 5) for _ in range(20)]
for k in s: k.sendall(b"x"); k.recv(1)
print("ready", flush=True)
ended = 0
for k in s:
    k.settimeout(10)
    try: ended += k.recv(1) == b""
    except ConnectionError: ended += 1
print(ended)
`;
      const outside = wire.start("peer", [PYTHON, "-u", wire.file("held.py", script)]);
      await outside.until(/^ready$/m);
      await wire.runts(place.platform, ["kill", wire.lastContainer, "KILL"]);
      expect.result("the other side", await outside.end(), { stdout: "ready\n20\n" });
      expect.equal("its status", (await inside.end()).status, 137);
      await expect.eventually("no process in its network", () => wire.processes().length === 0);
    },
  },
];

export const networkFaultCases = (filters: readonly string[]): Case[] => scenarioCases("faults", scenarios, filters);
