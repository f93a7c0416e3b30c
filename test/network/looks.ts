/** What a guest sees of its devices, addresses, routes, sockets and counters: the namespace's, as Linux itself tells them. */
import type { Expect } from "../clients/expect.ts";
import type { Case } from "../harness/suite.ts";
import { type Scenario, scenarioCases } from "./scenario.ts";
import { GUEST, PEER, type Place, THIRD, type Wire } from "./wire.ts";

/** The same command natively in the namespace and at the place: the outputs must be equal, but for what is cleaned away. */
async function same(
  wire: Wire,
  place: Place,
  expect: Expect,
  command: string[],
  clean: (text: string) => string = (text) => text,
): Promise<void> {
  const host = await wire.run("guest", command);
  const got = await place.run(command);
  expect.result(`${command.join(" ")} on the host`, host);
  expect.result(command.join(" "), { ...got, stdout: clean(got.stdout) }, { stdout: clean(host.stdout) });
}

/** What a virtual device alone has: its other end, its queue. */
const devices = (text: string): string =>
  text
    .replaceAll(/@if\d+/g, "")
    .replaceAll(/ (qdisc|master) \S+/g, "")
    .replaceAll(/ (qlen \d+|link-netnsid \d+)/g, "")
    .replaceAll(/ +$/gm, "");

const ifaddrs = `
import ctypes, ctypes.util, socket, struct
class A(ctypes.Structure): pass
A._fields_ = [("next", ctypes.POINTER(A)), ("name", ctypes.c_char_p), ("flags", ctypes.c_uint), ("addr", ctypes.c_void_p), ("mask", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
p = ctypes.POINTER(A)()
assert libc.getifaddrs(ctypes.byref(p)) == 0
def text(at):
    if not at: return "-"
    family = ctypes.cast(at, ctypes.POINTER(ctypes.c_ushort))[0]
    b = ctypes.string_at(at, 28)
    if family == 2: return socket.inet_ntop(2, b[4:8])
    if family == 10: return socket.inet_ntop(10, b[8:24])
    return "family %d" % family
out = []
while p:
    a = p.contents
    out.append("%s %x %s %s" % (a.name.decode(), a.flags & 0x1043, text(a.addr), text(a.mask)))
    p = a.next
print("\\n".join(sorted(out)))
`;
const ioctls = `
import fcntl, socket, struct
s = socket.socket()
def ask(what, name): return fcntl.ioctl(s, what, struct.pack("256s", name.encode()))
print(socket.if_nameindex())
for n in ("lo", "eth0"):
    flags = struct.unpack_from("H", ask(0x8913, n), 16)[0]
    print(n, "flags %x" % (flags & 0x1043), "address", socket.inet_ntoa(ask(0x8915, n)[20:24]), "mask", socket.inet_ntoa(ask(0x891b, n)[20:24]),
          "mtu", struct.unpack_from("i", ask(0x8921, n), 16)[0], "hardware", ask(0x8927, n)[16:24].hex())
print("broadcast", socket.inet_ntoa(ask(0x8919, "eth0")[20:24]))
try: ask(0x8915, "nosuch0")
except OSError as e: print(e)
`;
const PYTHON = "/usr/bin/python3";

