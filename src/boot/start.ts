/**
 * Processes from outside: the first one of a container, and those that `exec` brings in, made from an OCI process.
 */

import { allCapabilities } from "../core/spec/capabilities.ts";
import type { Process as OciProcess } from "../core/spec/schema.ts";
import { encodeName } from "../kernel/abi/bytes.ts";
import { EACCES, EINVAL, ENOENT, EPERM, errnoName } from "../kernel/abi/errno.ts";
import { AT_FDCWD } from "../kernel/abi/fcntl.ts";
import { S_IFDIR, S_IFREG } from "../kernel/abi/stat.ts";
import type { Container } from "../kernel/container.ts";
import { exec, openExecutable } from "../kernel/loader/exec.ts";
import { returnToGuest } from "../kernel/signal/deliver.ts";
import { NO_RETURN } from "../kernel/syscall.ts";
import { isSubset } from "../kernel/task/access.ts";
import { createFirstTask } from "../kernel/task/clone.ts";
import { ALL_CAPS, type CapSet, type Credentials, intersect, NO_CAPS } from "../kernel/task/credentials.ts";
import { exitGroup } from "../kernel/task/exit.ts";
import type { Seccomp } from "../kernel/task/seccomp.ts";
import type { Task } from "../kernel/task/task.ts";
import { setCredentials } from "../kernel/task/users.ts";
import { FdTable } from "../kernel/vfs/fd-table.ts";
import type { File } from "../kernel/vfs/file.ts";
import { FsContext } from "../kernel/vfs/fs-context.ts";
import { KernelIo } from "../kernel/vfs/io.ts";
import { LOOKUP_FOLLOW, resolve } from "../kernel/vfs/namei.ts";
import { openPlace } from "../kernel/vfs/open.ts";
import { Refusal } from "./control.ts";

const RLIMIT_NAMES = [
  "CPU",
  "FSIZE",
  "DATA",
  "STACK",
  "CORE",
  "RSS",
  "NPROC",
  "NOFILE",
  "MEMLOCK",
  "AS",
  "LOCKS",
  "SIGPENDING",
  "MSGQUEUE",
  "NICE",
  "RTPRIO",
  "RTTIME",
];

function capSet(names: readonly string[] | undefined): CapSet {
  let { lo, hi } = NO_CAPS;
  for (const name of names ?? []) {
    const cap = (allCapabilities as readonly string[]).indexOf(name.toUpperCase());
    if (cap < 0) continue;
    if (cap < 32) lo = (lo | (1 << cap)) >>> 0;
    else hi = (hi | (1 << (cap - 32))) >>> 0;
  }
  return { lo, hi };
}

/** -1 as 32 bits means "none". */
const ID_MAX = 0xfffffffe;

/**
 * Credentials of an OCI process, as runc has them before it executes the program. Without `capabilities`, root has none
 * either. What capset(2) would refuse is an error; ambient capabilities that cannot be raised are left out.
 */
export function credentialsOf(process: OciProcess): Credentials {
  const { uid, gid, additionalGids = [] } = process.user;
  const caps = process.capabilities;
  const permitted = capSet(caps?.permitted);
  const effective = capSet(caps?.effective);
  const inheritable = capSet(caps?.inheritable);
  const bounding = capSet(caps?.bounding);
  for (const id of [uid, gid, ...additionalGids])
    if (id > ID_MAX) throw new Refusal(`user: ${id} is no user or group id`, EINVAL);
  const refuse = (what: string) => new Refusal(`unable to apply caps: operation not permitted: ${what}`, EPERM);
  if (!isSubset(effective, permitted)) throw refuse("an effective capability is not permitted");
  if (!isSubset(inheritable, bounding)) throw refuse("an inheritable capability is not in the bounding set");
  return {
    uid,
    euid: uid,
    suid: uid,
    fsuid: uid,
    gid,
    egid: gid,
    sgid: gid,
    fsgid: gid,
    groups: additionalGids,
    effective,
    permitted,
    inheritable,
    bounding,
    ambient: intersect(capSet(caps?.ambient), intersect(permitted, inheritable)),
    securebits: 0,
    noNewPrivs: process.noNewPrivileges ?? false,
  };
}

