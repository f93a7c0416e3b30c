/**
 * Two hostile containers in one sandbox: each program in test/hostile/pod attacks, in a container of its own, the victim
 * in another one (pod/victim.c), with a pid space of its own and with one that all containers of the pod share.
 * test/hostile/pod/README.md says how to add one.
 */
import {
  appendFileSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { compileGuest } from "./guest.ts";
import { type Result, run } from "./harness/process.ts";
import { isRoot, platforms, runts } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { inNamespace, pidNamespace } from "./harness/watch.ts";
import { controlCases } from "./hostile/pod/control.ts";

const folder = join(import.meta.dir, "hostile/pod");
const COMMAND_MS = 60_000;
/** The longest that a call of the victim (a fork and its wait, for one) may take on a busy machine. */
const CALL_MAX_MS = 4000;
const BUSY_FACTOR = 10;
const ATTEMPTS = 3;
/** How long the victim is looked at before and after. */
const AROUND_MS = 300;

const DEFAULT_CAPABILITIES =
  "CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";
const ALL_CAPABILITIES =
  `${DEFAULT_CAPABILITIES} KILL SYS_ADMIN SYS_PTRACE SYS_NICE SYS_RESOURCE DAC_READ_SEARCH SYS_MODULE SYS_TTY_CONFIG ` +
  "SYS_BOOT SYS_TIME SYS_RAWIO SYSLOG IPC_LOCK IPC_OWNER NET_ADMIN LEASE";

/** Who the two are. In a shared pid space one can do to the other what Linux lets it: there the attacker has less. */
const ROLES = {
  "own-root": { shared: false, uid: 0, capabilities: ALL_CAPABILITIES, victim: 0, victims: ALL_CAPABILITIES },
  "own-user": { shared: false, uid: 1000, capabilities: "", victim: 1000, victims: "" },
  "shared-root": { shared: true, uid: 0, capabilities: DEFAULT_CAPABILITIES, victim: 1000, victims: "" },
  "shared-user": { shared: true, uid: 2000, capabilities: "", victim: 1000, victims: "" },
} as const;
type Role = keyof typeof ROLES;

/** The "key: value" lines of an attack's first comment. */
interface Attack {
  name: string;
  expect: string[];
  prints: RegExp | null;
  variants: string[];
  platforms: string[];
  roles: Role[];
  seconds: number;
  limits: Record<string, number>;
  /** The victim may not even be refused anything. */
  unrefused: boolean;
  /** The attack may leave no room for another process in the victim's container either. */
  execMayFail: boolean;
  /** It takes what the machine has: nothing else may run beside it. */
  greedy: boolean;
}

const KEYS = ["expect", "prints", "variants", "platforms", "as", "seconds", "limits", "unrefused", "exec"];

function readAttack(file: string): Attack {
  const comment = /^\/\*([\s\S]*?)\*\//.exec(readFileSync(join(folder, file), "utf8"))?.[1] ?? "";
  const values = new Map<string, string>();
  for (const [, key, value] of comment.matchAll(/^ \* ([a-z]+): (.+)$/gm)) {
    if (!KEYS.includes(key!)) throw new Error(`${file}: unknown key "${key}"`);
    values.set(key!, value!.trim());
  }
  const words = (key: string) => values.get(key)?.split(/\s+/) ?? [];
  const prints = values.get("prints");
  return {
    name: basename(file, ".c"),
    expect: (values.get("expect") ?? "exit 0").split(" or "),
    prints: prints === undefined ? null : new RegExp(prints, "m"),
    variants: words("variants"),
    platforms: values.has("platforms") ? words("platforms") : ["systrap", "ptrace"],
    roles: (values.has("as") ? words("as") : Object.keys(ROLES)) as Role[],
    seconds: Number(values.get("seconds") ?? 30),
    limits: Object.fromEntries(words("limits").map((word) => [word.split("=")[0]!, Number(word.split("=")[1])])),
    unrefused: values.get("unrefused") === "yes",
    execMayFail: values.get("exec") === "may fail",
    greedy: values.has("seconds"),
  };
}

/** What victim.c reports. */
interface Report {
  wrong: number;
  what: string;
  changed: string;
  signals: number;
  signal: number;
  calls: [number, number, number];
  refused: number;
  longest: string;
  worst: [number, number, number];
}

interface ContainerOptions {
  args: string[];
  uid: number;
  capabilities: string;
  env?: Record<string, string>;
  mounts?: object[];
  limits?: Record<string, number>;
  /** Shares the pod's pid space. */
  shared?: boolean;
}

/** A pod made by hand: `pod` is its sandbox container, others join by the annotations of containerd's CRI. */
export class Pod {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-hostile-"));
  readonly root = join(this.dir, "root");
  readonly problems: string[] = [];
  /** Calls of the victim that took long. */
  readonly late: string[] = [];
  private readonly made: string[] = [];
  sandboxPid = 0;
  private outputs = 0;
  private namespace = "";

  constructor(private readonly platform: string) {
    mkdirSync(this.root);
  }

  get command(): string[] {
    return [runts, "--root", this.root, "--platform", this.platform];
  }
  runts(...words: string[]): Promise<Result> {
    return run([...this.command, ...words], { cwd: "/", timeoutMs: COMMAND_MS });
  }
  /** A command whose container outlives it: it gets nothing of ours to keep open. Its messages are its output. */
  async quiet(...words: string[]): Promise<Result> {
    const out = join(this.dir, `out-${this.outputs++}`);
    const text = 'out=$1; shift; exec "$@" < /dev/null > "$out" 2>&1';
    const done = await run(["sh", "-c", text, "sh", out, ...this.command, ...words], {
      cwd: "/",
      timeoutMs: COMMAND_MS,
    });
    return { ...done, stderr: readFileSync(out, "latin1") };
  }
  async must(...words: string[]): Promise<Result> {
    const done = await this.runts(...words);
    if (done.status !== 0)
      this.problems.push(
        `runts ${words.join(" ")}: status ${done.status}${done.timedOut ? ", timed out" : ""}\n${done.stderr}`,
      );
    return done;
  }

  /** Its root directory, made once. */
  rootfs(id: string): string {
    const path = join(this.dir, id, "rootfs");
    for (const name of ["bin", "dev", "proc", "sys", "tmp", "shared", "control"])
      mkdirSync(join(path, name), { recursive: true });
    return path;
  }

  writeBundle(id: string, options: ContainerOptions): string {
    this.rootfs(id);
    const { args, uid, capabilities, env = {}, mounts = [], limits = {}, shared = false } = options;
    const first = this.sandboxPid === 0;
    const of = (type: string, share: boolean) =>
      share && !first ? { type, path: `/proc/${this.sandboxPid}/ns/${type === "network" ? "net" : type}` } : { type };
    const set = capabilities
      .split(" ")
      .filter(Boolean)
      .map((name) => `CAP_${name}`);
    const config = {
      ociVersion: "1.0.2",
      hostname: shared && !first ? "" : id,
      process: {
        cwd: "/",
        args,
        env: ["PATH=/bin", ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
        user: { uid, gid: uid },
        capabilities: { bounding: set, permitted: set, effective: set },
        rlimits: [{ type: "RLIMIT_NOFILE", soft: 262144, hard: 1048576 }],
      },
      root: { path: "rootfs" },
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
        {
          destination: "/dev/pts",
          type: "devpts",
          source: "devpts",
          options: ["newinstance", "ptmxmode=0666", "mode=0620"],
        },
        { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "mode=1777"] },
        { destination: "/dev/mqueue", type: "mqueue", source: "mqueue" },
        { destination: "/sys", type: "sysfs", source: "sysfs" },
        { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup" },
        { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["mode=1777"] },
        ...mounts,
      ],
      annotations: {
        "io.kubernetes.cri.container-type": first ? "sandbox" : "container",
        "io.kubernetes.cri.sandbox-id": "pod",
      },
      linux: {
        namespaces: [
          of("pid", shared),
          of("ipc", shared),
          of("uts", shared),
          { type: "mount" },
          { type: "cgroup" },
          of("network", true),
        ],
        resources: {
          ...(limits["tasks"] === undefined ? {} : { pids: { limit: limits["tasks"] } }),
          ...(limits["memory"] === undefined ? {} : { memory: { limit: limits["memory"] << 20 } }),
        },
      },
    };
    writeFileSync(join(this.dir, id, "config.json"), JSON.stringify(config));
    return join(this.dir, id);
  }

  output = (id: string): string => {
    const path = join(this.dir, id, "out");
    return existsSync(path) ? readFileSync(path, "latin1") : "";
  };

  /** `create` and `start`; its output goes to a file. */
  async make(id: string, options: ContainerOptions): Promise<boolean> {
    const bundle = this.writeBundle(id, options);
    const pidFile = join(this.dir, id, "pid");
    const command = [...this.command, "create", "--bundle", bundle, "--pid-file", pidFile, id];
    if (!this.made.includes(id)) this.made.push(id);
    // No more host descriptors than most machines allow, so that using them all up takes a while, not minutes.
    const text = 'ulimit -n 65536 2>/dev/null; out=$1; shift; exec "$@" < /dev/null > "$out" 2>&1';
    const created = await run(["sh", "-c", text, "sh", join(bundle, "out"), ...command], {
      cwd: "/",
      timeoutMs: COMMAND_MS,
    });
    if (created.status !== 0) {
      this.problems.push(`create ${id}: status ${created.status}\n${this.output(id)}`);
      return false;
    }
    if (this.sandboxPid === 0) {
      this.sandboxPid = Number(readFileSync(pidFile, "utf8"));
      this.namespace = pidNamespace(this.sandboxPid);
    }
    return (await this.must("start", id)).status === 0;
  }

  async status(id: string): Promise<string> {
    const { stdout } = await this.runts("state", id);
    return /"status": "(\w+)"/.exec(stdout)?.[1] ?? "gone";
  }

  /** Waits for a line of a container's output. */
  async line(id: string, pattern: RegExp, ms = 20_000): Promise<string | null> {
    for (const end = Date.now() + ms; Date.now() < end; await Bun.sleep(20)) {
      const found = pattern.exec(this.output(id));
      if (found !== null) return found[1] ?? found[0];
    }
    this.problems.push(`${id} does not print ${pattern}: ${this.output(id).slice(0, 800)}`);
    return null;
  }

  /** Takes everything down by force; what is left is a problem. */
  async end(): Promise<void> {
    for (const id of this.made.reverse()) await this.runts("delete", "--force", id);
    const listed = await this.runts("list", "-q");
    if (listed.stdout.trim() !== "") this.problems.push(`can not be deleted: ${listed.stdout}`);
    // Only those of now: another sandbox may get a namespace of the same number.
    let left = this.namespace === "" ? [] : inNamespace(this.namespace);
    for (let i = 0; i < 100 && left.length > 0; i++) {
      await Bun.sleep(100);
      const there = inNamespace(this.namespace);
      left = left.filter((pid) => there.includes(pid));
    }
    if (left.length > 0) {
      const names = left.map(
        (pid) =>
          `${pid} ${readFileSync(`/proc/${pid}/cmdline`, "latin1")} ${readFileSync(`/proc/${pid}/wchan`, "latin1")}`,
      );
      this.problems.push(`processes are left: ${names.join(", ")}`);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * A pod whose sandbox container does nothing. What the rest of the machine does to the victim comes and goes: a call that
 * took too long, and nothing else, counts when it is there three times.
 */
async function withPod(platform: string, use: (pod: Pod) => Promise<void>): Promise<Outcome> {
  if (!isRoot) return skip("the containers take users of their own: run as root");
  for (let attempt = 1; ; attempt++) {
    const pod = new Pod(platform);
    try {
      copyFileSync(await compileGuest("pause", folder), join(pod.rootfs("pod"), "bin/pause"));
      if (await pod.make("pod", { args: ["/bin/pause"], uid: 0, capabilities: "", shared: true })) await use(pod);
    } catch (error) {
      pod.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    } finally {
      await pod.end();
    }
    const { problems, late } = pod;
    if (problems.length + late.length === 0) return pass;
    if (problems.length > 0 || attempt === ATTEMPTS) return fail([...problems, ...late].join("\n"));
  }
}

export async function addVictim(
  pod: Pod,
  shared: boolean,
  uid: number,
  capabilities: string,
): Promise<Record<string, number> | null> {
  const rootfs = pod.rootfs("victim");
  copyFileSync(await compileGuest("victim", folder), join(rootfs, "bin/victim"));
  writeFileSync(join(rootfs, "secret"), `SECRET-OF-THE-VICTIM ${crypto.randomUUID()}\n`, { mode: 0o600 });
  chownSync(join(rootfs, "secret"), uid, uid);
  const control = join(pod.dir, "control");
  const volume = join(pod.dir, "shared");
  mkdirSync(control);
  mkdirSync(volume, { mode: 0o777 });
  Bun.spawnSync(["chmod", "777", control, volume]);
  const mounts = [
    { destination: "/control", type: "bind", source: control, options: ["bind", "ro"] },
    { destination: "/shared", type: "bind", source: volume, options: ["bind"] },
  ];
  if (!(await pod.make("victim", { args: ["/bin/victim"], uid, capabilities, mounts, shared }))) return null;
  const facts = await pod.line("victim", /^facts: (\{.*\})$/m);
  return facts === null ? null : (JSON.parse(facts) as Record<string, number>);
}

async function attackIn(pod: Pod, attack: Attack, variant: string, role: Role): Promise<void> {
  const { shared, uid, capabilities, victim, victims } = ROLES[role];
  const facts = await addVictim(pod, shared, victim, victims);
  if (facts === null) return;
  await Bun.sleep(AROUND_MS);
  const rootfs = pod.rootfs("attacker");
  copyFileSync(await compileGuest(attack.name, folder), join(rootfs, "bin/attack"));
  copyFileSync(await compileGuest("victim", folder), join(rootfs, "bin/victim"));
  const env: Record<string, string> = { VICTIM_UID: `${victim}`, ...(shared ? { SHARED_PIDS: "1" } : {}) };
  for (const [name, value] of Object.entries(facts)) env[`VICTIM_${name.toUpperCase()}`] = `${value}`;
  appendFileSync(join(pod.dir, "control/during"), "");
  const mounts = [{ destination: "/shared", type: "bind", source: join(pod.dir, "shared"), options: ["bind"] }];
  const args = ["/bin/attack", ...(variant === "" ? [] : [variant])];
  if (!(await pod.make("attacker", { args, uid, capabilities, env, mounts, limits: attack.limits, shared }))) return;
  const ends = !attack.expect.includes("goes on");
  const waiting = pod
    .runts("wait", "attacker")
    .then(({ stdout }) => Number(/"exitStatus":(\d+)/.exec(stdout)?.[1] ?? -1));
  const status = await Promise.race([waiting, attackMade(pod, attack, ends).then(() => null)]);
  // Whoever looks after the pod reaches both, attack or not.
  for (const id of status === null ? ["victim", "attacker"] : ["victim"]) {
    const seen = await pod.must("ps", "--format", "json", id);
    if (seen.status === 0 && JSON.parse(seen.stdout).length === 0) pod.problems.push(`no process of ${id} is listed`);
  }
  if (!ends) await administer(pod, attack.execMayFail);
  if (status === null) {
    if (ends) pod.problems.push(`the attack has not ended in ${attack.seconds} s`);
    await pod.must("kill", "attacker", "KILL");
    await waiting;
  }
  const how = status === null ? "goes on" : status === 137 ? "killed by SIGKILL" : `exit ${status}`;
  const printed = pod.output("attacker");
  if (!attack.expect.includes(how)) pod.problems.push(`the attack: ${how}, expected ${attack.expect.join(" or ")}`);
  if (/^HARM/m.test(printed)) pod.problems.push("the attack did harm");
  if (attack.prints !== null && !attack.prints.test(printed)) pod.problems.push(`must print ${attack.prints}`);
  await pod.must("delete", "attacker");
  const report = await victimGoesOn(pod, attack.unrefused);
  if (process.env["RUNTS_VERBOSE"] === "1")
    console.log(`        ${attack.name} ${variant} ${role}: ${how}; ${report}; ${printed.trim().slice(0, 80)}`);
  if (pod.problems.length > 0) pod.problems.push(`printed: ${printed.slice(0, 2000)}`);
}

/** One that never ends has been made when it has printed what it must, and has gone on for a moment; else after its time. */
async function attackMade(pod: Pod, { prints, seconds }: Attack, ends: boolean): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await Bun.sleep(50))
    if (!ends && prints?.test(pod.output("attacker")) === true) return Bun.sleep(AROUND_MS * 3);
}

/** While the attack goes on: another process in either container. In its own the attack may leave no room for one. */
async function administer(pod: Pod, execMayFail: boolean): Promise<void> {
  const other = await pod.runts("exec", "victim", "/bin/victim", "look");
  if (process.env["RUNTS_VERBOSE"] === "1")
    console.log(`        exec beside the attack: ${other.status} ${other.stderr.trim()}`);
  if (other.timedOut || (other.status !== 0 && !execMayFail))
    pod.problems.push(`exec in the victim's container: status ${other.status}, ${other.stderr}`);
  const own = await pod.runts("exec", "attacker", "/bin/victim", "look");
  if (own.timedOut) pod.problems.push("exec in the attacker's container hangs");
}

/** The attack is over: has the victim been well, and is it now? What it reports. */
export async function victimGoesOn(pod: Pod, unrefused = false): Promise<string | null> {
  appendFileSync(join(pod.dir, "control/after"), "");
  await Bun.sleep(AROUND_MS);
  appendFileSync(join(pod.dir, "control/stop"), "");
  const report = await pod.line("victim", /^report: (\{.*\})$/m);
  if (report !== null) judge(pod, unrefused, JSON.parse(report) as Report);
  if ((await pod.status("pod")) !== "running") pod.problems.push("the sandbox has ended");
  return report;
}

function judge({ problems, late }: Pod, unrefused: boolean, report: Report): void {
  if (report.wrong !== 0) problems.push(`${report.wrong} wrong results for the victim, the last: ${report.what}`);
  if (report.changed !== "") problems.push(`changed for the victim: ${report.changed}`);
  if (report.signals !== 0) problems.push(`the victim got ${report.signals} signals, the last: ${report.signal}`);
  if (unrefused && report.refused > 0) problems.push(`the victim was refused ${report.refused} calls`);
  const [before, during, after] = report.worst;
  const bound = Math.max(CALL_MAX_MS, BUSY_FACTOR * before);
  if (Math.max(during, after) > bound)
    late.push(
      `a call of the victim took ${during} ms (${report.longest} of the attack), after the attack ${after} ms: more than ${bound} ms`,
    );
}

export function hostilePodGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, alone: boolean, run: () => Promise<Outcome>) => {
    if (matches(name, filters)) cases.push({ name, alone, run });
  };
  const notAttacks = ["victim.c", "pause.c"];
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith(".c") || notAttacks.includes(file)) continue;
    const attack = readAttack(file);
    for (const variant of attack.variants.length > 0 ? attack.variants : [""])
      for (const role of attack.roles)
        for (const platform of platforms.filter((each) => attack.platforms.includes(each)))
          add(`hostile-pod/${attack.name}${variant && `-${variant}`}-${role}@${platform}`, attack.greedy, () =>
            withPod(platform, (pod) => attackIn(pod, attack, variant, role)),
          );
  }
  for (const platform of platforms)
    for (const [name, use] of Object.entries(controlCases))
      add(`hostile-pod/control-${name}@${platform}`, false, () => withPod(platform, use));
  return { name: "hostile-pod", cases };
}
