/**
 * Third parties' plugins with the sealed executable: enabled by a configuration file alone, each part of the interface at
 * work in both processes, broken ones named and contained; and the examples as they are shipped.
 */
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { busyboxPath } from "../harness/packages.ts";
import { cleanEnv, run } from "../harness/process.ts";
import { executable, isRoot, platforms, root, runts } from "../harness/sandbox.ts";
import { type Case, fail, type Group, matches, pass, skip } from "../harness/suite.ts";
import { handOver } from "../harness/user.ts";
import { command, configure, type Expected, HEADER, judge, TIMEOUT_MS, within } from "./kit.ts";
import { networkCases } from "./network.ts";

function installEverything(dir: string): void {
  cpSync(join(import.meta.dir, "everything"), join(dir, "plugins/everything"), { recursive: true });
  configure(dir, "everything", 'word = "hello"');
}

// ---- Each part of the interface ----

interface InSandbox extends Expected {
  topic: string;
  script: string;
  mounts?: string[];
}

const inSandbox: InSandbox[] = [
  {
    topic: "an interceptor answers, changes an argument, sees the result",
    script: "cat /denied; head -c 0 /renamed && echo there; cat /looked-at; true",
    stdout: "there\n",
    stderr: [/\/denied: Permission denied/, /looked at: -2/],
  },
  {
    topic: "an interceptor reads and writes the caller's memory",
    script: "printf secret; printf public",
    stdout: "######public",
  },
  {
    topic: "a call that waits ends the run of the interceptor and is asked about again",
    script: "cp /bin/dd ./counted; (sleep 0.3; printf abcd) | ./counted bs=4 count=1 status=none",
    stdout: "abcd",
    stderr: [/read 4 again true/],
  },
  {
    topic: "an asynchronous interceptor allows and denies",
    script: "mkdir ask-yes && test -d ask-yes && echo made; mkdir ask-no; test -d ask-no || echo not made",
    stdout: "made\nnot made\n",
    stderr: [/ask-no.*Operation not permitted/],
  },
  {
    topic: "an asynchronous interceptor that rejects is EIO and named",
    script: "mkdir ask-reject; test -d ask-reject || echo not made; mkdir plain && echo next one works",
    stdout: "not made\nnext one works\n",
    stderr: [/plugin "everything", interceptor of mkdir: .*nobody there/, /Input\/output error/],
  },
  {
    topic: "an answer that is outstanding parks its caller alone, and signals end the waiting",
    script: `timeout 1 mkdir ask-slow & for i in 1 2 3; do sleep 0.1; echo tick $i; done
      wait $!; echo status $?; timeout -s KILL 0.3 mkdir ask-slow; echo status $?`,
    stdout: "tick 1\ntick 2\ntick 3\nstatus 124\nstatus 137\n",
  },
  {
    topic: "many answers at once",
    script: "for i in $(seq 40); do mkdir ask-$i & done; wait; ls -d ask-* | wc -l",
    stdout: "40\n",
  },
  {
    topic: "an interceptor that throws is named; the call gets EIO, the sandbox lives on",
    script: "nice; nice; echo lives",
    stdout: /lives\n$/,
    stderr: [/plugin "everything", interceptor of getpriority: TypeError: thrown at run time.*EIO/],
  },
  {
    topic: "a file system: read, write, append, list, rename, remove, run",
    mounts: ["everything:from-here:/tmp/fs"],
    script: `cd /tmp/fs; cat source; echo one >new; echo two >>new; cat new; mkdir -p a/b; mv new a/b/moved
      find . | sort; cat a/b/moved; mv a z; cat z/b/moved; : >z/b/moved; wc -c <z/b/moved
      rmdir z 2>/dev/null || echo not empty; rm -r z; ls; cp /bin/true prog && ./prog && echo ran; grep -c /tmp/fs /proc/mounts`,
    stdout: `from-here
one
two
.
./a
./a/b
./a/b/moved
./source
one
two
one
two
0
not empty
source
ran
1
`,
  },
  {
    topic: "a file system: private mappings, no shared writable ones; removed while open",
    mounts: ["everything:mapped:/tmp/fs"],
    script: `python3 - <<'END'
import mmap, os
f = open("/tmp/fs/source", "r+b")
m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
m[0:1] = b"M"
print(m[:], f.read())
try: mmap.mmap(f.fileno(), 0)
except OSError as e: print(e.strerror)
os.unlink("/tmp/fs/source")
try: f.seek(0); f.read()
except OSError as e: print(e.strerror)
END`,
    stdout: "b'Mapped\\n' b'mapped\\n'\nNo such device\nStale file handle\n",
  },
  {
    topic: "a file system that answers nonsense is named and EIO",
    mounts: ["everything:none:/tmp/fs:broken"],
    script: "ls /tmp/fs; cat /tmp/fs/x; echo lives",
    stdout: "lives\n",
    stderr: [/plugin "everything", file system everything, list of \/: /, /attributes of \/x: /, /Input\/output error/],
  },
  {
    topic: "a file system that refuses its mount ends the start",
    mounts: ["everything:none:/tmp/fs:refused"],
    script: "echo must not run",
    status: 1,
    stderr: [/everything.*\/tmp\/fs.*ENODATA/],
  },
  {
    topic: "a file system type that nobody has ends the start",
    mounts: ["nobodys:none:/tmp/fs"],
    script: "echo must not run",
    status: 1,
    stderr: [/no file system type "nobodys"/],
  },
  {
    topic: "a device in /dev",
    script: "cat /dev/word; stat -c '%t:%T %a' /dev/word; echo hi >/dev/word; cat /dev/failing; echo lives",
    stdout: "hello\nf0:7 644\nlives\n",
    stderr: [/written to the device: hi/, /plugin "everything", device failing, read: .*device out of order/],
  },
  {
    topic: "processes that are executed and that end",
    script: "true some thing; sh -c 'exit 7'; sh -c 'true'; echo done",
    stdout: "done\n",
    stderr: [/exited with 7/],
  },
];