/** Credentials for the kernel's own work during set-up. */
export const SETUP_CREDENTIALS: Credentials = {
  uid: 0,
  euid: 0,
  suid: 0,
  fsuid: 0,
  gid: 0,
  egid: 0,
  sgid: 0,
  fsgid: 0,
  groups: [],
  effective: ALL_CAPS,
  permitted: ALL_CAPS,
  inheritable: NO_CAPS,
  bounding: ALL_CAPS,
  ambient: NO_CAPS,
  securebits: 0,
  noNewPrivs: false,
};

/** A task without a program yet, in a new address space, at the container's root. */
export function makeTask(container: Container, comm: string, init = false): Task {
  const { root } = container;
  if (root === null) throw new Error(`container ${container.id} has no root`);
  const ctx = container.createAddressSpace();
  if (typeof ctx === "number") throw new Refusal(`cannot make an address space: ${errnoName(-ctx)}`, -ctx);
  const task = createFirstTask(container, ctx, {
    files: new FdTable(),
    fs: new FsContext(root, root, 0o022),
    cred: SETUP_CREDENTIALS,
    comm,
    unkillable: init,
  });
  if (task === null) {
    ctx.addressSpace.destroy();
    throw new Refusal("the sandbox is full", 11);
  }
  task.embryo = true;
  return task;
}

/**
 * Gives a task its identity and starts its program; the kernel loop runs it from then on.
 * Throws a Refusal with the errno of execve; the task is gone then. `hook`: the path of the program, which then gets its
 * environment as it is.
 */
export function startProgram(
  task: Task,
  oci: OciProcess,
  stdio: readonly (File | null)[],
  seccomp: Seccomp | null = null,
  hook: string | null = null,
): void {
  task.kernel.workOn(task, () => start(task, oci, stdio, seccomp, hook));
}

function start(
  task: Task,
  oci: OciProcess,
  stdio: readonly (File | null)[],
  seccomp: Seccomp | null,
  hook: string | null,
): void {
  const args = oci.args ?? [];
  const program = hook ?? args[0] ?? "";
  try {
    stdio.forEach((file, fd) => {
      if (file !== null) task.files.replace(fd, file, false);
    });
    for (const limit of oci.rlimits ?? []) {
      const index = RLIMIT_NAMES.indexOf(limit.type.replace(/^RLIMIT_/, ""));
      if (index < 0) throw new Refusal(`unknown rlimit ${limit.type}`, 22);
      const bound = (n: number) => (n >= 2 ** 63 ? Number.POSITIVE_INFINITY : n);
      task.process.rlimits[index] = { soft: bound(limit.soft), hard: bound(limit.hard) };
    }
    if (oci.user.umask !== undefined) task.fs.umask = oci.user.umask & 0o777;
    task.process.oomScoreAdj = oci.oomScoreAdj ?? 0;

    setCredentials(task, credentialsOf(oci));
    enterDirectory(task, oci.cwd);
    task.seccomp = seccomp;
    const env = hook === null ? withHome(task, oci.env ?? []) : (oci.env ?? []);
    const { file, name } = findProgram(task, program, env);
    const result = exec(task, { file, name, argv: args.map(encodeName), envp: env.map(encodeName) });
    if (result !== NO_RETURN) throw new Refusal(`exec "${program}": ${text(-result)}`, -result);
    task.embryo = false;
    if (task.ctx !== null) returnToGuest(task, 0, false);
  } catch (error) {
    if (task.ctx !== null) exitGroup(task, 0);
    throw error;
  }
}

