/** An image that is made here and edited, and what becomes of it when it is restored. */
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MANIFEST, OBJECTS, PAGES } from "../../src/plugins/checkpoint/format.ts";
import { reseal } from "../../src/plugins/checkpoint/reseal.ts";
import { cleanEnv, killGroup, run } from "../harness/process.ts";
import { executable } from "../harness/sandbox.ts";
import { prefixed } from "../harness/user.ts";
import type { Edit, Line, Parts } from "./edits.ts";

const FLAGS = "-Os -march=x86-64 -mgeneral-regs-only -ffreestanding -nostdlib -static -fno-stack-protector".split(" ");

/** The program in the image, compiled to a path. */
async function compileSaved(program: string): Promise<void> {
  const source = join(import.meta.dir, "saved.c");
  const made = await run(["cc", ...FLAGS, "-fno-tree-loop-distribute-patterns", "-o", program, source], {
    timeoutMs: 60_000,
    asSelf: true,
  });
  if (made.status !== 0) throw new Error(`saved.c: ${made.stderr}`);
}

/** What the program says when it was saved, and after a restore. */
export const RESUMED = "resumed\n";
export const RESTORED = "restored\npipe and sockets\nfiles\ntimer\nchild\n";

export async function saveTo(image: string, platform: string): Promise<void> {
  const program = `${image}.program`;
  await compileSaved(program);
  try {
    const command = [executable(), "--platform", platform, "do", "--save", image, "--", program];
    const done = await run(command, { cwd: "/", env: cleanEnv, timeoutMs: 60_000 });
    if (done.stdout !== RESUMED) throw new Error(`it was not saved: ${done.status} ${done.stdout}${done.stderr}`);
  } finally {
    rmSync(program, { force: true });
  }
}

/** A copy that nobody else can read, as images have to be. */
export function privateCopy(image: string, to: string): void {
  cpSync(image, to, { recursive: true });
  chmodSync(to, 0o700);
  for (const entry of readdirSync(to, { recursive: true, withFileTypes: true }))
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
}

export async function edit(image: string, apply: Edit["apply"]): Promise<void> {
  const text = (name: string) => readFileSync(join(image, name), "utf8");
  const parts: Parts = {
    lines: text(OBJECTS)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Line),
    pages: new Uint8Array(readFileSync(join(image, PAGES))),
    manifest: JSON.parse(text(MANIFEST)) as Parts["manifest"],
  };
  apply(parts);
  writeFileSync(join(image, OBJECTS), parts.lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  writeFileSync(join(image, PAGES), parts.pages);
  writeFileSync(join(image, MANIFEST), JSON.stringify(parts.manifest));
  await reseal(image);
}

export interface Restored {
  status: number;
  stdout: string;
  stderr: string;
  /** It went on for so long that it was killed: its guests may do that. */
  killed: boolean;
  /** What should not be: something left behind, a kernel that is busy with itself. */
  wrong: string[];
}

interface Stat {
  ppid: number;
  start: string;
  comm: string;
  ticks: number;
}
function statOf(pid: string): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const end = text.lastIndexOf(")");
    const rest = text.slice(end + 2).split(" ");
    if (rest[0] === "Z") return null;
    const comm = text.slice(text.indexOf("(") + 1, end);
    return { ppid: Number(rest[1]), start: rest[19]!, comm, ticks: Number(rest[11]) + Number(rest[12]) };
  } catch {
    return null;
  }
}
/** Processes that come from it, by number. */
function descendants(pid: number): Map<string, Stat> {
  const all = new Map<string, Stat>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? statOf(name) : null;
    if (stat !== null) all.set(name, stat);
  }
  const found = new Map<string, Stat>();
  const parents = new Set([pid]);
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const [name, stat] of all)
      if (parents.has(stat.ppid)) {
        found.set(name, stat);
        parents.add(Number(name));
      }
  }
  return found;
}
const isThere = ([pid, { start }]: [string, Stat]): boolean => statOf(pid)?.start === start;

const LOOK_MS = 50;
/** How long a restored program may go on. */
const GOES_ON_MS = 3000;
/** How long the end of all its processes may take on a busy machine. */
const END_MS = 10_000;
/** How long it is looked at then, and in 100ths of a second how busy its kernel may be, when its guests wait for something. */
const WATCH_MS = 500;
const BUSY_TICKS = 40;

export async function restore(image: string, platform: string): Promise<Restored> {
  const child = Bun.spawn(prefixed([executable(), "--platform", platform, "do", "--from", image]), {
    cwd: "/",
    env: cleanEnv,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const seen = new Map<string, Stat>();
  const look = () => {
    for (const [pid, stat] of descendants(child.pid)) seen.set(pid, stat);
  };
  const output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const wrong: string[] = [];
  const begun = performance.now();
  let ended = false;
  const end = child.exited.then(() => {
    ended = true;
  });
  while (!ended && performance.now() - begun < GOES_ON_MS) {
    look();
    await Promise.race([end, Bun.sleep(LOOK_MS)]);
  }
  const killed = !ended;
  if (killed) {
    // The sandbox process is the first that came from the command; what its guests burn is their own.
    const busy = new Map([...descendants(child.pid)].filter(([, { ppid }]) => ppid === child.pid));
    await Bun.sleep(WATCH_MS);
    for (const [pid, { ticks, comm }] of busy) {
      const now = statOf(pid);
      if (now !== null && now.ticks - ticks > BUSY_TICKS)
        wrong.push(`process ${pid} (${comm}) is busy and does not end`);
    }
    look();
    child.kill("SIGKILL");
    await end;
  }
  const limit = performance.now() + END_MS;
  while ([...seen].some(isThere) && performance.now() < limit) await Bun.sleep(20);
  for (const each of seen) if (isThere(each)) wrong.push(`process ${each[0]} (${each[1].comm}) is left behind`);
  killGroup(child.pid);
  const [stdout, stderr] = await output;
  return { status: child.exitCode ?? -1, stdout, stderr, killed, wrong };
}

/** A directory of its own, gone afterwards. */
export async function withDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "runts-images-"));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