function sandboxCase(each: InSandbox, platform: string): Case {
  return {
    name: `plugins/${each.topic}@${platform}`,
    run: () =>
      within(async (dir) => {
        installEverything(dir);
        const mounts = (each.mounts ?? []).flatMap((mount) => ["--mount", mount]);
        return judge(await command(dir, "do", "--platform", platform, ...mounts, "--", "sh", "-c", each.script), each);
      }),
  };
}

// ---- Commands, requests to the sandbox ----

const hostCases: Case[] = [
  {
    name: "plugins/a command, and what `plugins` tells",
    run: () =>
      within(async (dir) => {
        installEverything(dir);
        const said = judge(await command(dir, "say", "you"), { stdout: "hello you\n" });
        if (said.kind !== "pass") return said;
        const listed = await command(dir, "plugins");
        return judge(listed, { stdout: /everything: one of each\n {2}from: .*\n(.*\n)* {2}in the sandbox: yes/ });
      }),
  },
  {
    name: "plugins/a command asks the sandbox of a container",
    run: () =>
      within(async (dir) => {
        if (!isRoot) return skip("needs root");
        const busybox = busyboxPath();
        if (busybox === undefined) return skip("needs busybox");
        installEverything(dir);
        mkdirSync(join(dir, "bundle/rootfs/bin"), { recursive: true });
        copyFileSync(busybox, join(dir, "bundle/rootfs/bin/sleep"));
        const config = {
          ociVersion: "1.0.2",
          process: { cwd: "/", args: ["/bin/sleep", "600"], user: { uid: 0, gid: 0 } },
          root: { path: "rootfs" },
          mounts: [{ type: "everything", source: "spec", destination: "/fs" }],
        };
        writeFileSync(join(dir, "bundle/config.json"), JSON.stringify(config));
        // The mount's place is made in the root, as with runc.
        handOver(join(dir, "bundle"));
        const state = ["--root", join(dir, "root")];
        const started = await command(dir, ...state, "run", "-d", "--bundle", join(dir, "bundle"), "c1");
        const answer = await command(dir, ...state, "ask-sandbox", "c1", "question");
        const unknown = await command(dir, ...state, "ask-sandbox", "nobody", "question");
        const deleted = await command(dir, ...state, "delete", "--force", "c1");
        for (const outcome of [
          judge(started, { stderr: [/created c1/] }),
          judge(answer, { stdout: '{"echo":{"text":"question"}}\n' }),
          judge(unknown, { status: 1, stderr: [/container does not exist/] }),
          judge(deleted, {}),
        ])
          if (outcome.kind !== "pass") return outcome;
        return pass;
      }),
  },
];

