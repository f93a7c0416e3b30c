/**
 * Attacks on what controls the containers of a pod: rubbish on a control socket, requests that name other containers,
 * commands that are killed half way, that are given twice or at once, deletes in odd orders. A victim in the same sandbox
 * goes on through all of it.
 */
import { copyFileSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { compileGuest } from "../../guest.ts";
import { descriptorsOf } from "../../harness/watch.ts";
import { addVictim, type Pod, victimGoesOn } from "../../hostile-pod.ts";

const folder = import.meta.dir;
/** A joiner that has nothing to do; its program sleeps. */
const IDLE = { args: ["/bin/pause"], uid: 0, capabilities: "" };

async function prepare(pod: Pod, ...ids: string[]): Promise<void> {
  for (const id of ids) copyFileSync(await compileGuest("pause", folder), join(pod.rootfs(id), "bin/pause"));
}

interface Answered {
  result?: unknown;
  error?: { message: string; errno?: number };
}

/** Sends bytes to a container's control socket; whatever comes back within the time, as text. */
function send(pod: Pod, id: string, bytes: Uint8Array, ms: number): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(join(pod.root, id, "control.sock"));
    const done = () => {
      socket.destroy();
      resolve(text);
    };
    socket.on("data", (part) => {
      text += part.toString("latin1");
    });
    socket.on("error", done);
    socket.on("close", done);
    socket.write(bytes);
    setTimeout(done, ms);
  });
}

function pack(message: unknown): Buffer {
  const body = Buffer.from(typeof message === "string" ? message : JSON.stringify(message));
  const whole = Buffer.alloc(4 + body.length);
  whole.writeUInt32LE(body.length);
  body.copy(whole, 4);
  return whole;
}

async function ask(pod: Pod, id: string, method: string, params: unknown): Promise<Answered> {
  const text = await send(pod, id, pack({ seq: 1, method, params }), 1500);
  const at = text.indexOf('{"seq":1');
  try {
    return JSON.parse(text.slice(at, text.indexOf("}}", at) < 0 ? undefined : text.lastIndexOf("}") + 1)) as Answered;
  } catch {
    return {};
  }
}

const SHARE = { pid: null, ipc: null, uts: null };
const NONE = { binds: 0, state: false, cgroups: 0, stdio: 0, waiter: false };
const METHODS =
  "start wait exec hook signal pause resume processes stats update ping destroy commit descriptors add nothing __proto__ constructor";
/** Of no container; each is tried as the whole parameters, as an id, and beside a good id. */
const ODD: unknown[] = [
  null,
  0,
  -1,
  1e300,
  "",
  "x".repeat(100_000),
  "../victim",
  "victim\0",
  "__proto__",
  [],
  {},
  [["victim"]],
  true,
];

async function rubbish(pod: Pod): Promise<void> {
  await prepare(pod, "a");
  await addVictim(pod, false, 0, "");
  if (!(await pod.make("a", IDLE))) return;
  const before = descriptorsOf(pod.sandboxPid).length;
  const messages: unknown[] = [
    "",
    "{",
    "[]",
    "null",
    "7",
    '{"seq":{}}',
    '{"seq":1}',
    '{"seq":-1,"method":"ping"}',
    "[".repeat(100_000),
  ];
  for (const method of METHODS.split(" ")) {
    for (const params of ODD) {
      messages.push({ seq: 1, method, params }, { seq: 1, method, params: { id: params } });
      // Those that would do something with the container whose socket it is are not rubbish.
      for (const field of ["pid", "signal", "resources", "process", "hook", "spec", "share", "descriptors", "toString"])
        messages.push({ seq: 1, method, params: { id: "nobody", [field]: params } });
    }
    messages.push({ seq: 1, method, params: { id: "nobody" }, fds: 60 }, { seq: 1, method, params: {}, fds: -1 });
  }
  const spec = {
    ociVersion: "1.0.2",
    process: { args: ["/bin/pause"], cwd: "/", user: { uid: 0, gid: 0 } },
    root: { path: "/" },
  };
  const add = { id: "new", bundle: null, spec, overlay: "none", terminal: false, share: SHARE, descriptors: NONE };
  for (const changed of [
    {},
    { id: "victim" },
    { share: { ...SHARE, pid: "nobody" } },
    { share: { ...SHARE, pid: "victim" } },
    { descriptors: { ...NONE, binds: 4 } },
    { descriptors: { ...NONE, waiter: true, state: true } },
    { terminal: true },
    { spec: { ...spec, mounts: [{ destination: "/proc/1", type: "bind", source: "/" }] } },
  ])
    messages.push({ seq: 1, method: "add", params: { ...add, ...changed } });
  let dropped = Buffer.alloc(0);
  for (const message of messages) {
    dropped = Buffer.concat([dropped, pack(message)]);
    if (dropped.length < 200_000) continue;
    await send(pod, "a", dropped, 100);
    dropped = Buffer.alloc(0);
  }
  // Each once more on a connection of its own: one that is dropped keeps nothing from the rest.
  for (let at = 0; at < messages.length; at += 64)
    await Promise.all(messages.slice(at, at + 64).map((message) => send(pod, "a", pack(message), 150)));
  await send(pod, "a", crypto.getRandomValues(new Uint8Array(60_000)), 200);
  for (const id of ["pod", "a", "victim"])
    if ((await pod.status(id)) !== "running") pod.problems.push(`${id} is ${await pod.status(id)} after rubbish`);
  const listed = await pod.must("list", "-q");
  if (listed.stdout.trim().split("\n").length !== 3) pod.problems.push(`there is more than was made: ${listed.stdout}`);
  await Bun.sleep(500);
  const after = descriptorsOf(pod.sandboxPid).length;
  if (after > before + 4) pod.problems.push(`the sandbox process has ${after} descriptors, before ${before}`);
  await victimGoesOn(pod);
}

