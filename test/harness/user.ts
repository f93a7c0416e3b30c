/**
 * Cases as an ordinary user: the same case once more, with every program that it starts run by a user of the tests' own.
 * The case itself (its files, what it looks at afterwards) stays root's.
 *
 * The user is made when the first such case runs, and taken away at the end, as are those of runs that were broken off. Each
 * run has its own: several may be under way.
 * Without root there is no other user to be: then every case is one of an ordinary user anyway.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import type { Case } from "./suite.ts";

export interface TestUser {
  name: string;
  uid: number;
  gid: number;
  home: string;
  /** The executable, where the user may read it wherever the clone is. */
  runts: string;
}

const PREFIX = "runts-test-";
const NAME = `${PREFIX}${process.pid}`;
const current = new AsyncLocalStorage<TestUser>();
let made: TestUser | undefined;

export const currentUser = (): TestUser | undefined => current.getStore();

/** A command line as the current user runs it. */
export function prefixed(command: string[]): string[] {
  const user = current.getStore();
  if (user === undefined) return command;
  const ids = [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--init-groups"];
  return ["setpriv", ...ids, "--inh-caps=-all", "--", ...command];
}

/** A file or directory, with what is in it, becomes the current user's. */
export function handOver(path: string): void {
  const user = current.getStore();
  if (user === undefined) return;
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) handOver(join(path, name));
  lchownSync(path, user.uid, user.gid);
}

function accounts(): { name: string; uid: number; gid: number; home: string }[] {
  const fields = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  return fields
    .filter(([name]) => name!.startsWith(PREFIX))
    .map(([name, , uid, gid, , home]) => ({ name: name!, uid: Number(uid), gid: Number(gid), home: home! }));
}

/** Others may be changing the same files. */
function changeUsers(command: string, ...args: string[]): string {
  for (let tries = 0; ; tries++) {
    const done = spawnSync(command, args, { encoding: "utf8" });
    if (done.status === 0) return "";
    if (tries === 20 || !done.stderr.includes("lock")) return done.stderr || String(done.error);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
}

function makeUser(runts: string): TestUser {
  if (made !== undefined) return made;
  for (const old of accounts()) if (!existsSync(`/proc/${old.name.slice(PREFIX.length)}`)) remove(old);
  const problem = changeUsers("useradd", "--create-home", "--shell", "/bin/sh", NAME);
  const user = accounts().find(({ name }) => name === NAME);
  if (user === undefined) throw new Error(`cannot make the user ${NAME}: ${problem}`);
  chmodSync(user.home, 0o755);
  const copy = join(user.home, "bin/runts");
  mkdirSync(join(user.home, "bin"), { recursive: true });
  copyFileSync(runts, copy);
  chmodSync(copy, 0o755);
  made = { ...user, runts: copy };
  return made;
}

/** Nobody but the tests is this user. */
function killProcesses(uid: number): void {
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      if (!new RegExp(`^Uid:\\s+${uid}\\s`, "m").test(readFileSync(`/proc/${pid}/status`, "latin1"))) continue;
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // Ended meanwhile.
    }
  }
}

function remove({ name, uid, home }: { name: string; uid: number; home: string }): void {
  killProcesses(uid);
  changeUsers("userdel", "--force", "--remove", name);
  rmSync(home, { recursive: true, force: true });
  rmSync(`/tmp/runts-${uid}`, { recursive: true, force: true });
}

/** At the end of all tests. */
export function removeUser(): void {
  if (made !== undefined) remove(made);
  made = undefined;
}

/** The case as an ordinary user. */
export function asUser(one: Case, runts: string): Case {
  return { ...one, name: `user/${one.name}`, run: () => current.run(makeUser(runts), one.run) };
}
