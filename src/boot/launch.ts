/**
 * Starts sandboxes. How they are spoken to: handle.ts; how containers are added: add.ts.
 *
 * The sandbox process is this executable, run as the hidden command `boot` in new namespaces (src/native/sandbox.c).
 * Descriptors there: 0 and 1 /dev/null, 2 the command's standard error, 3 the control connection, 4 the set-up helper (until
 * the jail is closed), 5 where the kernel's lines go. Nothing of a container is among them.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import type { SandboxHandle, SandboxLauncher, SandboxOptions } from "../core/sandbox.ts";
import { EACCES, EAGAIN, EINVAL, EMFILE, ENOSPC, EPERM } from "../kernel/abi/errno.ts";
import { F_SETFL, O_NONBLOCK } from "../kernel/abi/fcntl.ts";
import { closeFd, fcntl, socketpair } from "../native/host.ts";
import { launchProcess, openNetworkNamespace } from "../native/sandbox.ts";
import { addContainer, restoreContainer } from "./add.ts";
import { attach, Handle, startTimeOf } from "./handle.ts";
import { checkLimits } from "./host-limits.ts";
import { type Caller, caller, chooseIds, type Ids, mapText, mayRaiseLimits } from "./identity.ts";

const CLONE_NEWNS = 0x20000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWIPC = 0x08000000;
const CLONE_NEWUSER = 0x10000000;
const CLONE_NEWPID = 0x20000000;
const CLONE_NEWNET = 0x40000000;
const SOCK_STREAM = 1;
/** See above. */
export const NULL_FD = 0;
export const STDERR_FD = 2;
export const CONTROL_FD = 3;
export const HELPER_FD = 4;
export const LOG_FD = 5;
/** What becomes the controlling terminal, until it has become that. */
const TERMINAL_FD = 6;

async function launch(options: SandboxOptions): Promise<SandboxHandle> {
  if (!mayRaiseLimits()) checkLimits(options.platform);
  const pair = new Int32Array(2);
  if (socketpair(SOCK_STREAM, pair) < 0) throw new RuntimeError("host", "cannot make a socket pair");
  const [ours, theirs] = [pair[0]!, pair[1]!];
  fcntl(ours, F_SETFL, O_NONBLOCK);
  const devNull = openSync("/dev/null", "r+");
  const log = options.debugLog === null ? 2 : openLog(options.debugLog);
  const terminal = options.terminal === null ? [] : [options.terminal];
  const fds = Int32Array.from([devNull, devNull, 2, theirs, devNull, log, ...terminal]);
  let started: Started;
  try {
    started = startProcess(options, fds);
  } catch (error) {
    closeFd(ours);
    throw error;
  } finally {
    closeFd(theirs);
    closeSync(devNull);
    if (log !== 2) closeSync(log);
  }
  const { pid, hasClock } = started;
  // Start times are in our time namespace's clock, not in the sandbox': only commands compare them.
  const handle = new Handle(ours, pid, startTimeOf(pid), true);
  handle.launch({ ...options, outside: null, clock: hasClock ? null : options.clock });
  try {
    // While its runtime starts. Whoever needs none does not load it.
    if (options.outside !== null) {
      const { startBroker } = await import("./broker.ts");
      handle.broker = startBroker(options, handle, caller().maySetIds, (text) => handle.warnings.push(text));
    }
  } catch (error) {
    await handle.kill();
    throw error;
  }
  return handle;
}

function openLog(path: string): number {
  try {
    return openSync(path, "a", 0o644);
  } catch {
    return 2;
  }
}

/** Capabilities that the sandbox process has, in every thread and for good. */
const CAPABILITIES = {
  /** File access for guests: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, MKNOD. */
  files: (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 27),
  /** Over stubs that have other ids: KILL, SYS_PTRACE, SYS_NICE. They reach as far as the user namespace. */
  stubs: (1 << 5) | (1 << 19) | (1 << 23),
};

/** Words of `settings`, and what bt_launch was doing when it failed: see src/native/sandbox.c. */
const SETTINGS = 18;
const SETTING_STEP = 11;
const SETTING_CLOCK_ERROR = 17;
const STEPS = [
  "",
  "make its namespaces",
  "put it into its cgroup",
  "write the id maps of its user namespace",
  "change its ids",
  "limit its capabilities",
  "make its mounts private",
  "start the set-up helper",
  "pass its descriptors on",
  "give it its terminal",
  "execute it",
];
const STEP_CLONE = 1;
const STEP_CGROUP = 2;
const STEP_MAPS = 3;
const STEP_CAPABILITIES = 5;
const STEP_MOUNTS = 6;
const STEP_DESCRIPTORS = 8;

/** Host clocks count seconds in 32 bits here, and no further in a time namespace: 136 years. */
const CLOCK_SEC_MAX = 2 ** 32 - 1;
/** Seconds and nanoseconds. */
function clockWords(name: string, ns: number): [number, number] {
  const sec = Math.floor(ns / 1e9);
  if (!(ns >= 0) || sec > CLOCK_SEC_MAX) throw new RuntimeError("host", `no clock can show ${ns} ns (${name})`);
  return [sec, Math.floor(ns - sec * 1e9)];
}

interface Started {
  pid: number;
  /** Its clocks are as the options want them. */
  hasClock: boolean;
}