// ---- Broken plugins ----

interface Broken extends Expected {
  topic: string;
  source: string;
  options?: string;
  mode?: number;
}

const broken: Broken[] = [
  { topic: "a syntax error", source: "export default {{;\n", stderr: [/broken\.plugin\.ts:\d+:\d+: /] },
  { topic: "throws at load", source: 'throw new Error("at load");\n', stderr: [/at load/] },
  { topic: "exports nothing", source: "export const x = 1;\n", stderr: [/default export is not a plugin/] },
  {
    topic: "calls itself something else",
    source: 'export default { name: "other" };\n',
    stderr: [/calls itself "other"/],
  },
  {
    topic: "made for another version",
    source: 'export default { name: "broken", apiVersion: 99 };\n',
    stderr: [/apiVersion: this is 1, the plugin is made for 99/],
  },
  {
    topic: "throws in its host half",
    source: `${HEADER}export default definePlugin({ name: "broken", host() { throw new Error("in the host half"); } });\n`,
    stderr: [/in the host half/],
  },
  {
    topic: "wrong options",
    source: `${HEADER}export default definePlugin({ name: "broken", options: v.object({ deny: v.array(v.string()) }) });\n`,
    options: 'deny = ["a", 2]',
    stderr: [/options: deny\.1: /],
  },
  {
    topic: "options for a plugin that takes none",
    source: `${HEADER}export default definePlugin({ name: "broken" });\n`,
    options: "deny = 1",
    stderr: [/takes none, but "deny" is given/],
  },
  {
    topic: "writable by others",
    source: `${HEADER}export default definePlugin({ name: "broken" });\n`,
    mode: 0o666,
    stderr: [/refused: .*broken\.plugin\.ts may be written by others/],
  },
];

/** What only the sandbox process can find out. */
const brokenInside: Broken[] = [
  {
    topic: "throws in its sandbox half",
    source: 'sandbox() { throw new Error("in the sandbox half"); }',
    stderr: [/in the sandbox half/],
  },
  {
    topic: "intercepts what is no system call",
    source: 'sandbox(kernel) { kernel.intercept("opanet", (_call, next) => next()); }',
    stderr: [/no system call is named opanet/],
  },
  {
    topic: "takes a file system type that exists",
    source: 'sandbox(kernel) { kernel.filesystem("tmpfs", () => -errno.EIO); }',
    stderr: [/a file system type "tmpfs" already/],
  },
  {
    topic: "takes a device that exists",
    source: 'sandbox(kernel) { kernel.device("zero2", { major: 1, minor: 5 }, {}); }',
    stderr: [/1:5 is taken/],
  },
  {
    topic: "takes a request that exists",
    source: 'sandbox(kernel) { kernel.control("start", () => ({})); }',
    stderr: [/a request "start" already/],
  },
];

function brokenCase(each: Broken, source: string, alsoList: boolean): Case {
  return {
    name: `plugins/broken: ${each.topic}`,
    run: () =>
      within(async (dir) => {
        mkdirSync(join(dir, "plugins"), { mode: 0o755 });
        const path = join(dir, "plugins/broken.plugin.ts");
        writeFileSync(path, source);
        chmodSync(path, each.mode ?? 0o644);
        configure(dir, "broken", each.options);
        const named = [/plugin "broken"/, ...(each.stderr ?? [])];
        const done = judge(await command(dir, "do", "echo", "must not run"), { status: 1, stderr: named });
        if (done.kind !== "pass" || !alsoList) return done;
        // Whoever only looks after containers is told, and served.
        return judge(await command(dir, "--root", join(dir, "root"), "list", "-q"), { stderr: named });
      }),
  };
}