/** docs/security.md: whoever may connect to one container's socket owns the sandbox, and with it all of them. */
async function names(pod: Pod): Promise<void> {
  await prepare(pod, "a", "b");
  await addVictim(pod, false, 0, "");
  if (!(await pod.make("a", IDLE)) || !(await pod.make("b", IDLE))) return;
  const seen = await ask(pod, "a", "processes", { id: "b" });
  if (seen.result === undefined) pod.problems.push(`a's socket does not tell of b: ${JSON.stringify(seen)}`);
  const nobody = await ask(pod, "a", "signal", { id: "nobody", signal: 9 });
  if (nobody.error?.errno !== 3) pod.problems.push(`a request for nobody: ${JSON.stringify(nobody)}`);
  await ask(pod, "a", "signal", { id: "b", signal: 9 });
  await pod.must("wait", "b");
  // A pid is looked for among the processes of the container that is named, nowhere else.
  for (let pid = 2; pid < 6; pid++) {
    const other = await ask(pod, "a", "signal", { id: "a", signal: 9, pid });
    if (other.error?.errno !== 3) pod.problems.push(`signal to process ${pid} in a: ${JSON.stringify(other)}`);
  }
  for (const id of ["a", "victim", "pod"])
    if ((await pod.status(id)) !== "running") pod.problems.push(`${id} has ended`);
  await victimGoesOn(pod);
}

async function twice(pod: Pod): Promise<void> {
  await prepare(pod, "a");
  await addVictim(pod, false, 0, "");
  const bundle = pod.writeBundle("a", IDLE);
  for (let round = 0; round < 3; round++) {
    const made = await Promise.all([1, 2, 3].map(() => pod.quiet("create", "--bundle", bundle, "a")));
    const good = made.filter(({ status }) => status === 0).length;
    if (good !== 1)
      pod.problems.push(`${good} of three creates of one id succeed: ${made.map(({ stderr }) => stderr).join("; ")}`);
    const started = await Promise.all([1, 2, 3].map(() => pod.runts("start", "a")));
    const begun = started.filter(({ status }) => status === 0).length;
    if (begun !== 1)
      pod.problems.push(`${begun} of three starts succeed: ${started.map(({ stderr }) => stderr).join("; ")}`);
    if ((await pod.status("a")) !== "running") pod.problems.push(`a is ${await pod.status("a")}`);
    const ended = await Promise.all([1, 2, 3].map(() => pod.runts("delete", "--force", "a")));
    if (ended.every(({ status }) => status !== 0))
      pod.problems.push(`no delete succeeds: ${ended.map(({ stderr }) => stderr).join("; ")}`);
    if ((await pod.status("a")) !== "gone") pod.problems.push("a is still there");
  }
  await victimGoesOn(pod);
}

async function ten(pod: Pod): Promise<void> {
  const ids = Array.from({ length: 10 }, (_, n) => `j${n}`);
  await prepare(pod, ...ids);
  await addVictim(pod, false, 0, "");
  for (let round = 0; round < 2; round++) {
    const made = await Promise.all(ids.map((id, n) => pod.make(id, { ...IDLE, shared: n % 2 === 0 })));
    if (made.includes(false)) return;
    for (const id of ids) if ((await pod.status(id)) !== "running") pod.problems.push(`${id} is not running`);
    // In an order of its own, some by their process on the host, some twice, all at once.
    await Promise.all(
      ids.map(async (id, n) => {
        if (n % 3 === 0) process.kill(Number(readFileSync(join(pod.dir, id, "pid"), "utf8")), "SIGKILL");
        else await pod.must("kill", id, "KILL");
        await pod.must("wait", id);
        await pod.must("delete", id);
      }),
    );
    const listed = (await pod.must("list", "-q")).stdout.trim().split("\n").sort().join(" ");
    if (listed !== "pod victim") pod.problems.push(`left are ${listed}`);
  }
  await victimGoesOn(pod);
}

