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

/** A server of busybox in a container that says its own address to whoever asks. */
const WEB = "mkdir -p /w; hostname -i > /w/index.html; exec httpd -f -p 80 -h /w";

const fetch = (url: string): string[] => ["busybox", "wget", "-q", "-T", "5", "-O", "-", url];

async function web(d: Docker, name: string, ...flags: string[]): Promise<void> {
  await d.does(["run", "-d", "--name", name, ...flags, "busybox", "sh", "-c", WEB]);
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
    d.expect("its device", await d.does(["exec", "web", "ip", "-4", "addr", "show", "eth0"]), new RegExp(`inet ${ip}/24`));
    d.expect("its route", await d.does(["exec", "web", "ip", "route"]), new RegExp(`^default via ${GATEWAY.replaceAll(".", "\\.")} dev eth0`));
    await d.prints(["busybox", "wget", "-q", "-T", "5", "-O", "-", `http://${ip}/`], ip);
    await d.prints(["busybox", "wget", "-q", "-T", "5", "-O", "-", `http://${GATEWAY}:8080/`], ip);
    const echo = "import socket\ns=socket.socket(type=socket.SOCK_DGRAM); s.bind(('0.0.0.0',90))\nwhile True:\n b,a=s.recvfrom(999); s.sendto(b.upper(),a)";
    await d.does(["run", "-d", "--name", "echo", "-p", "9090:90/udp", "debian", "python3", "-c", echo]);
    const ask = "import socket\ns=socket.socket(type=socket.SOCK_DGRAM); s.settimeout(1)\nfor i in range(15):\n s.sendto(b'abc',('127.0.0.1',9090))\n try: print(s.recv(9).decode()); break\n except OSError: pass";
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
        const got = await d.does(["exec", "second", "wget", "-q", "-T", "5", "-O", "-", `http://${name}/`]);
        d.expect(`${name} asked by its name`, got, ip);
      }
      d.expect("a ping by name", await d.does(["exec", "second", "ping", "-c", "1", "-W", "3", "first"]), /1 packets received/);
      await d.does(["exec", "first", "wget", "-q", "-T", "5", "-O", "-", "http://nobody/"], 1);
      // Over TCP, too: Docker's resolver is a rule of the namespace.
      const tcp = "import socket,struct\nq=b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x05first\\0\\0\\x01\\0\\x01'\ns=socket.create_connection(('127.0.0.11',53),5); s.sendall(struct.pack('>H',len(q))+q); print(socket.inet_ntoa(s.recv(512)[-4:]))";
      await d.prints(["--network", "ours", "debian", "python3", "-c", tcp], ip);
    } finally {
      await d.run(["rm", "-f", "first", "second"]);
      await d.does(["network", "rm", "ours"]);
    }
  }),
  dockerTest("--network none, host, container:NAME", async (d) => {
    await d.prints(["--network", "none", "busybox", "sh", "-c", "ip -o link | wc -l; wget -q -T 2 -O - http://10.78.0.1/"], /^1\nwget: /, 1);
    await web(d, "web");
    const ip = await address(d, "web");
    await d.prints(["--network", "host", "busybox", "sh", "-c", `ip -4 -o addr show docker0; wget -q -T 5 -O - http://${ip}/`], new RegExp(`inet ${GATEWAY}/24[^\\n]*\\n${ip}$`));
    await d.prints(["--network", "container:web", "busybox", "sh", "-c", "ip -4 -o addr show eth0; wget -q -T 5 -O - http://127.0.0.1/"], new RegExp(`inet ${ip}/24[^\\n]*\\n${ip}$`));
    await d.does(["run", "-d", "--name", "hosts", "--network", "host", "busybox", "sh", "-c", "mkdir /w; echo of the host > /w/index.html; exec httpd -f -p 8888 -h /w"]);
    d.expect("a server in the host's network", await fetched(d, `http://${GATEWAY}:8888/`), "of the host");
  }),
  dockerTest("build: a RUN that fetches", async (d) => {
    await web(d, "source");
    const ip = await address(d, "source");
    const context = join(d.arena.dir, "fetching");
    mkdirSync(context, { recursive: true });
    writeFileSync(join(context, "Dockerfile"), `FROM busybox\nRUN wget -q -T 5 -O /fetched http://${ip}/\nCMD ["cat", "/fetched"]\n`);
    const built = await d.run(["build", "-t", "fetched", context], undefined, { DOCKER_BUILDKIT: "0" });
    if (built.status !== 0) d.problems.push(`docker build: ${built.stdout}${built.stderr}`);
    await d.prints(["fetched"], ip);
    await d.does(["rmi", "fetched"]);
    await d.does(["container", "prune", "-f"]);
  }),
  dockerTest("refused, restarted, published again and again", async (d) => {
    await web(d, "web");
    const ip = await address(d, "web");
    await d.prints(["busybox", "nc", "-w", "3", ip, "81"], /refused/, 1);
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
      needs: ["docker.io", "containerd", "iptables", ...rootfsPackages],
      make: (arena) => new DockerNetwork(arena),
      tests,
    },
    filters,
  );