/** Starts the sandbox process. With a user namespace where the host allows it. */
function startProcess(options: SandboxOptions, fds: Int32Array): Started {
  const compiled = Bun.main.startsWith("/$bunfs/");
  // Nothing of the caller's environment reaches the sandbox: the runtime would obey some of it.
  const env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", ...RUNTIME_ENVIRONMENT];
  const text = (strings: readonly string[]) => Buffer.from(`${strings.map((s) => `${s}\0`).join("")}\0`);
  const { clock } = options;
  const clockSettings =
    clock === null
      ? [0, 0, 0, 0, 0]
      : [1, ...clockWords("monotonic", clock.monotonicNs), ...clockWords("boottime", clock.boottimeNs)];
  const who = caller();
  const netns = networkNamespaceOf(options);
  const base = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (netns >= 0 ? 0 : CLONE_NEWNET);
  const settings = new Uint32Array(SETTINGS);
  const attempt = (flags: number, ids: Ids): number => {
    const user = (flags & CLONE_NEWUSER) !== 0;
    // Without a user namespace rights over other ids would be rights over the host's processes.
    const stub = user ? ids.stub : ids.sandbox;
    const apart = stub.uid !== ids.sandbox.uid;
    const words = ["boot", options.id, `${stub.uid}`, `${stub.gid}`, ids.mayLeaveGroups ? "leave" : "keep"];
    const argv = compiled ? ["runts", ...words] : [process.argv[0]!, Bun.main, ...words];
    settings.set([
      ids.sandbox.uid,
      ids.sandbox.gid,
      ids.changes ? 1 : 0,
      ids.changes && ids.mayLeaveGroups ? 1 : 0,
      CAPABILITIES.files | (apart ? CAPABILITIES.stubs : 0),
      0,
      who.maySetIds || ids.helpers ? 0 : 1,
      ids.helpers ? 1 : 0,
      options.terminal === null ? 0 : TERMINAL_FD,
      options.dieWithParent ? 1 : 0,
      HELPER_FD,
      0,
      ...clockSettings,
      0,
    ]);
    return launchProcess(
      Buffer.from("/proc/self/exe\0"),
      text(argv),
      argv.length,
      text(env),
      env.length,
      fds,
      fds.length,
      flags,
      text([mapText(ids.uids)]),
      text([mapText(ids.gids)]),
      netns,
      text(options.cgroups.map((directory) => `${directory}/cgroup.procs`)),
      settings,
    );
  };
  const failed = () => settings[SETTING_STEP]!;
  let pid = attempt(base | CLONE_NEWUSER, chooseIds(options.namespaces, who));
  if (pid < 0 && who.maySetIds && (failed() === STEP_CLONE || failed() === STEP_MAPS))
    pid = attempt(base, chooseIds({ ...options.namespaces, uidMappings: [], gidMappings: [] }, who));
  else if (pid < 0 && who.subUids.length > 0 && failed() === STEP_MAPS)
    // The subordinate ids could not be had (newuidmap without its rights): with what everybody has.
    pid = attempt(base | CLONE_NEWUSER, chooseIds(options.namespaces, { ...who, subUids: [], subGids: [] }));
  if (netns >= 0) closeFd(netns);
  if (pid < 0) throw startError(failed(), -pid, who, options);
  return { pid, hasClock: settings[SETTING_CLOCK_ERROR] === 0 };
}

/** What the host forbids, and what can be done about it. */
function startError(step: number, errno: number, who: Caller, { cgroups }: SandboxOptions): RuntimeError {
  const refused = errno === EPERM || errno === EACCES;
  let why = `cannot start the sandbox process: cannot ${STEPS[step] ?? `(${step})`} (errno ${errno})`;
  if (step === STEP_CLONE && errno === ENOSPC)
    why += ": the host allows no more user namespaces: see sysctl user.max_user_namespaces";
  else if (step === STEP_CLONE && errno === EAGAIN)
    why += ": the host allows this user no more processes: see ulimit -u, and pids.max of its cgroup";
  else if (step === STEP_CLONE && refused)
    why += `: the host forbids user namespaces to this user: see sysctl ${FORBID.filter(isSet).join(", ") || "user.max_user_namespaces"}; in a container, its seccomp profile`;
  else if ((step === STEP_MAPS || step === STEP_CAPABILITIES || step === STEP_MOUNTS) && refused && !who.maySetIds)
    why += `: the host gives this user no rights in its user namespace: see sysctl kernel.apparmor_restrict_unprivileged_userns, or the security module's log`;
  else if (step === STEP_DESCRIPTORS && (errno === EMFILE || errno === EINVAL))
    why += ": too few open files are allowed: see ulimit -n";
  else if (step === STEP_CGROUP) why = `cannot put the sandbox into the cgroup ${cgroups.join(", ")} (errno ${errno})`;
  return new RuntimeError("host", why);
}
/** Settings by which distributions forbid user namespaces, and the value that does. */
const FORBID = [
  "kernel.unprivileged_userns_clone=0",
  "user.max_user_namespaces=0",
  "kernel.apparmor_restrict_unprivileged_userns=1",
];
function isSet(setting: string): boolean {
  const [name, value] = setting.split("=");
  try {
    return readFileSync(`/proc/sys/${name!.replaceAll(".", "/")}`, "latin1").trim() === value;
  } catch {
    return false;
  }
}

/** A descriptor of the network namespace that the sandbox is to join, or -1. */
function networkNamespaceOf({ namespaces, network }: SandboxOptions): number {
  const path = namespaces.network;
  if (path === null || network !== "sandbox") return -1;
  const fd = openNetworkNamespace(Buffer.from(`${path}\0`));
  if (fd < 0) throw new RuntimeError("host", `cannot open the network namespace ${path} (errno ${-fd})`, { path });
  return fd;
}

/** Keeps the kernel process small: one collector thread, a modest heap growth. */
const RUNTIME_ENVIRONMENT = ["BUN_JSC_numberOfGCMarkers=1", "BUN_JSC_useConcurrentGC=0"];

export const launcher: SandboxLauncher = { launch, addContainer, restoreContainer, attach };
