/**
 * Plugins that are asked about the network: one of a third party's, on the loopback network; and the built-in one that asks
 * a person or a command, with places that nobody can reach (192.0.2.0/24 is for documentation).
 */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { busyboxPath } from "../harness/packages.ts";
import { cleanEnv, run } from "../harness/process.ts";
import { executable, isRoot, platforms } from "../harness/sandbox.ts";
import { type Case, fail, type Outcome, pass, skip } from "../harness/suite.ts";
import { currentUser, handOver } from "../harness/user.ts";
import { command, configure, type Expected, judge, TIMEOUT_MS, within } from "./kit.ts";

// ---- Hooks ----

interface Hooked extends Expected {
  topic: string;
  script: string;
  /** It binds a low port. */
  needsRoot?: boolean;
}

/** What the scripts begin with. */
const PRELUDE = `
import errno, os, select, signal, socket, threading, time
def code(call, *args):
    try: return call(*args) and "result" or "done"
    except OSError as e: return errno.errorcode[e.errno]
def stream(): return socket.socket()
def to(port): return ("127.0.0.1", port)
def outcome(s):
    p = select.poll(); p.register(s, select.POLLOUT); p.poll(5000)
    return errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "connected")
`;

const hooked: Hooked[] = [
  {
    topic: "connects are seen with their addresses, and refused",
    script: `
s = socket.create_server(to(4000))
print(code(stream().connect, to(4000)), code(stream().connect, to(4001)), code(stream().connect, to(4008)))
print(code(socket.socket(socket.AF_INET6).connect, ("::ffff:127.0.0.1", 4001)), code(socket.socket(socket.AF_INET6).connect, ("::1", 4001)))
print(code(stream().connect, ("192.0.2.1", 4001)), code(stream().connect, ("192.0.2.1", 443)))`,
    stdout: "done EACCES ECONNREFUSED\nEACCES EACCES\nEACCES ENETUNREACH\n",
    stderr: [
      /connects: python3 tcp ip4 127\.0\.0\.1 4000 inside/,
      /connects: python3 tcp ip6 ::1 4001 inside/,
      /connects: python3 tcp ip4 192\.0\.2\.1 443 outside/,
      /second: 4008/,
    ],
    silent: /second: 4001/,
  },
  {
    topic: "a connect that waits for a promise keeps its thread alone",
    script: `
s = socket.create_server(to(4002))
ticks = []
threading.Thread(target=lambda: [ticks.append(time.sleep(0.02)) for i in range(8)], daemon=True).start()
t = time.time()
print(code(stream().connect, to(4002)), time.time() - t > 0.25, len(ticks) == 8)
print(code(stream().connect, to(4003)))`,
    stdout: "done True True\nEPERM\n",
  },
  {
    topic: "a connect that does not wait is under way, and tells of the answer by SO_ERROR",
    script: `
s = socket.create_server(to(4002))
for port in 4002, 4003, 4001:
    c = stream(); c.setblocking(False); t = time.time()
    first = errno.errorcode.get(c.connect_ex(to(port)), "connected")
    second = errno.errorcode.get(c.connect_ex(to(port)), "connected")
    p = select.poll(); p.register(c, select.POLLOUT); early = p.poll(0)
    print(port, first, second, port == 4001 or (early == [] and time.time() - t < 0.25))
    if port != 4001: print(outcome(c))
    if port == 4002: c.setblocking(True); c.sendall(b"x"); print(s.accept()[0].recv(9))`,
    stdout: `4002 EINPROGRESS EALREADY True
connected
b'x'
4003 EINPROGRESS EALREADY True
EPERM
4001 EACCES EACCES True
`,
  },
  {
    topic: "a signal ends the waiting for an answer, and the socket can be closed meanwhile",
    script: `
def interrupted(*_): raise InterruptedError()
signal.signal(signal.SIGALRM, interrupted); signal.setitimer(signal.ITIMER_REAL, 0.1)
t = time.time()
try: stream().connect(to(4006)); print("connected")
except InterruptedError: print("interrupted", time.time() - t < 5)
c = stream(); c.setblocking(False); c.connect_ex(to(4006)); c.close()
c = stream(); c.setblocking(False); c.connect_ex(to(4002)); c.close()
time.sleep(0.4); print("lives", flush=True); os._exit(0)`,
    stdout: "interrupted True\nlives\n",
  },
  {
    topic: "a hook that throws or answers nothing is named, and refuses",
    script: `print(code(stream().connect, to(4004)), code(stream().connect, to(4005)), code(stream().connect, to(4004)))`,
    stdout: "EIO EIO EIO\n",
    stderr: [
      /plugin "network", connect hook: TypeError: thrown by the hook.*EIO/,
      /plugin "network", connect hook: .*returned undefined, expected "continue" or -errno/,
    ],
  },
  {
    topic: "accepted connections: one is refused, and the next one given",
    script: `
s = socket.create_server(to(4000))
c = [socket.create_connection(to(4000)) for i in range(3)]
a = s.accept()[0]; b = s.accept()[0]
a.sendall(b"one"); b.sendall(b"three")
print(c[0].recv(9), c[1].recv(9), c[2].recv(9))`,
    stdout: "b'one' b'' b'three'\n",
    stderr: [/accepts: python3 tcp ip4 127\.0\.0\.1 \d+ inside/],
  },
  {
    topic: "binds, and the first datagram to each destination",
    script: `
u = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(code(stream().bind, to(4009)), code(u().bind, to(4009)), code(u().bind, to(4010)))
a = u(); a.bind(to(4011)); b = u()
print(code(b.sendto, b"1", to(4011)), code(b.sendto, b"2", to(4011)), code(b.sendto, b"3", to(4013)))
b.connect(to(4013)); print(code(b.send, b"4"))`,
    stdout: "EACCES EACCES done\nresult result EACCES\nEACCES\n",
    stderr: [
      /binds: 127\.0\.0\.1 4010/,
      /sends: python3 udp ip4 127\.0\.0\.1 4011 inside/,
      /connects: python3 udp ip4 127\.0\.0\.1 4013 inside/,
    ],
    silent: /4011 inside[\s\S]*4011 inside/,
  },
  {
    topic: "names that a name server has told",
    needsRoot: true,
    script: `
u = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns = u(); dns.bind(to(53)); asker = u(); asker.bind(to(4012))
question = b"\\x07example\\x04test\\0\\0\\x01\\0\\x01"
reply = b"\\1\\2\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + question + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\7"
dns.sendto(reply, to(4012)); print(asker.recv(512) == reply)
print(code(stream().connect, ("192.0.2.7", 443)))`,
    stdout: "True\nENETUNREACH\n",
    stderr: [/connects: python3 tcp ip4 192\.0\.2\.7 443 outside example\.test/],
  },
];