/** Throws what `startProgram` would for a directory or a program that is not there; changes nothing. */
export function checkProgram(task: Task, oci: OciProcess): void {
  const { cred } = task;
  const { cwd } = task.fs;
  try {
    task.cred = credentialsOf(oci);
    enterDirectory(task, oci.cwd);
    findProgram(task, oci.args?.[0] ?? "", oci.env ?? []).file.release();
  } finally {
    task.cred = cred;
    task.fs.cwd = cwd;
  }
}

function enterDirectory(task: Task, path: string): void {
  let cwd = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
  if (cwd === -EACCES) {
    // runc changes the directory while it still has its privileges, if the user may not.
    const user = task.cred;
    task.cred = SETUP_CREDENTIALS;
    cwd = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
    task.cred = user;
  }
  if (typeof cwd === "number") throw new Refusal(`chdir to cwd "${path}": ${text(-cwd)}`, -cwd);
  if (cwd.dentry.inode.type !== S_IFDIR) throw new Refusal(`chdir to cwd "${path}": ${text(20)}`, 20);
  task.fs.cwd = cwd;
}

/**
 * As runc: HOME is that of the user database where the environment has none. It is looked up with all rights: the user
 * need not be able to read it.
 */
function withHome(task: Task, env: readonly string[]): readonly string[] {
  if (env.some((entry) => entry.startsWith("HOME="))) return env;
  const user = task.cred;
  task.cred = SETUP_CREDENTIALS;
  const text = readWhole(task, "/etc/passwd");
  task.cred = user;
  const fields = text.split("\n").map((line) => line.split(":"));
  const home = fields.find((entry) => entry.length >= 6 && entry[2] === String(task.cred.uid))?.[5];
  return [...env, `HOME=${home || "/"}`];
}

/** A text of the container; empty where it cannot be read. */
function readWhole(task: Task, path: string): string {
  // A FIFO or a device of the image must not even be opened: that could wait, or do something.
  const place = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
  if (typeof place === "number" || place.dentry.inode.type !== S_IFREG) return "";
  const file = openPlace(task, place, 0);
  if (typeof file === "number") return "";
  const parts: Uint8Array[] = [];
  for (let at = 0; at < TEXT_MAX; ) {
    const io = new KernelIo(new Uint8Array(65536));
    const n = file.read(task, io, at);
    if (n <= 0) break;
    parts.push(io.buffer.subarray(0, n));
    at += n;
  }
  file.release();
  return Buffer.concat(parts).toString("latin1");
}
const TEXT_MAX = 4 * 1024 * 1024;

/** Opens the program as execvp(3) finds it. */
function findProgram(task: Task, program: string, env: readonly string[]): { file: File; name: string } {
  const candidates: string[] = [];
  if (program.includes("/")) candidates.push(program);
  else if (program !== "") {
    const path =
      env.findLast((e) => e.startsWith("PATH="))?.slice(5) ??
      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (const directory of path.split(":")) candidates.push(`${directory === "" ? "." : directory}/${program}`);
  }
  let worst = -ENOENT;
  for (const name of candidates) {
    const file = openExecutable(task, AT_FDCWD, name);
    if (typeof file !== "number") return { file, name };
    if (file === -EACCES) worst = -EACCES;
    else if (file !== -ENOENT && program.includes("/")) worst = file;
  }
  throw new Refusal(
    worst === -ENOENT && !program.includes("/")
      ? `exec: "${program}": executable file not found in $PATH`
      : `exec: "${program}": ${text(-worst)}`,
    -worst,
  );
}

/** What strerror(3) says of the errors that starting a program can end with. */
function text(errno: number): string {
  return (
    {
      1: "operation not permitted",
      2: "no such file or directory",
      7: "argument list too long",
      8: "exec format error",
      12: "cannot allocate memory",
      13: "permission denied",
      20: "not a directory",
      21: "is a directory",
      36: "file name too long",
      40: "too many levels of symbolic links",
      80: "accessing a corrupted shared library",
    }[errno] ?? errnoName(errno)
  );
}