/** A command that adds is killed at any moment: what it began is gone, or can be deleted, and can be made anew. */
async function half(pod: Pod): Promise<void> {
  await prepare(pod, "a");
  await addVictim(pod, false, 0, "");
  const bundle = pod.writeBundle("a", IDLE);
  for (let round = 0; round < 12; round++) {
    const child = Bun.spawn([...pod.command, "create", "--bundle", bundle, "a"], {
      stdio: ["ignore", "ignore", "ignore"],
      cwd: "/",
    });
    await Bun.sleep(15 + round * 25);
    child.kill("SIGKILL");
    await child.exited;
    await pod.must("delete", "--force", "a");
    if ((await pod.status("a")) !== "gone") pod.problems.push(`a is ${await pod.status("a")} after round ${round}`);
  }
  if (!(await pod.make("a", IDLE))) return;
  const seen = JSON.parse((await pod.must("ps", "--format", "json", "a")).stdout) as unknown[];
  if (seen.length !== 1) pod.problems.push(`a has ${seen.length} processes`);
  await pod.must("delete", "--force", "a");
  await victimGoesOn(pod);
}

async function orders(pod: Pod): Promise<void> {
  await prepare(pod, "a", "b", "c");
  await addVictim(pod, false, 0, "");
  for (const id of ["a", "b", "c"]) if (!(await pod.make(id, { ...IDLE, shared: id !== "a" }))) return;
  for (const id of ["pod", "a"])
    if ((await pod.runts("delete", id)).status === 0) pod.problems.push(`${id} runs, and is deleted`);
  // All at once, on one container: somebody wins, nobody hangs, nothing is left.
  const all = [
    "delete --force b",
    "kill b KILL",
    "pause b",
    "exec b /bin/pause --help",
    "ps b",
    "resume b",
    "update --pids-limit 7 b",
    "delete --force b",
  ];
  const ran = await Promise.all(all.map((words) => pod.runts(...words.split(" "))));
  for (const [at, each] of ran.entries()) if (each.timedOut) pod.problems.push(`${all[at]} hangs`);
  await pod.runts("delete", "--force", "b");
  if ((await pod.status("b")) !== "gone") pod.problems.push("b is still there");
  // Paused, then killed by its process on the host.
  await pod.must("pause", "c");
  process.kill(Number(readFileSync(join(pod.dir, "c/pid"), "utf8")), "SIGKILL");
  await pod.must("wait", "c");
  await pod.must("delete", "c");
  await victimGoesOn(pod);
  // The sandbox first, then those that were in it, some of them paused.
  if (!(await pod.make("b", IDLE))) return;
  await pod.must("pause", "b");
  await pod.must("delete", "--force", "pod");
  for (const id of ["b", "a", "victim"]) {
    const status = await pod.status(id);
    if (status !== "stopped") pod.problems.push(`${id} is ${status} without its sandbox`);
    await pod.must("delete", id);
  }
}

/** One is paused: the other goes on. Both: neither does. Nobody is thawed by the other's kill. */
async function frozen(pod: Pod): Promise<void> {
  await prepare(pod, "a");
  await addVictim(pod, false, 0, "");
  copyFileSync(await compileGuest("greed", folder), join(pod.rootfs("a"), "bin/greed"));
  if (!(await pod.make("a", { ...IDLE, args: ["/bin/greed", "calls"], limits: { tasks: 40 } }))) return;
  for (let round = 0; round < 5; round++) {
    await pod.must("pause", "a");
    if ((await pod.status("victim")) !== "running") pod.problems.push("the victim is paused with a");
    await pod.must("exec", "victim", "/bin/victim", "look");
    await pod.must("resume", "a");
  }
  await pod.must("pause", "victim");
  await Bun.sleep(300);
  await pod.must("kill", "a", "KILL");
  await pod.must("wait", "a");
  if ((await pod.status("victim")) !== "paused") pod.problems.push("a's end thaws the victim");
  await pod.must("delete", "a");
  await pod.must("resume", "victim");
  await victimGoesOn(pod);
}

export const controlCases: Record<string, (pod: Pod) => Promise<void>> = {
  rubbish,
  names,
  twice,
  ten,
  half,
  orders,
  frozen,
};