const contained: Case[] = [
  {
    name: "plugins/a timer that throws does not end the sandbox",
    run: () =>
      within(async (dir) => {
        mkdirSync(join(dir, "plugins"), { mode: 0o755 });
        writeFileSync(
          join(dir, "plugins/late.plugin.ts"),
          `${HEADER}export default definePlugin({ name: "late", sandbox(kernel) {
            kernel.intercept("mkdir", async () => {
              setTimeout(() => { throw new Error("too late"); }, 1);
              void Promise.reject(new Error("unwatched"));
              await Bun.sleep(50);
              return "continue";
            });
          } });\n`,
        );
        configure(dir, "late");
        const got = await command(dir, "do", "sh", "-c", "mkdir m && echo lives");
        return judge(got, { stdout: "lives\n", stderr: [/too late/, /unwatched/] });
      }),
  },
  ...platforms.map((platform) => ({
    name: `plugins/an exception in the kernel kills who called, and nobody else@${platform}`,
    run: () =>
      within(async (dir) => {
        mkdirSync(join(dir, "plugins"), { mode: 0o755 });
        // Breaks what the handler gets, so that it throws: the kernel's fault, as far as the kernel can know.
        writeFileSync(
          join(dir, "plugins/breaker.plugin.ts"),
          `${HEADER}export default definePlugin({ name: "breaker", sandbox(kernel) {
            kernel.intercept("mkdir", (call, next) => {
              (call as { pathname?: unknown; path?: unknown }).path = Symbol();
              (call as { pathname?: unknown; path?: unknown }).pathname = Symbol();
              return next();
            });
          } });\n`,
        );
        configure(dir, "breaker");
        const got = await command(
          dir,
          ...["do", "--platform", platform, "--", "sh", "-c"],
          "mkdir m; echo status $?; (trap '' SEGV; exec mkdir m); echo status $?; cat /proc/self/comm",
        );
        return judge(got, {
          stdout: "status 139\nstatus 139\ncat\n",
          stderr: [/kernel bug in mkdir of pid \d+ \(mkdir\): TypeError/],
          silent: /plugin "breaker", interceptor/,
        });
      }),
  })),
  ...platforms.map((platform) => ({
    name: `plugins/a platform that is built upon another@${platform}`,
    run: () =>
      within(async (dir) => {
        mkdirSync(join(dir, "plugins"), { mode: 0o755 });
        writeFileSync(
          join(dir, "plugins/counting.plugin.ts"),
          `import { definePlugin, platform as p } from "runts";
          export default definePlugin({
            name: "counting",
            host(host) {
              host.platform({ name: "counting", summary: "counts system calls", missing: () => null });
              host.platform({ name: "unfinished", summary: "has no sandbox half", missing: () => null });
            },
            sandbox(kernel) {
              let calls = 0;
              kernel.platform("counting", {
                hostCalls: [],
                create(options) {
                  const made = options.make("${platform}");
                  const wait = made.wait.bind(made);
                  made.wait = (timeoutNs) => {
                    const context = wait(timeoutNs);
                    if (context?.stop === p.STOP_SYSCALL) calls++;
                    return context;
                  };
                  return made;
                },
              });
              kernel.on("exit", ({ pid }) => kernel.log.warn(\`pid \${pid} ends after \${calls} calls\`));
            },
          });\n`,
        );
        configure(dir, "counting");
        const got = await command(dir, "--platform", "counting", "do", "sh", "-c", "true; echo counted");
        const counted = judge(got, { stdout: "counted\n", stderr: [/pid 1 ends after [1-9]\d+ calls/] });
        if (counted.kind !== "pass") return counted;
        return judge(await command(dir, "--platform", "unfinished", "do", "true"), {
          status: 1,
          stderr: [/unknown platform "unfinished" \(in this sandbox there are: systrap, ptrace, counting\)/],
        });
      }),
  })),
  {
    name: "plugins/a plugin that is not enabled is not run",
    run: () =>
      within(async (dir) => {
        mkdirSync(join(dir, "plugins"), { mode: 0o755 });
        writeFileSync(join(dir, "plugins/other.plugin.ts"), 'throw new Error("was run");\n');
        writeFileSync(join(dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\n');
        return judge(await command(dir, "do", "echo", "fine"), { stdout: "fine\n", silent: /was run/ });
      }),
  },
  {
    name: "plugins/a built-in one that is disabled is absent",
    run: () =>
      within(async (dir) => {
        writeFileSync(join(dir, "config.toml"), '[plugins]\ndisable = ["strace", "ptrace"]\n');
        const flag = judge(await command(dir, "--strace", "do", "true"), {
          status: 1,
          stderr: [/unknown flag --strace/],
        });
        if (flag.kind !== "pass") return flag;
        const platform = await command(dir, "--platform", "ptrace", "do", "true");
        const gone = judge(platform, { status: 1, stderr: [/ptrace/] });
        return gone.kind === "pass" ? judge(await command(dir, "do", "echo", "fine"), { stdout: "fine\n" }) : gone;
      }),
  },
];

// ---- The examples, as they are shipped ----

/** The configuration of the examples, as the examples' own directory has it. */
const example = (...args: string[]) =>
  run([executable(), "--config", join(root, "examples/config.toml"), ...args], {
    env: cleanEnv,
    timeoutMs: TIMEOUT_MS,
  });

const examples: Case[] = [
  {
    name: "plugins/example hello-command",
    run: () =>
      within(async (dir) => {
        const state = ["--root", join(dir, "root")];
        const plain = judge(await example(...state, "hello", "you"), { stdout: "hello, you: 0 containers\n" });
        if (plain.kind !== "pass") return plain;
        return judge(await example(...state, "hello", "--shout"), { stdout: "HELLO, WORLD: 0 CONTAINERS\n" });
      }),
  },
  ...platforms.map((platform) => ({
    name: `plugins/example audit-deny@${platform}`,
    run: async () =>
      judge(
        await example(
          ...["do", "--platform", platform, "--", "sh", "-c"],
          `cat /etc/shadow; cd /etc && cat ./shadow; ln -s /etc/shadow /tmp/link; cat /tmp/link; cat </etc/shadow
           head -c 0 /etc/passwd && echo others can be read; test -r /etc/shadow && echo is there`,
        ),
        {
          stdout: /^others can be read\n/,
          stderr: [
            /denied: cat \(pid \d+\) openat \/etc\/shadow/,
            /\.\/shadow: Permission denied/,
            /\/tmp\/link: Permission denied/,
            /sh: .*cannot open \/etc\/shadow: Permission denied/,
          ],
        },
      ),
  })),
  {
    name: "plugins/example audit-deny: its command",
    run: () =>
      within(async (dir) => {
        if (!isRoot) return skip("needs root");
        const busybox = busyboxPath();
        if (busybox === undefined) return skip("needs busybox");
        mkdirSync(join(dir, "bundle/rootfs/bin"), { recursive: true });
        mkdirSync(join(dir, "bundle/rootfs/etc"));
        writeFileSync(join(dir, "bundle/rootfs/etc/shadow"), "secret\n");
        for (const name of ["sh", "cat", "sleep"]) copyFileSync(busybox, join(dir, "bundle/rootfs/bin", name));
        const config = {
          ociVersion: "1.0.2",
          process: { cwd: "/", args: ["/bin/sleep", "600"], user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] },
          root: { path: "rootfs" },
        };
        writeFileSync(join(dir, "bundle/config.json"), JSON.stringify(config));
        const state = ["--root", join(dir, "root")];
        const started = await example(...state, "run", "-d", "--bundle", join(dir, "bundle"), "c1");
        const denied = await example(...state, "exec", "c1", "/bin/cat", "/etc/shadow");
        const audit = await example(...state, "audit", "c1");
        await example(...state, "delete", "--force", "c1");
        for (const outcome of [
          judge(started, {}),
          judge(denied, { status: 1, stderr: [/Permission denied/] }),
          judge(audit, { stdout: /^\S+ pid \d+ uid 0 cat: open(at)? \/etc\/shadow\n$/ }),
        ])
          if (outcome.kind !== "pass") return outcome;
        return pass;
      }),
  },
  ...platforms.map((platform) => ({
    name: `plugins/example json-fs@${platform}`,
    run: () =>
      within(async (dir) => {
        const path = join(dir, "tree.json");
        writeFileSync(path, JSON.stringify({ "a.txt": "hello\n", sub: { "b.bin": ["/wCA"] }, gone: "x" }));
        handOver(dir);
        const got = await example(
          ...["do", "--platform", platform, "--mount", `json:${path}:/tmp/data`, "--", "sh", "-c"],
          `cd /tmp/data; cat a.txt; od -An -tx1 sub/b.bin; echo more >>a.txt; echo new >sub/new; rm gone; mkdir d
           mv sub/b.bin d/moved; printf '\\377' >raw; ls`,
        );
        const seen = judge(got, { stdout: "hello\n ff 00 80\na.txt\nd\nraw\nsub\n" });
        if (seen.kind !== "pass") return seen;
        const left = JSON.parse(await readFile(path, "utf8")) as unknown;
        const wanted = { "a.txt": "hello\nmore\n", sub: { new: "new\n" }, d: { moved: ["/wCA"] }, raw: ["/w=="] };
        if (!Bun.deepEquals(left, wanted)) return fail(`the file holds ${JSON.stringify(left)}`);
        const frozen = await example(
          ...["do", "--platform", platform, "--mount", `json:${path}:/tmp/data:frozen`, "--", "sh", "-c"],
          "cat /tmp/data/sub/new; echo x >/tmp/data/a.txt; rm /tmp/data/raw",
        );
        return judge(frozen, { stdout: "new\n", status: 1, stderr: [/a\.txt: Read-only/, /raw.*Read-only/] });
      }),
  })),
  {
    name: "plugins/example json-fs: a bad file",
    run: () =>
      within(async (dir) => {
        const path = join(dir, "tree.json");
        writeFileSync(path, "{");
        handOver(dir);
        const bad = await example("do", "--mount", `json:${path}:/tmp/data`, "--", "true");
        const spoken = judge(bad, { status: 1, stderr: [/tree\.json.*JSON/] });
        if (spoken.kind !== "pass") return spoken;
        const missing = await example("do", "--mount", `json:${dir}/none.json:/tmp/data`, "--", "true");
        return judge(missing, { status: 1, stderr: [/none\.json/] });
      }),
  },
  {
    name: "plugins/declarations fit the examples, and refuse what is wrong",
    run: () =>
      within(async (dir) => {
        const types = join(dirname(runts), "types");
        if (!existsSync(join(types, "runts.d.ts"))) return fail(`${types} has no runts.d.ts`);
        for (const name of ["audit-deny", "json-fs", "hello-command"])
          copyFileSync(join(root, "examples", name, "plugin.ts"), join(dir, `${name}.ts`));
        const config = {
          extends: join(root, "examples/tsconfig.json"),
          compilerOptions: {
            typeRoots: [join(root, "node_modules/@types")],
            paths: { runts: [join(types, "runts.d.ts")], valibot: [join(types, "valibot.d.ts")] },
          },
          include: ["*.ts"],
        };
        writeFileSync(join(dir, "tsconfig.json"), JSON.stringify(config));
        const tsc = () => run([join(root, "node_modules/.bin/tsc"), "-p", dir], { cwd: dir, timeoutMs: 60_000 });
        const good = judge(await tsc(), {});
        if (good.kind !== "pass") return good;
        writeFileSync(
          join(dir, "wrong.ts"),
          `${HEADER}export default definePlugin({ name: "wrong", options: v.object({ n: v.number() }), sandbox(kernel, { n }) {
             const text: string = n;
             kernel.intercept("openat", (call) => call.path);
             void text; void errno;
           } });\n`,
        );
        const wrong = await tsc();
        return wrong.status !== 0 && /wrong\.ts\(3,/.test(wrong.stdout) && /wrong\.ts\(4,/.test(wrong.stdout)
          ? pass
          : fail(`both mistakes should be found:\n${wrong.stdout}`);
      }),
  },
];

export function pluginGroup(filters: readonly string[]): Group {
  const inside = (body: string) => `${HEADER}export default definePlugin({ name: "broken", ${body} });\n`;
  const cases = [
    ...platforms.flatMap((platform) => inSandbox.map((each) => sandboxCase(each, platform))),
    ...hostCases,
    ...broken.map((each) => brokenCase(each, each.source, true)),
    ...brokenInside.map((each) => brokenCase(each, inside(each.source), false)),
    ...contained,
    ...networkCases,
    ...examples,
  ];
  return { name: "plugins", cases: cases.filter((one) => matches(one.name, filters)) };
}
