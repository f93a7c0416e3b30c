/** Real programs on the host `guest`, used from outside or using what is outside. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TerminalProgram } from "../clients/terminal.ts";
import type { Case } from "../harness/suite.ts";
import { full, type Scenario, scenarioCases } from "./scenario.ts";
import { GUEST, PEER, type Place, type Running, type Wire } from "./wire.ts";

const MIB = 1 << 20;
const LARGE_MIB = full ? 1024 : 256;
const CLIENTS = 500;

const resolver = async (wire: Wire, names: string): Promise<Running> => {
  const dns = wire.start("peer", [
    process.execPath,
    join(import.meta.dir, "dns.ts"),
    PEER.v4,
    wire.file("names", names),
  ]);
  await dns.until(/^ready$/m);
  return dns;
};

async function server(wire: Wire, place: Place, port: number, command: readonly string[]): Promise<Running> {
  const running = place.start(command);
  await wire.listening(port, "guest", running);
  return running;
}

const curl = (...words: string[]): string[] => ["curl", "--silent", "--show-error", "--max-time", "20", ...words];
const PYTHON = "/usr/bin/python3";

const nginxConfig = (dir: string): string => `
daemon off; master_process on; worker_processes 2; pid /tmp/nginx.pid; error_log stderr; user root;
events { worker_connections 512; }
http {
  access_log ${dir}/access.log;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server {
    listen 80; listen [::]:80;
    root ${dir}/www;
    client_max_body_size 100m;
    location /who { return 200 "$remote_addr to $server_addr\\n"; }
    location /back { proxy_pass http://${PEER.v4}:8090/; }
  }
}
`;

const scenarios: Scenario[] = [
  {
    name: "nginx-curl",
    needs: ["nginx", "curl", "python3"],
    async run(wire, place, expect) {
      mkdirSync(join(wire.dir, "www"));
      const page = "x".repeat(3 * MIB);
      wire.file("www/large", page);
      wire.file("www/index.html", "hello\n");
      mkdirSync(join(wire.dir, "behind"));
      wire.file("behind/index.html", "from behind\n");
      const behind = wire.start("peer", [PYTHON, "-m", "http.server", "8090", "--directory", join(wire.dir, "behind")]);
      await wire.listening(8090, "peer", behind);
      await server(wire, place, 80, ["nginx", "-p", wire.dir, "-c", wire.file("nginx.conf", nginxConfig(wire.dir))]);
      for (const [at, own, mine] of [
        [GUEST.v4, GUEST.v4, PEER.v4],
        [`[${GUEST.v6}]`, GUEST.v6, PEER.v6],
      ]) {
        const got = await wire.run("peer", curl(`http://${at}/`));
        expect.result(`the page from ${at}`, got, { stdout: "hello\n" });
        const who = await wire.run("peer", curl(`http://${at}/who`));
        expect.result("who asks whom", who, { stdout: `${mine} to ${own}\n` });
      }
      const large = await wire.run("peer", curl(`http://${GUEST.v4}/large`));
      expect.that(`a large page: ${large.stdout.length} bytes`, large.stdout === page);
      const kept = await wire.run("peer", curl(...Array.from({ length: 20 }, () => `http://${GUEST.v4}/`)));
      expect.result("twenty over one connection", kept, { stdout: "hello\n".repeat(20) });
      const proxied = await wire.run("peer", curl(`http://${GUEST.v4}/back`));
      expect.result("from a server behind it", proxied, { stdout: "from behind\n" });
      await behind.kill();
      expect.fits(
        "who asked the one behind",
        behind.stderr,
        new RegExp(`^${GUEST.v4.replaceAll(".", "\\.")} - - `, "m"),
      );
      const sizes = Array.from({ length: 8 }, () =>
        wire.run("third", curl(`http://${GUEST.v4}/large`, "-o", "/dev/null", "-w", "%{size_download}")),
      );
      for (const got of await Promise.all(sizes)) expect.result("one of eight at once", got, { stdout: `${3 * MIB}` });
    },
  },
  {
    name: "redis",
    needs: ["redis-server"],
    async run(wire, place, expect) {
      const words = [
        "--port",
        "6379",
        "--bind",
        "0.0.0.0",
        "-::",
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        "/tmp",
      ];
      await server(wire, place, 6379, ["redis-server", ...words]);
      const cli = (...more: string[]) => wire.run("peer", ["redis-cli", "-h", GUEST.v4, ...more]);
      expect.result("set", await cli("set", "key", "value"), { stdout: "OK\n" });
      expect.result("get", await wire.run("third", ["redis-cli", "-h", GUEST.v6, "get", "key"]), { stdout: "value\n" });
      const clients = await cli("client", "list");
      expect.fits("the client's address", clients.stdout, /addr=10\.77\.0\.1:\d+ laddr=10\.77\.0\.2:6379/);
      const bench = [
        "redis-benchmark",
        "-h",
        GUEST.v4,
        "-n",
        "4000",
        "-c",
        "50",
        "-P",
        "4",
        "-q",
        "-t",
        "set,get,lpush",
      ];
      const done = await wire.run("peer", bench, { timeoutMs: 40_000 });
      expect.result("redis-benchmark", done, {
        stdout: /GET: [\d.]+ requests per second[\s\S]*LPUSH: [\d.]+ requests/,
      });
    },
  },
  {
    name: "python-http-server",
    needs: ["python3", "curl"],
    async run(wire, place, expect) {
      mkdirSync(join(wire.dir, "files"));
      wire.file("files/one", "one\n");
      const running = await server(wire, place, 8000, [
        PYTHON,
        "-m",
        "http.server",
        "8000",
        "--directory",
        join(wire.dir, "files"),
      ]);
      expect.result("curl", await wire.run("peer", curl(`http://${GUEST.v4}:8000/one`)), { stdout: "one\n" });
      const refused = await wire.run("peer", curl(`http://${GUEST.v4}:8001/`));
      expect.result("another port", refused, { status: 7, stderr: /refused|Failed to connect/i });
      await running.until(/10\.77\.0\.1 - - .*GET \/one/);
    },
  },
  {
    name: "python-asyncio-500-clients",
    needs: ["python3"],
    async run(wire, place, expect) {
      const echo = wire.file("echo.py", asyncioServer);
      const clients = wire.file("clients.py", asyncioClients);
      await server(wire, place, 8100, [PYTHON, echo]);
      const done = await wire.run("peer", [PYTHON, clients, GUEST.v4, "8100", `${CLIENTS}`], { timeoutMs: 60_000 });
      expect.result("500 clients outside", done, { stdout: `${CLIENTS} right\n` });
    },
  },
  {
    name: "python-asyncio-500-connections-out",
    needs: ["python3"],
    async run(wire, place, expect) {
      const outside = wire.start("peer", [PYTHON, wire.file("echo.py", asyncioServer)]);
      await wire.listening(8100, "peer", outside);
      const clients = [PYTHON, wire.file("clients.py", asyncioClients), PEER.v4, "8100", `${CLIENTS}`];
      expect.result("500 connections out", await place.run(clients, { timeoutMs: 60_000 }), {
        stdout: `${CLIENTS} right\n`,
      });
    },
  },
  {
    name: "node-http-http2-websocket",
    needs: ["nodejs", "curl"],
    async run(wire, place, expect) {
      await server(wire, place, 8204, ["node", wire.file("server.cjs", nodeServer)]);
      const one = await wire.run(
        "peer",
        curl("--data-binary", `@${wire.file("posted", "x".repeat(200_000))}`, `http://${GUEST.v4}:8203/`),
      );
      expect.result("a post", one, { stdout: "POST 200000 from ::ffff:10.77.0.1\n" });
      const client = wire.file("client.cjs", nodeClient);
      const two = await wire.run("peer", ["node", client, GUEST.v4]);
      expect.result("streams of HTTP/2, messages of a websocket", two, {
        stdout: "http2 40 right\nwebsocket 100 right\n",
      });
    },
  },
  {
    name: "node-cluster",
    needs: ["nodejs", "curl"],
    async run(wire, place, expect) {
      await server(wire, place, 8300, ["node", wire.file("cluster.cjs", nodeCluster)]);
      const seen = new Set<string>();
      for (let i = 0; i < 12; i++) seen.add((await wire.run("peer", curl(`http://${GUEST.v4}:8300/`))).stdout);
      expect.equal("workers that answered", [...seen].sort(), ["worker 1\n", "worker 2\n", "worker 3\n"]);
    },
  },
  {
    name: "iperf3",
    needs: ["iperf3"],
    async run(wire, place, expect) {
      await server(wire, place, 5201, ["iperf3", "-s", "--forceflush"]);
      const iperf = (...words: string[]) =>
        wire.run("peer", ["iperf3", "-c", GUEST.v4, "-t", "1", "-J", "--connect-timeout", "5000", ...words]);
      for (const words of [[], ["-R"], ["-P", "8"], ["-u", "-b", "20M"], ["-u", "-R", "-b", "20M"], ["-6"]]) {
        const own = words[0] === "-6" ? ["-c", GUEST.v6, "-6"] : words;
        // Between two tests the server has no listener for a moment.
        let done = await iperf(...own);
        for (let tries = 0; tries < 20 && /refused|busy|reset/.test(done.stdout); tries++) {
          await Bun.sleep(100);
          done = await iperf(...own);
        }
        expect.result(`iperf3 ${words.join(" ")}`, done);
        const { end, error } = JSON.parse(done.stdout || "{}");
        const bits = (end?.sum_received ?? end?.sum)?.bits_per_second ?? 0;
        expect.that(`iperf3 ${words.join(" ")}: ${bits} bits per second, ${error}`, bits > 1e6);
      }
    },
  },
  {
    name: "wget-large",
    needs: ["wget", "python3"],
    async run(wire, place, expect) {
      const outside = wire.start("peer", [PYTHON, wire.file("large.py", largeServer), `${LARGE_MIB}`]);
      await outside.until(/^ready$/m);
      const script = `wget -q -O - http://${PEER.v4}:8400/large | sha256sum`;
      const done = await place.run(["/bin/bash", "-o", "pipefail", "-c", script], {
        timeoutMs: full ? 300_000 : 120_000,
      });
      expect.result(`${LARGE_MIB} MiB`, done, { stdout: `${largeSum()}  -\n` });
    },
  },
  {
    name: "upload-large",
    needs: ["curl", "python3"],
    async run(wire, place, expect) {
      const outside = wire.start("peer", [PYTHON, wire.file("large.py", largeServer), `${LARGE_MIB}`]);
      await outside.until(/^ready$/m);
      const make = `import sys\nb = ${LARGE_BLOCK}\nfor i in range(${LARGE_MIB >> 2}): sys.stdout.buffer.write(b)`;
      const file = wire.file("make.py", make);
      const script = `${PYTHON} ${file} | curl -sS --max-time 110 -T - http://${PEER.v4}:8400/`;
      const done = await place.run(["/bin/bash", "-o", "pipefail", "-c", script], { timeoutMs: 120_000 });
      expect.result("what has arrived", done, { stdout: /^\d+ / });
    },
  },
  {
    name: "nc-udp",
    needs: ["netcat-openbsd"],
    async run(wire, place, expect) {
      const inside = place.start(["nc.openbsd", "-u", "-l", "-n", "-v", "9000"], { input: "pipe" });
      await inside.until(/Bound on/);
      const outside = wire.start("peer", ["nc.openbsd", "-u", "-n", GUEST.v4, "9000"], "pipe");
      await Bun.sleep(300);
      outside.write("to the guest\n");
      await inside.until(/to the guest\n/);
      expect.fits("who it is from", inside.stderr, /10\.77\.0\.1/);
      inside.write("and back\n");
      await outside.until(/and back\n/);
      const out = place.start(["nc.openbsd", "-u", "-n", PEER.v6, "9001"], { input: "pipe" });
      const heard = wire.start("peer", ["nc.openbsd", "-6", "-u", "-l", "-n", "-v", "9001"]);
      await heard.until(/Bound on/);
      await Bun.sleep(300);
      out.write("over IPv6\n");
      await heard.until(/over IPv6\n/);
      expect.fits("who it is from", heard.stderr, /fd77::2/);
    },
  },
  {
    name: "dns",
    needs: ["python3"],
    async run(wire, place, expect) {
      const dns = await resolver(
        wire,
        "web.test A 60 10.77.0.1\nweb.test AAAA 60 fd77::1\nalias.test CNAME 60 web.test\nmany.test A 60 big\n",
      );
      const ask = `
import socket
def show(name, *more):
    try: print(name, sorted(set(i[4][0] for i in socket.getaddrinfo(name, 80, *more, type=socket.SOCK_STREAM))))
    except OSError as e: print(name, e)
show("web.test")
show("alias.test", socket.AF_INET)
show("none.test")
print(len(socket.getaddrinfo("many.test", 80, socket.AF_INET, socket.SOCK_STREAM)))
`;
      const done = await place.run([PYTHON, wire.file("ask.py", ask)]);
      expect.result("names", done, {
        stdout:
          "web.test ['10.77.0.1', 'fd77::1']\nalias.test ['10.77.0.1']\nnone.test [Errno -2] Name or service not known\n60\n",
      });
      expect.fits("over TCP, too", dns.stdout, /^tcp many\.test A$/m);
    },
  },
  {
    name: "ping",
    needs: ["iputils-ping"],
    async run(wire, place, expect) {
      const ping = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2"];
      expect.result("IPv4", await place.run([...ping, PEER.v4]), {
        stdout: /3 packets transmitted, 3 received, 0% packet loss/,
      });
      expect.result("IPv6", await place.run([...ping, PEER.v6]), {
        stdout: /3 packets transmitted, 3 received, 0% packet loss/,
      });
      const lost = await place.run(["ping", "-n", "-c", "1", "-W", "1", "10.98.0.1"]);
      expect.result("nobody answers", lost, { status: 1, stdout: /1 packets transmitted, 0 received/ });
      expect.result("from outside", await wire.run("peer", [...ping, GUEST.v4]), { stdout: / 3 received/ });
    },
  },
  {
    name: "ssh",
    needs: ["dropbear-bin", "openssh-client"],
    async run(wire, place, expect) {
      const home = join(wire.dir, "home");
      mkdirSync(join(home, ".ssh"), { mode: 0o700 });
      const key = join(home, ".ssh/id_ed25519");
      await wire.must("peer", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
      wire.file("home/.ssh/authorized_keys", readFileSync(`${key}.pub`, "utf8"), 0o600);
      await wire.must("peer", ["dropbearkey", "-t", "ed25519", "-f", join(wire.dir, "host-key")]);
      const words = ["-F", "-E", "-s", "-r", join(wire.dir, "host-key"), "-p", "2222", "-P", "/tmp/pid"];
      await server(wire, place, 2222, ["dropbear", ...words]);
      const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
      const ssh = (...more: string[]) => [
        "ssh",
        ...["-F", "/dev/null", "-i", key, "-p", "2222"],
        ...options.flatMap((option) => ["-o", option]),
        ...more,
      ];
      const command = await wire.run("peer", ssh(`root@${GUEST.v4}`, "echo $SSH_CLIENT | cut -d' ' -f1; exit 7"));
      expect.result("a command", command, { status: 7, stdout: "10.77.0.1\n" });
      const terminal = TerminalProgram.start(wire.peer.inside(ssh("-t", `root@${GUEST.v6}`, "/bin/sh")));
      expect.that(`no prompt: ${terminal.seen}`, await terminal.until("# ", 15_000));
      terminal.type("stty size; test -t 0 && echo ter''minal\r");
      expect.that(`no terminal: ${terminal.seen}`, await terminal.until("terminal"));
      expect.that(`not its size: ${terminal.seen}`, /30 90/.test(terminal.seen));
      terminal.type("exit 5\r");
      expect.equal("its status", await terminal.exit(), 5);
    },
  },
];

const asyncioServer = `
import asyncio
async def echo(r, w):
    try:
        while line := await r.readline(): w.write(line.upper()); await w.drain()
    except ConnectionError: pass
    w.close()
async def main():
    s = await asyncio.start_server(echo, ["0.0.0.0", "::"], 8100, backlog=1000)
    async with s: await s.serve_forever()
asyncio.run(main())
`;
const asyncioClients = `
import asyncio, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
everyone = asyncio.Event()
there = 0
async def one(i):
    global there
    r, w = await asyncio.open_connection(host, port)
    there += 1
    if there == count: everyone.set()
    await everyone.wait()
    right = 0
    for j in range(3):
        w.write(b"client %d round %d\\n" % (i, j)); await w.drain()
        right += await r.readline() == b"CLIENT %d ROUND %d\\n" % (i, j)
    w.close()
    return right == 3
async def main(): print(sum(await asyncio.gather(*(one(i) for i in range(count)))), "right")
asyncio.run(asyncio.wait_for(main(), 50))
`;

const LARGE_BLOCK = `bytes(range(256)) * ${(4 * MIB) / 256}`;
const largeServer = `
import hashlib, http.server, sys
block = ${LARGE_BLOCK}
count = int(sys.argv[1]) // 4
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", str(len(block) * count)); self.end_headers()
        for i in range(count): self.wfile.write(block)
    def do_PUT(self):
        total, h = 0, hashlib.sha256()
        if self.headers.get("Expect"): pass
        while True:
            n = int(self.rfile.readline(), 16)
            data = self.rfile.read(n); self.rfile.readline()
            if n == 0: break
            total += n; h.update(data)
        text = ("%d %s\\n" % (total, h.hexdigest())).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)
s = http.server.ThreadingHTTPServer(("0.0.0.0", 8400), H)
print("ready", flush=True)
s.serve_forever()
`;
function largeSum(): string {
  const block = Buffer.from(Array.from({ length: 4 * MIB }, (_, i) => i & 255));
  const hash = createHash("sha256");
  for (let i = 0; i < LARGE_MIB >> 2; i++) hash.update(block);
  return hash.digest("hex");
}

const nodeServer = `
const http = require("node:http"), http2 = require("node:http2"), crypto = require("node:crypto");
const server = http.createServer((q, a) => { let n = 0; q.on("data", d => n += d.length); q.on("end", () => a.end(\`\${q.method} \${n} from \${q.socket.remoteAddress}\\n\`)); });
server.on("upgrade", (q, s) => {
  const key = crypto.createHash("sha1").update(q.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  s.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + key + "\\r\\n\\r\\n");
  let w = Buffer.alloc(0);
  s.on("error", () => {});
  s.on("data", d => {
    w = Buffer.concat([w, d]);
    while (w.length >= 6 && w.length >= 6 + (w[1] & 127)) {
      const n = w[1] & 127, mask = w.subarray(2, 6), text = Buffer.from(w.subarray(6, 6 + n)).map((b, i) => b ^ mask[i & 3]);
      if ((w[0] & 15) === 8) s.end(); else s.write(Buffer.concat([Buffer.of(0x81, n), text]));
      w = w.subarray(6 + n);
    }
  });
});
const two = http2.createServer();
two.on("stream", (s, h) => { s.respond({ ":status": 200 }); s.end("you asked for " + h[":path"] + "x".repeat(20000)); });
server.listen(8203, "::", () => two.listen(8204, "::"));
`;
const nodeClient = `
const http2 = require("node:http2"), net = require("node:net"), host = process.argv[2];
const c = http2.connect("http://" + host + ":8204");
let right = 0, left = 40;
for (let i = 0; i < 40; i++) {
  const s = c.request({ ":path": "/" + i }); let text = "";
  s.on("data", d => text += d); s.on("end", () => { right += text === "you asked for /" + i + "x".repeat(20000); if (--left === 0) { console.log("http2", right, "right"); c.close(); socket(); } });
}
function socket() {
  const s = net.connect(8203, host); let got = Buffer.alloc(0), open = false, n = 0, ok = 0;
  s.write("GET / HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n");
  const say = () => { const t = Buffer.from("message " + n); s.write(Buffer.concat([Buffer.of(0x81, 0x80 | t.length, 0, 0, 0, 0), t])); };
  s.on("data", d => {
    got = Buffer.concat([got, d]);
    if (!open) { const at = got.indexOf("\\r\\n\\r\\n"); if (at < 0) return; open = got.includes("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); got = got.subarray(at + 4); return say(); }
    while (got.length >= 2 && got.length >= 2 + got[1]) {
      ok += got.toString("latin1", 2, 2 + got[1]) === "message " + n; got = got.subarray(2 + got[1]);
      if (++n === 100) { console.log("websocket", ok, "right"); return s.destroy(); }
      say();
    }
  });
}
`;
const nodeCluster = `
const cluster = require("node:cluster"), http = require("node:http");
if (cluster.isPrimary) for (let i = 0; i < 3; i++) cluster.fork();
else http.createServer((q, a) => { a.setHeader("connection", "close"); a.end("worker " + cluster.worker.id + "\\n"); }).listen(8300);
`;

export const networkProgramCases = (filters: readonly string[]): Case[] =>
  scenarioCases("programs", scenarios, filters);
export { resolver };
