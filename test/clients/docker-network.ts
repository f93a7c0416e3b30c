/**
 * Docker's networks: its bridge with published ports, networks of a user with names by Docker's DNS, another container's, the
 * host's and none; `docker build` that fetches. The daemon's host is the arena, whose network has a loopback only, and what
 * is outside for a container is a server there.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Case } from "../harness/suite.ts";
import type { Arena } from "./arena.ts";
import { Docker, dockerTest } from "./docker.ts";
import { rootfsPackages } from "./rootfs.ts";
import { type ClientTest, clientCases } from "./session.ts";

const GATEWAY = "10.78.0.1";

class DockerNetwork extends Docker {
  /** The bridge's namespaces and mounts stay. */
  readonly own = /\/netns\/default|docker-test\/netns \(/;

  constructor(arena: Arena) {
    super(arena, {
      bip: `${GATEWAY}/24`,
      "default-address-pools": [{ base: "10.79.0.0/16", size: 24 }],
      ip6tables: false,
    });
  }
}

/** A server in a container that says its own address to whoever asks. (A static busybox resolves nothing.) */
const serving = (port: number): string[] => [
  "debian",
  "python3",
  "-c",
  `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        text = self.connection.getsockname()[0].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)
http.server.ThreadingHTTPServer(("0.0.0.0", ${port}), H).serve_forever()
`,
];
/** Fetches in a container. */
const get = (url: string): string[] => [
  "python3",
  "-c",
  `import urllib.request\ntry: print(urllib.request.urlopen("${url}", timeout=5).read().decode())\nexcept OSError as e: print(e)`,
];
const fetch = (url: string): string[] => ["curl", "-sS", "--max-time", "5", url];

async function web(d: Docker, name: string, ...flags: string[]): Promise<void> {
  await d.does(["run", "-d", "--name", name, ...flags, ...serving(80)]);
}
async function address(d: Docker, name: string): Promise<string> {
  return d.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
}
/** Fetches in the arena, the host of the daemon, until something answers. */
async function fetched(d: Docker, url: string): Promise<string> {
  let got = "";
  await d.wait(`an answer from ${url}`, async () => {
    const result = await d.arena.run(fetch(url));
    got = result.stdout;
    return result.status === 0;
  });
  return got.trimEnd();
}

