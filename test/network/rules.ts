/**
 * Rules of what a guest may reach: what is allowed gets through, and nothing else does, however it is asked for; by
 * `runts do` and by annotations of a container. Each attempt that is refused leaves a line in the log.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Expect } from "../clients/expect.ts";
import { executable } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import { resolver } from "./programs.ts";
import { type Scenario, scenarioCases } from "./scenario.ts";
import { GUEST, PEER, THIRD, type Wire } from "./wire.ts";

const PYTHON = "/usr/bin/python3";
/** Ports of the servers outside: TCP that says who is who, and UDP that echoes. */
const OPEN = 8500;
const OTHER = 8501;

const servers = `
import socket, sys, threading
def tcp(family, host, port):
    s = socket.create_server((host, port), family=family, backlog=100)
    while True:
        k, a = s.accept(); print("tcp", port, a[0], flush=True); k.sendall(b"reached\\n"); k.close()
def udp(family, host, port):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((host, port))
    while True:
        b, a = s.recvfrom(2000); print("udp", port, a[0], flush=True); s.sendto(b, a)
for h in sys.argv[1:]:
    f = socket.AF_INET6 if ":" in h else socket.AF_INET
    for p in (${OPEN}, ${OTHER}):
        threading.Thread(target=tcp, args=(f, h, p)).start(); threading.Thread(target=udp, args=(f, h, p)).start()
print("ready", flush=True)
`;

/** One attempt per line of the arguments: how, to whom, which port. It says how each went. */
const attempts = `
import socket, sys, errno
def name(e): return errno.errorcode.get(e.errno, str(e)) if e.errno and e.errno > 0 else type(e).__name__
for word in sys.argv[1:]:
    how, host, port = word.split(","); port = int(port)
    try:
        if how == "tcp":
            s = socket.create_connection((host, port), 3); s.settimeout(3); got = s.recv(20).decode().strip()
        elif how == "mapped":
            s = socket.socket(socket.AF_INET6); s.settimeout(3); s.connect(("::ffff:" + host, port)); got = s.recv(20).decode().strip()
        elif how in ("udp", "udpc"):
            f = socket.AF_INET6 if ":" in host else socket.AF_INET
            s = socket.socket(f, socket.SOCK_DGRAM); s.settimeout(1)
            if how == "udp": s.sendto(b"reached", (host, port))
            else: s.connect((host, port)); s.send(b"reached")
            got = s.recv(20).decode()
        elif how == "fastopen":
            s = socket.socket(); s.settimeout(3); s.sendto(b"x", 0x20000000, (host, port)); got = s.recv(20).decode().strip()
        elif how == "raw":
            s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s.settimeout(1)
            s.sendto(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), (host, 0)); got = "reached" if s.recv(200) else "nothing"
    except OSError as e: got = name(e)
    print(how, host, port, got, flush=True)
`;

interface Rule {
  name: string;
  egress: string;
  deny?: string;
  /** Attempts that get through, and those that do not. */
  allowed: string[];
  refused: string[];
}

const METADATA = "169.254.169.254";
const tcp = (host: string, port = OPEN): string => `tcp,${host},${port}`;
const udp = (host: string, port = OPEN): string => `udp,${host},${port}`;