function hookCase(each: Hooked, platform: string): Case {
  return {
    name: `plugins/network: ${each.topic}@${platform}`,
    run: () =>
      within(async (dir) => {
        if (each.needsRoot && (!isRoot || currentUser() !== undefined)) return skip("needs root");
        cpSync(join(import.meta.dir, "network"), join(dir, "plugins/network"), { recursive: true });
        configure(dir, "network");
        const words = ["do", "--platform", platform, "--", "python3", "-c", PRELUDE + each.script];
        return judge(await command(dir, ...words), each);
      }),
  };
}

// ---- egress ----

const TRY = `
import errno, socket, sys
for port in map(int, sys.argv[1:]):
    try: socket.create_connection(("192.0.2.1", port), 20)
    except OSError as e: print(port, errno.errorcode[e.errno], flush=True)
`;

function egress(dir: string, options: string): void {
  writeFileSync(join(dir, "config.toml"), `[plugins]\nenable = ["egress"]\n[plugin.egress]\n${options}\n`);
}

/** Asked, it notes what it reads; what it answers is by the port. */
function installAsker(dir: string): string {
  const path = join(dir, "asker");
  const script = `#!/bin/sh
read -r question
printf '%s\\n' "$question" >>${dir}/asked
case "$question" in
  *'"port":1,'*) echo allow ;;
  *'"port":2,'*) echo allow always ;;
  *'"port":3,'*) echo deny always ;;
  *'"port":4,'*) exit 0 ;;
  *'"port":5,'*) exit 10 ;;
  *'"port":6,'*) exit 11 ;;
  *'"port":7,'*) echo perhaps ;;
  *'"port":8,'*) echo allow; exit 1 ;;
  *'"port":9,'*) sleep 20 ;;
  *) exit 1 ;;
esac
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  handOver(path);
  return path;
}

const asked = (dir: string): Record<string, unknown>[] =>
  readFileSync(join(dir, "asked"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** In a terminal; answers each question with the next of the answers. */
const TERMINAL = `
import os, pty, select, sys, time
answers = sys.argv[1].split(",")
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[2], sys.argv[2:])
out, seen, end = b"", 0, time.time() + 25
while time.time() < end:
    if not select.select([fd], [], [], 1)[0]: continue
    try: some = os.read(fd, 4096)
    except OSError: break
    if not some: break
    out += some
    while out.count(b"ne[v]er: ") + out.count(b"name? ") > seen and answers:
        seen += 1
        os.write(fd, answers.pop(0).encode() + b"\\r")