const tests: ClientTest<Docker>[] = [
  dockerTest("the bridge: an address, a route, published TCP and UDP", async (d) => {
    await web(d, "web", "-p", "8080:80", "-p", "127.0.0.1:8090:90/udp");
    const ip = await address(d, "web");
    d.expect("its address", ip, /^10\.78\.0\.\d+$/);
    d.expect("from the host, by its address", await fetched(d, `http://${ip}/`), ip);
    d.expect("published", await fetched(d, "http://127.0.0.1:8080/"), ip);
    d.expect("published, by the bridge's address", await fetched(d, `http://${GATEWAY}:8080/`), ip);
    await d.prints(
      [
        "--network",
        "container:web",
        "busybox",
        "sh",
        "-c",
        "ip route; ip -4 -o addr show eth0; ping -c 1 10.78.0.1 | tail -2",
      ],
      new RegExp(`^default via ${GATEWAY} dev eth0[\\s\\S]*inet ${ip}/24[\\s\\S]*1 packets received`),
    );
    await d.prints(["debian", ...get(`http://${ip}/`)], ip);
    await d.prints(["debian", ...get(`http://${GATEWAY}:8080/`)], ip);
    const echo =
      "import socket\ns=socket.socket(type=socket.SOCK_DGRAM); s.bind(('0.0.0.0',90))\nwhile True:\n b,a=s.recvfrom(999); s.sendto(b.upper(),a)";
    await d.does(["run", "-d", "--name", "echo", "-p", "9090:90/udp", "debian", "python3", "-c", echo]);
    const ask =
      "import socket\ns=socket.socket(type=socket.SOCK_DGRAM); s.settimeout(1)\nfor i in range(15):\n s.sendto(b'abc',('127.0.0.1',9090))\n try: print(s.recv(9).decode()); break\n except OSError: pass";
    d.expect("published UDP", (await d.arena.run(["/usr/bin/python3", "-c", ask])).stdout, "ABC\n");
  }),
  dockerTest("a network of a user: names by Docker's DNS", async (d) => {
    await d.does(["network", "create", "ours"]);
    try {
      await web(d, "first", "--network", "ours", "--network-alias", "alias");
      await web(d, "second", "--network", "ours");
      const ip = await address(d, "first");
      d.expect("its address", ip, /^10\.79\.0\.\d+$/);
      d.expect("the resolver", await d.does(["exec", "second", "cat", "/etc/resolv.conf"]), /nameserver 127\.0\.0\.11/);
      for (const name of ["first", "alias"]) {
        const got = await d.does(["exec", "second", ...get(`http://${name}/`)]);
        d.expect(`${name} asked by its name`, got, ip);
      }
      d.expect(
        "nobody's name",
        await d.does(["exec", "first", ...get("http://nobody/")]),
        /Name or service not known|name resolution/,
      );
      // Over TCP, too: Docker's resolver is a rule of the namespace.
      const tcp =
        "import socket,struct\nq=b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x05first\\0\\0\\x01\\0\\x01'\ns=socket.create_connection(('127.0.0.11',53),5); s.sendall(struct.pack('>H',len(q))+q); print(socket.inet_ntoa(s.recv(512)[-4:]))";
      await d.prints(["--network", "ours", "debian", "python3", "-c", tcp], ip);
    } finally {
      await d.run(["rm", "-f", "first", "second"]);
      await d.does(["network", "rm", "ours"]);
    }
  }),
  dockerTest("--network none, host, container:NAME", async (d) => {
    await d.prints(["--network", "none", "busybox", "sh", "-c", "ip -o link | wc -l"], "1");
    await d.prints(["--network", "none", "debian", ...get(`http://${GATEWAY}/`)], /unreachable/);
    await web(d, "web");
    const ip = await address(d, "web");
    await d.prints(
      ["--network", "host", "busybox", "ip", "-4", "-o", "addr", "show", "docker0"],
      new RegExp(`inet ${GATEWAY}/24`),
    );
    await d.prints(["--network", "host", "debian", ...get(`http://${ip}/`)], ip);
    await d.prints(
      ["--network", "container:web", "busybox", "ip", "-4", "-o", "addr", "show", "eth0"],
      new RegExp(`inet ${ip}/24`),
    );
    await d.prints(["--network", "container:web", "debian", ...get(`http://${ip}/`)], ip);
    await d.does(["run", "-d", "--name", "hosts", "--network", "host", ...serving(8888)]);
    d.expect("a server in the host's network", await fetched(d, `http://${GATEWAY}:8888/`), GATEWAY);
  }),
  dockerTest("build: a RUN that fetches", async (d) => {
    await web(d, "source");
    const ip = await address(d, "source");
    const context = join(d.arena.dir, "fetching");
    mkdirSync(context, { recursive: true });
    const fetching = `python3 -c 'import urllib.request; open("/fetched", "wb").write(urllib.request.urlopen("http://${ip}/").read())'`;
    writeFileSync(join(context, "Dockerfile"), `FROM debian\nRUN ${fetching}\nCMD ["cat", "/fetched"]\n`);
    const built = await d.run(["build", "-t", "fetched", context], undefined, { DOCKER_BUILDKIT: "0" });
    if (built.status !== 0) d.problems.push(`docker build: ${built.stdout}${built.stderr}`);
    await d.prints(["--pull", "never", "fetched"], ip);
    await d.run(["rmi", "fetched"]);
    await d.does(["container", "prune", "-f"]);
  }),
  dockerTest("refused, restarted, published again and again", async (d) => {
    await web(d, "web");
    const ip = await address(d, "web");
    await fetched(d, `http://${ip}/`);
    await d.prints(["debian", ...get(`http://${ip}:81/`)], /refused/);
    await d.does(["stop", "-t", "0", "web"]);
    await d.does(["start", "web"]);
    d.expect("after a restart", await fetched(d, `http://${await address(d, "web")}/`), await address(d, "web"));
    // Its port is free again for the next.
    for (let i = 0; i < 3; i++) {
      await web(d, `again${i}`, "-p", "8081:80");
      d.expect("published again", await fetched(d, "http://127.0.0.1:8081/"), await address(d, `again${i}`));
      await d.does(["rm", "-f", `again${i}`]);
    }
  }),
];

export const dockerNetworkCases = (filters: readonly string[]): Case[] =>
  clientCases<Docker>(
    {
      name: "docker-network",
      needs: ["docker.io", "containerd", "iptables", "curl", ...rootfsPackages],
      make: (arena) => new DockerNetwork(arena),
      tests,
    },
    filters,
  );