const scenarios: Scenario[] = [
  {
    name: "ip-address-and-routes",
    async run(wire, place, expect) {
      await same(wire, place, expect, ["ip", "address"], devices);
      await same(wire, place, expect, ["ip", "-o", "link"], devices);
      await same(wire, place, expect, ["ip", "route"]);
      await same(wire, place, expect, ["ip", "-6", "route"]);
      for (const to of [PEER.v4, THIRD.v6, GUEST.v4, "127.0.0.1", "10.98.1.1"])
        await same(wire, place, expect, ["ip", "route", "get", to], (text) => text.replaceAll(/ uid \d+/g, ""));
      const nowhere = await place.run(["ip", "route", "get", "192.0.2.1"]);
      expect.result("no route", nowhere, { status: 2, stderr: /Network is unreachable/ });
    },
  },
  {
    name: "getifaddrs-and-ioctls",
    needs: ["python3"],
    async run(wire, place, expect) {
      await same(wire, place, expect, [PYTHON, wire.file("ifaddrs.py", ifaddrs)]);
      await same(wire, place, expect, [PYTHON, wire.file("ioctls.py", ioctls)]);
    },
  },
  {
    name: "proc-net",
    async run(wire, place, expect) {
      const counters = (text: string): string => text.replaceAll(/:.*$/gm, "");
      await same(wire, place, expect, ["cat", "/proc/net/route"]);
      await same(wire, place, expect, ["sort", "/proc/net/if_inet6"]);
      await same(wire, place, expect, ["cat", "/proc/net/dev"], counters);
      // Gap: Linux has more rows of lo (local addresses, a route that refuses the rest).
      await same(wire, place, expect, [
        "sh",
        "-c",
        "awk '$10 == \"eth0\" {print $1, $2, $5, $6}' /proc/net/ipv6_route | sort",
      ]);
    },
  },
  {
    name: "sockets-and-counters",
    needs: ["python3"],
    async run(wire, place, expect) {
      const script = `
import socket, time
l = socket.create_server(("0.0.0.0", 9100)); v6 = socket.create_server(("::", 9101), family=socket.AF_INET6); u = socket.socket(type=socket.SOCK_DGRAM); u.bind(("0.0.0.0", 9102))
out = socket.create_connection(("${PEER.v4}", 9103))
k, a = l.accept()
def lines(name, *ports): # in whatever order
    for line in sorted(listed(name, ports)): print(line)
def listed(name, ports):
    for line in open("/proc/net/" + name).read().splitlines()[1:]:
        f = line.split(); here, there = f[1], f[2]
        p = int(here.split(":")[1], 16), int(there.split(":")[1], 16)
        if set(p) & set(ports): yield " ".join((name, *(here.split(":")[0] if q in ports else here.split(":")[0] + ":x" for q in p[:1]), there.split(":")[0], f[3]))
lines("tcp", 9100, 9103); lines("tcp6", 9101); lines("udp", 9102)
def moved(): return [int(x) for line in open("/proc/net/dev") if "eth0" in line for x in line.split(":")[1].split()]
before = moved(); out.sendall(b"x" * 500000); k.recv(1)
for i in range(50): # what is shown may be a second old
    after = moved()
    if after[8] - before[8] > 400000: break
    time.sleep(0.1)
print("counters move", after[8] - before[8] > 400000, after[9] > before[9])
import subprocess
print(subprocess.run("ss -H -tln | awk '{print $1, $4}' | sort", shell=True, capture_output=True, text=True).stdout, end="")
`;
      const sink = wire.start("peer", [
        PYTHON,
        "-c",
        "import socket\nk, a = socket.create_server(('0.0.0.0', 9103)).accept()\nprint(a[0], flush=True)\nwhile k.recv(65536): pass",
      ]);
      await wire.listening(9103, "peer", sink);
      const running = place.start([PYTHON, wire.file("sockets.py", script)]);
      await wire.listening(9100, "guest", running);
      const asks = wire.start("peer", [
        PYTHON,
        "-c",
        `import socket, time\ns = socket.create_connection(("${GUEST.v4}", 9100))\ntime.sleep(0.3)\ns.sendall(b"k")\ns.recv(1)`,
      ]);
      const done = await running.end();
      expect.result("what is there", done, {
        stdout: [
          "tcp 00000000 00000000 0A",
          "tcp 02004D0A 01004D0A 01",
          "tcp 02004D0A:x 01004D0A 01",
          "tcp6 00000000000000000000000000000000 00000000000000000000000000000000 0A",
          "udp 00000000 00000000 07",
          "counters move True True",
          "LISTEN 0.0.0.0:9100",
          "LISTEN [::]:9101",
          "",
        ].join("\n"),
      });
      await asks.end();
      expect.fits("who the other side saw", sink.stdout, /^10\.77\.0\.2\n/);
    },
  },
  {
    name: "changes-are-told",
    async run(wire, place, expect) {
      const monitor = place.start(["stdbuf", "-oL", "ip", "-o", "monitor", "link", "address", "route"]);
      // It does not say when it listens.
      for (let tries = 0; tries < 20 && monitor.stdout === ""; tries++) {
        await wire.must("guest", ["ip", "address", "add", "10.77.1.8/24", "dev", "eth0"]);
        await wire.must("guest", ["ip", "address", "del", "10.77.1.8/24", "dev", "eth0"]);
        await Bun.sleep(300);
      }
      await wire.must("guest", ["ip", "address", "add", "10.77.1.9/24", "dev", "eth0"]);
      await monitor.until(/eth0\s+inet 10\.77\.1\.9\/24/);
      await wire.must("guest", ["ip", "route", "add", "10.96.0.0/16", "via", PEER.v4]);
      await monitor.until(/10\.96\.0\.0\/16 via 10\.77\.0\.1 dev eth0/);
      await wire.must("guest", ["ip", "link", "set", "eth0", "mtu", "1400"]);
      await monitor.until(/eth0.* mtu 1400 /);
      await wire.must("guest", ["ip", "address", "del", "10.77.1.9/24", "dev", "eth0"]);
      await monitor.until(/Deleted.*10\.77\.1\.9\/24/);
      const seen = await place.run(["ip", "route", "get", "10.96.3.4"]);
      expect.result("the new route", seen, { stdout: /10\.96\.3\.4 via 10\.77\.0\.1 dev eth0 src 10\.77\.0\.2/ });
    },
  },
];

export const networkLookCases = (filters: readonly string[]): Case[] => scenarioCases("looks", scenarios, filters);