sys.stdout.write(out.decode(errors="replace").replace("\\r", ""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

const egressCases: Case[] = [
  {
    name: "plugins/egress: not there unless it is enabled",
    run: () =>
      within(async (dir) => {
        writeFileSync(join(dir, "config.toml"), "[plugins]\n");
        const command1 = judge(await command(dir, "egress", "x"), { status: 1, stderr: [/unknown command|egress/] });
        if (command1.kind !== "pass") return command1;
        const plain = await command(dir, "do", "python3", "-c", TRY, "443");
        const free = judge(plain, { stdout: "443 ENETUNREACH\n", silent: /egress/ });
        if (free.kind !== "pass") return free;
        writeFileSync(join(dir, "config.toml"), "[plugin.egress]\nseconds = 3\n");
        return judge(await command(dir, "do", "true"), { status: 1, stderr: [/no plugin "egress" is enabled/] });
      }),
  },
  ...platforms.map((platform) => ({
    name: `plugins/egress: a command is asked, and remembered@${platform}`,
    run: () =>
      within(async (dir) => {
        const asker = installAsker(dir);
        egress(dir, `ask = "${asker}"\nremember = "${dir}/remembered"\nseconds = 10`);
        const ports = ["1", "1", "2", "2", "3", "3", "4", "5", "5", "6", "6", "7", "8", "10"];
        const words = ["do", "--platform", platform, "--", "python3", "-c", TRY];
        const first = judge(await command(dir, ...words, ...ports), {
          stdout: `1 ENETUNREACH
1 ENETUNREACH
2 ENETUNREACH
2 ENETUNREACH
3 ECONNREFUSED
3 ECONNREFUSED
4 ENETUNREACH
5 ENETUNREACH
5 ENETUNREACH
6 ECONNREFUSED
6 ECONNREFUSED
7 ECONNREFUSED
8 ECONNREFUSED
10 ECONNREFUSED
`,
          stderr: [
            /plugin "egress": allowed: .*python3 \(pid 1\) to tcp 192\.0\.2\.1:1: the command\n/,
            /plugin "egress": denied: .*192\.0\.2\.1:3: the command, for always/,
            /denied: .*192\.0\.2\.1:3: an earlier answer/,
            /denied: .*192\.0\.2\.1:7: the command has no answer .*perhaps/,
          ],
        });
        if (first.kind !== "pass") return first;
        const questions = asked(dir);
        const wanted = [1, 1, 2, 3, 4, 5, 6, 7, 8, 10];
        if (
          !Bun.deepEquals(
            questions.map(({ port }) => port),
            wanted,
          )
        )
          return fail(JSON.stringify(questions));
        const { program, pid, address, family, protocol, names, seconds } = questions[0]!;
        const about = { program, pid, address, family, protocol, names, seconds };
        const shape = {
          program: "python3",
          pid: 1,
          address: "192.0.2.1",
          family: 4,
          protocol: "tcp",
          names: [],
          seconds: 10,
        };
        if (!Bun.deepEquals(about, shape)) return fail(JSON.stringify(about));
        const kept = readFileSync(join(dir, "remembered"), "utf8").replaceAll(/ {2}#.*/g, "");
        if (kept !== "allow tcp 192.0.2.1:2\ndeny tcp 192.0.2.1:3\nallow tcp 192.0.2.1:5\ndeny tcp 192.0.2.1:6\n")
          return fail(`remembered: ${kept}`);
        if ((statSync(join(dir, "remembered")).mode & 0o777) !== 0o600) return fail("others can read it");
        // By hand, too; and another run asks nobody about what is remembered.
        appendFileSync(join(dir, "remembered"), "deny tcp 192.0.2.1:2\n");
        const second = judge(await command(dir, ...words, "2", "3", "5"), {
          stdout: "2 ECONNREFUSED\n3 ECONNREFUSED\n5 ENETUNREACH\n",
          stderr: [/192\.0\.2\.1:2: remembered/],
        });
        if (second.kind !== "pass") return second;
        if (asked(dir).length !== wanted.length) return fail("asked again");
        chmodSync(join(dir, "remembered"), 0o666);
        return judge(await command(dir, ...words, "5"), {
          stdout: "5 ECONNREFUSED\n",
          stderr: [/remembered belongs to somebody else or can be written by others/],
        });
      }),
  })),
  {
    name: "plugins/egress: a command that takes too long, or is not there, has said no; others go on meanwhile",
    run: () =>
      within(async (dir) => {
        const asker = installAsker(dir);
        egress(dir, `ask = "${asker}"\nseconds = 2`);
        const slow = `
import errno, os, socket, subprocess, sys, time
slow = subprocess.Popen([sys.executable, "-c", ${JSON.stringify(TRY)}, "9"])
time.sleep(0.3); t = time.time()
subprocess.run([sys.executable, "-c", ${JSON.stringify(TRY)}, "4"])
print(time.time() - t < 1.5, slow.poll(), flush=True)
slow.wait()`;
        const late = judge(await command(dir, "do", "python3", "-c", slow), {
          stdout: "4 ENETUNREACH\nTrue None\n9 ECONNREFUSED\n",
          stderr: [/denied: .*192\.0\.2\.1:9: (no answer in 2 s|the command has no answer \(SIGKILL\))/],
        });
        if (late.kind !== "pass") return late;
        egress(dir, `ask = "${dir}/nothing"`);
        return judge(await command(dir, "do", "python3", "-c", TRY, "4"), {
          stdout: "4 ECONNREFUSED\n",
          stderr: [/egress: tcp 192\.0\.2\.1:4: .*nothing/, /denied: .*the command cannot be run/],
        });
      }),
  },
  {
    name: "plugins/egress: nobody can be asked; places that nobody need be asked about; the loopback network is free",
    run: () =>
      within(async (dir) => {
        egress(dir, `allow = ["192.0.2.1:80", "*:81"]\ndeny = ["192.0.2.0:1", "tcp:192.0.2.1:82"]`);
        const got = await command(
          dir,
          "do",
          "python3",
          "-c",
          `${TRY}
s = socket.create_server(("127.0.0.1", 4000)); socket.create_connection(("127.0.0.1", 4000)); print("inside")
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: u.sendto(b"x", ("192.0.2.1", 5))
except OSError as e: print(errno.errorcode[e.errno])`,
          "80",
          "81",
          "82",
          "83",
        );
        return judge(got, {
          stdout: "80 ENETUNREACH\n81 ENETUNREACH\n82 ECONNREFUSED\n83 ECONNREFUSED\ninside\nEACCES\n",
          stderr: [/192\.0\.2\.1:82: the configuration/, /192\.0\.2\.1:83: nobody can be asked/, /udp 192\.0\.2\.1:5/],
        });
      }),
  },
  ...platforms.map((platform) => ({
    name: `plugins/egress: a person at the terminal of the program@${platform}`,
    run: () =>
      within(async (dir) => {
        egress(dir, `remember = "${dir}/remembered"`);
        const script = `${TRY}\nprint("hello", input("name? "))`;
        const words = [
          "--config",
          join(dir, "config.toml"),
          "do",
          "--platform",
          platform,
          "--",
          "python3",
          "-c",
          script,
        ];
        const answers = "y,a,n,v,you";
        const got = await run(
          ["python3", "-c", TERMINAL, answers, executable(), ...words, "1", "2", "2", "3", "4", "4"],
          { cwd: dir, env: cleanEnv, timeoutMs: TIMEOUT_MS },
        );
        // The program goes on while the next question is shown: in which order is the machine's choice.
        const seen = judge(got, {
          stdout: /wants to contact tcp 192\.0\.2\.1:1\.\nAllow it\? [\s\S]*hello you\n/,
        });
        const results = got.stdout.match(/\d (ENETUNREACH|ECONNREFUSED)/g)?.join();
        const wanted = "1 ENETUNREACH,2 ENETUNREACH,2 ENETUNREACH,3 ECONNREFUSED,4 ECONNREFUSED,4 ECONNREFUSED";
        if (results !== wanted) return fail(got.stdout);
        if (seen.kind !== "pass") return seen;
        const kept = readFileSync(join(dir, "remembered"), "utf8").replaceAll(/ {2}#.*/g, "");
        return kept === "allow tcp 192.0.2.1:2\ndeny tcp 192.0.2.1:4\n" ? pass : fail(`remembered: ${kept}`);
      }),
  })),
  {
    name: "plugins/egress: a container has somebody who asks, until it ends",
    run: () => within(containerCase),
  },
  {
    name: "plugins/egress: a person who looks after a container by `runts egress`",
    run: () => within(attendedCase),
  },
  {
    name: "plugins/egress: errors of its configuration",
    run: () =>
      within(async (dir) => {
        const wrong: [string, RegExp][] = [
          ['ask = "asker"', /ask: expected an absolute path/],
          ["seconds = 0", /seconds: /],
          ['allow = ["example.org"]', /allow\.0: expected ADDRESS/],
          ['deny = ["*"]', /deny\.0: expected ADDRESS/],
          ['allow = ["192.0.2.1:70000"]', /allow\.0: /],
          ["aks = 1", /aks/],
        ];
        for (const [options, message] of wrong) {
          egress(dir, options);
          const outcome = judge(await command(dir, "do", "echo", "must not run"), {
            status: 1,
            stderr: [/plugin "egress"/, message],
          });
          if (outcome.kind !== "pass") return outcome;
        }
        return pass;
      }),
  },
];

/** A bundle whose program is a script of busybox. */
function makeBundle(dir: string, busybox: string, script: string): string {
  const bundle = join(dir, "bundle");
  mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
  for (const name of ["sh", "nc", "sleep"]) copyFileSync(busybox, join(bundle, "rootfs/bin", name));
  const config = {
    ociVersion: "1.0.2",
    process: { cwd: "/", args: ["/bin/sh", "-c", script], user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] },
    root: { path: "rootfs" },
    // Nobody is there: what is allowed is unreachable.
    linux: { namespaces: ["pid", "mount", "network"].map((type) => ({ type })) },
  };
  writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
  // The mounts' places are made in the root, as with runc.
  handOver(bundle);
  return bundle;
}

async function containerCase(dir: string): Promise<Outcome> {
  if (!isRoot) return skip("needs root");
  const busybox = busyboxPath();
  if (busybox === undefined) return skip("needs busybox");
  const asker = installAsker(dir);
  egress(dir, `ask = "${asker}"\nseconds = 20`);
  const bundle = makeBundle(dir, busybox, "for port in 2 3; do nc -w 5 192.0.2.1 $port; done; sleep 600");
  const state = ["--root", join(dir, "root")];
  const log = ["--debug-log", join(dir, "log")];
  const started = judge(await command(dir, ...state, ...log, "run", "-d", "--bundle", bundle, "c1"), {
    stdout: /^/,
  });
  try {
    if (started.kind !== "pass") return started;
    const lines = () => (existsSync(join(dir, "log")) ? readFileSync(join(dir, "log"), "utf8") : "");
    const deadline = Date.now() + TIMEOUT_MS;
    while (!/192\.0\.2\.1:3: /.test(lines()) && Date.now() < deadline) await Bun.sleep(50);
    if (!/allowed: c1, nc \(pid \d+\) to tcp 192\.0\.2\.1:2: the command, for always/.test(lines()))
      return fail(lines());
    if (!/denied: c1, nc \(pid \d+\) to tcp 192\.0\.2\.1:3: the command, for always/.test(lines()))
      return fail(lines());
  } finally {
    await command(dir, ...state, "delete", "--force", "c1");
  }
  // Who asked has gone with it.
  for (let i = 0; ; i++) {
    const left = await run(["pgrep", "-f", `${dir}.* egress --background c1`], { timeoutMs: TIMEOUT_MS });
    if (left.stdout.trim() === "") return pass;
    if (i === 100) return fail(`left behind: ${left.stdout}`);
    await Bun.sleep(50);
  }
}

async function attendedCase(dir: string): Promise<Outcome> {
  if (!isRoot) return skip("needs root");
  const busybox = busyboxPath();
  if (busybox === undefined) return skip("needs busybox");
  egress(dir, "seconds = 20");
  const bundle = makeBundle(dir, busybox, "sleep 600");
  const state = ["--root", join(dir, "root")];
  const contact = (port: number) => command(dir, ...state, "exec", "c1", "/bin/nc", "-w", "5", "192.0.2.1", `${port}`);
  const alone = await command(dir, ...state, "egress", "c1");
  const outcomes: Outcome[] = [judge(alone, { status: 1, stderr: [/there is no terminal here/] })];
  const started = judge(await command(dir, ...state, "run", "-d", "--bundle", bundle, "c1"), {});
  if (started.kind !== "pass") return started;
  const refused = { status: 1, stderr: [/nc: .*Connection refused/] };
  let person: ReturnType<typeof run> | undefined;
  try {
    outcomes.push(judge(await contact(1), refused));
    const words = [executable(), "--config", join(dir, "config.toml"), ...state, "egress", "c1"];
    person = run(["python3", "-c", TERMINAL, "y,v", ...words], { cwd: dir, env: cleanEnv, timeoutMs: TIMEOUT_MS });
    // Until it is there nobody is asked.
    let first = await contact(2);
    for (let i = 0; i < 50 && /refused/.test(first.stderr); i++) {
      await Bun.sleep(100);
      first = await contact(2);
    }
    outcomes.push(judge(first, { status: 1, stderr: [/nc: .*Network is unreachable/] }));
    outcomes.push(judge(await contact(3), refused));
    outcomes.push(judge(await contact(3), refused));
  } finally {
    outcomes.push(judge(await command(dir, ...state, "delete", "--force", "c1"), {}));
  }
  const first = /nc \(pid \d+\) of c1 wants to contact tcp 192\.0\.2\.1:2\.\nAllow it\?.*y\n/;
  const second = /192\.0\.2\.1:3\.\nAllow it\?.*v\n/;
  const asked = new RegExp(`${first.source}[\\s\\S]*${second.source}`);
  outcomes.push(judge(await person, { stdout: asked }));
  return outcomes.find(({ kind }) => kind !== "pass") ?? pass;
}

export const networkCases: readonly Case[] = [
  ...platforms.flatMap((platform) => hooked.map((each) => hookCase(each, platform))),
  ...egressCases,
];