const table: Rule[] = [
  {
    name: "all",
    egress: "all",
    allowed: [
      tcp(PEER.v4),
      tcp(PEER.v6),
      tcp(THIRD.v4),
      udp(PEER.v4),
      udp(PEER.v6),
      tcp("web.test"),
      `mapped,${PEER.v4},${OPEN}`,
    ],
    refused: [],
  },
  {
    name: "nothing",
    egress: "",
    allowed: [],
    refused: [
      tcp(PEER.v4),
      tcp(PEER.v6),
      udp(PEER.v4),
      `udpc,${PEER.v4},${OPEN}`,
      `mapped,${PEER.v4},${OPEN}`,
      `fastopen,${PEER.v4},${OPEN}`,
      tcp(METADATA),
    ],
  },
  {
    name: "address-and-port",
    egress: `${PEER.v4}:${OPEN}`,
    allowed: [tcp(PEER.v4), udp(PEER.v4), `mapped,${PEER.v4},${OPEN}`],
    refused: [
      tcp(PEER.v4, OTHER),
      udp(PEER.v4, OTHER),
      tcp(THIRD.v4),
      tcp(PEER.v6),
      `mapped,${THIRD.v4},${OPEN}`,
      `mapped,${PEER.v4},${OTHER}`,
      `fastopen,${THIRD.v4},${OPEN}`,
      `raw,${PEER.v4},0`,
    ],
  },
  {
    name: "tcp-only",
    egress: `tcp:10.77.0.0/24:${OPEN}-${OPEN}`,
    allowed: [tcp(PEER.v4), tcp(THIRD.v4)],
    refused: [udp(PEER.v4), `udpc,${PEER.v4},${OPEN}`, tcp(PEER.v4, OTHER), tcp(PEER.v6)],
  },
  {
    name: "udp-only",
    egress: `udp:${PEER.v4}`,
    allowed: [udp(PEER.v4), udp(PEER.v4, OTHER)],
    refused: [tcp(PEER.v4), udp(THIRD.v4), udp(PEER.v6)],
  },
  {
    name: "ipv6-prefix",
    egress: `[fd77::]/127:${OPEN}`,
    allowed: [tcp(PEER.v6), udp(PEER.v6)],
    refused: [tcp(THIRD.v6), tcp(PEER.v6, OTHER), tcp(PEER.v4), udp(THIRD.v6)],
  },
  {
    name: "deny-wins",
    egress: `all,!${THIRD.v4}`,
    deny: `10.77.0.0/24:${OTHER}`,
    allowed: [tcp(PEER.v4), tcp(PEER.v6, OTHER)],
    refused: [
      tcp(THIRD.v4),
      udp(THIRD.v4),
      tcp(PEER.v4, OTHER),
      `mapped,${THIRD.v4},${OPEN}`,
      `mapped,${PEER.v4},${OTHER}`,
      tcp(METADATA),
    ],
  },
  {
    name: "names",
    egress: `web.test:${OPEN}`,
    // A name holds for its addresses, however these are come by.
    allowed: [tcp("web.test"), tcp(PEER.v4), tcp("alias.test")],
    refused: [tcp("web.test", OTHER), tcp("third.test"), tcp(THIRD.v4), tcp("rebound.test")],
  },
  {
    name: "names-below",
    egress: `*.zone.test:${OPEN}`,
    allowed: [tcp("a.zone.test"), tcp("deep.b.zone.test")],
    refused: [tcp("zone.test"), tcp("evilzone.test")],
  },
  {
    name: "odd-spellings",
    egress: `${PEER.v4}:${OPEN}`,
    // inet_aton() takes an octal and a decimal address: they are looked at as what they are.
    allowed: [tcp("012.0115.0.01"), tcp(`${(10 * 2 ** 24 + 77 * 2 ** 16 + 1).toString()}`)],
    refused: [tcp("012.0115.0.03"), tcp(`${(10 * 2 ** 24 + 77 * 2 ** 16 + 3).toString()}`)],
  },
];

const NAMES = `web.test A 60 ${PEER.v4}
alias.test CNAME 60 web.test
third.test A 60 ${THIRD.v4}
rebound.test A 0 ${THIRD.v4}
a.zone.test A 60 ${PEER.v4}
deep.b.zone.test A 60 ${PEER.v4}
zone.test A 60 ${THIRD.v4}
evilzone.test A 60 ${THIRD.v4}
`;

async function outside(wire: Wire): Promise<void> {
  const file = wire.file("servers.py", servers);
  for (const host of ["peer", "third"] as const) {
    const { v4, v6 } = host === "peer" ? PEER : THIRD;
    await wire.start(host, [PYTHON, file, v4, v6]).until(/^ready$/m);
  }
  await resolver(wire, NAMES);
}

function judge(expect: Expect, stdout: string, rule: Rule): void {
  const lines = new Map(stdout.split("\n").map((line) => [line.split(" ").slice(0, 3).join(","), line.split(" ")[3]]));
  for (const each of rule.allowed)
    expect.equal(`${each} with ${JSON.stringify(rule.egress)}`, lines.get(each), "reached");
  for (const each of rule.refused)
    expect.fits(
      `${each} with ${JSON.stringify(rule.egress)}`,
      lines.get(each) ?? "not tried",
      each.startsWith("udp,")
        ? /^E(ACCES|CONNREFUSED)$/
        : /^E(CONNREFUSED|ACCES|PERM|OPNOTSUPP|NOTSUP|HOSTUNREACH|NETUNREACH)$/,
    );
}

const byAnnotation: Scenario[] = table.map((rule) => ({
  name: rule.name,
  needs: ["python3"],
  ours: true,
  async run(wire, place, expect) {
    await outside(wire);
    const annotations = {
      "dev.runts.egress": rule.egress,
      ...(rule.deny === undefined ? {} : { "dev.runts.deny": rule.deny }),
    };
    const command = [PYTHON, wire.file("attempts.py", attempts), ...rule.allowed, ...rule.refused];
    const done = await place.run(command, { annotations });
    expect.equal("its status", done.status, 0);
    judge(expect, done.stdout, rule);
  },
}));

const more: Scenario[] = [
  {
    name: "do-allows-nothing-by-default",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      await outside(wire);
      const file = wire.file("attempts.py", attempts);
      const done = await wire.doing(place.platform, [], [PYTHON, file, tcp(PEER.v4), udp(PEER.v4), tcp(PEER.v6)]);
      expect.result("do", done, { stdout: /^(\S+ \S+ \S+ ENETUNREACH\n){3}$/ });
    },
  },
  {
    name: "do-allow-net",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      await outside(wire);
      const file = wire.file("attempts.py", attempts);
      const allowed = [tcp("web.test"), tcp(PEER.v4)];
      const refused = [tcp(THIRD.v4), tcp(PEER.v4, OTHER), udp(THIRD.v4)];
      const log = join(wire.dir, "debug");
      const words = ["--debug-log", log, "--platform", place.platform, "do", `--allow-net=web.test:${OPEN}`, "--"];
      const done = await wire.run("guest", [executable(), ...words, PYTHON, file, ...allowed, ...refused]);
      judge(expect, done.stdout, { name: "", egress: "web.test", allowed, refused });
      const said = readFileSync(log, "utf8");
      for (const to of [`${THIRD.v4}:${OPEN}`, `${PEER.v4}:${OTHER}`])
        expect.fits("the log", said, new RegExp(`refused.*${to.replaceAll(".", "\\.")}`));
      expect.fits("who", said, /python3/);
    },
  },
  {
    name: "do-guards-the-callers-loopback",
    needs: ["python3"],
    ours: true,
    async run(wire, place, expect) {
      const file = wire.file("servers.py", servers);
      await wire.start("guest", [PYTHON, file, "127.0.0.1"]).until(/^ready$/m);
      const tries = [tcp("127.0.0.1"), tcp("0.0.0.0"), `mapped,127.0.0.1,${OPEN}`, udp("127.0.0.1")];
      const command = [PYTHON, wire.file("attempts.py", attempts), ...tries];
      const done = await wire.doing(place.platform, ["--allow-net"], command);
      judge(expect, done.stdout, { name: "", egress: "all", allowed: [], refused: tries });
      const named = await wire.doing(place.platform, [`--allow-net=all,127.0.0.1:${OPEN}`], command);
      expect.fits("named", named.stdout, /^tcp 127\.0\.0\.1 8500 reached$/m);
    },
  },
  {
    name: "do-publish",
    needs: ["python3", "curl"],
    ours: true,
    async run(wire, place, expect) {
      const server = `
import http.server, threading, socket
def echo():
    s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("0.0.0.0", 90))
    while True:
        b, a = s.recvfrom(2000); s.sendto(b.upper(), a)
threading.Thread(target=echo, daemon=True).start()
http.server.test(HandlerClass=http.server.SimpleHTTPRequestHandler, ServerClass=http.server.ThreadingHTTPServer, port=80, bind="0.0.0.0")
`;
      const flags = ["--publish", "8080:80", "--publish", `${GUEST.v4}:9090:90/udp`];
      const command = [
        executable(),
        "--platform",
        place.platform,
        "do",
        ...flags,
        "--",
        PYTHON,
        wire.file("server.py", server),
      ];
      const running = wire.start("guest", command);
      await wire.listening(8080, "guest", running);
      const curl = ["curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}\n"];
      expect.result("published", await wire.run("peer", [...curl, `http://${GUEST.v4}:8080/`]), { stdout: "200\n" });
      expect.result("its own port", await wire.run("peer", [...curl, `http://${GUEST.v4}:80/`]), { status: 7 });
      const ask = `import socket\ns = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b"abc", ("${GUEST.v4}", 9090)); print(s.recv(10))`;
      expect.result("published UDP", await wire.run("peer", [PYTHON, "-c", ask]), { stdout: "b'ABC'\n" });
    },
  },
  {
    name: "a-name-whose-address-changes",
    needs: ["python3"],
    ours: true,
    async run(wire, place) {
      await outside(wire);
      wire.file("names", `moving.test A 1 ${PEER.v4}\n`);
      const script = `
import socket, sys, time
def ask(host):
    try: return socket.create_connection((host, ${OPEN}), 3).recv(20).decode().strip()
    except OSError as e: return "refused" if e.errno == 111 else str(e)
print(ask("moving.test"), ask("${THIRD.v4}"), flush=True)
sys.stdin.readline()
for i in range(40):
    got = ask("moving.test")
    if got == "reached" and socket.gethostbyname("moving.test") == "${THIRD.v4}": break
    time.sleep(0.25)
print(got, ask("${THIRD.v4}"), flush=True)
`;
      const annotations = { "dev.runts.egress": `moving.test:${OPEN}` };
      const running = place.start([PYTHON, wire.file("moving.py", script)], { annotations, input: "pipe" });
      await running.until(/^reached refused$/m);
      wire.file("names", `moving.test A 1 ${THIRD.v4}\n`);
      running.write("\n");
      await running.until(/^reached reached$/m, 25_000);
    },
  },
];

export const networkRuleCases = (filters: readonly string[]): Case[] =>
  scenarioCases("rules", [...byAnnotation, ...more], filters);
