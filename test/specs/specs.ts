/**
 * The OCI lifecycle by hand: each VERB/CASE.steps is a text of commands and what they print, run against the sealed
 * executable, as root and without an engine around it.
 *
 *   Prose says what is shown, and which row of the contract it is.
 *     $ runts create --bundle $BUNDLE $ID       a command, run by sh
 *     expected line of standard output          exactly; /…/ is a regular expression; … alone: any lines
 *     ! text in standard error                  nothing said: standard error does not matter
 *     = 3                                       the status; 0 when it is not said
 *     % {"process": {"args": ["true"]}}         replaces top-level keys of the bundle's config.json; $ID and the like in
 *                                               strings of it are filled in
 *
 * $ROOT (state directory), $BUNDLE, $DIR (scratch) and $ID are the case's own; `runts` has --root $ROOT. After each case
 * every container is deleted by force, and no process, cgroup, mount or file of the case may be left.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { globSync } from "tinyglobby";
import { busyboxPath } from "../harness/packages.ts";
import { cleanEnv, run } from "../harness/process.ts";
import { executable, isRoot, platforms } from "../harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { handOver } from "../harness/user.ts";

const STEP_TIMEOUT_MS = 20_000;

interface Step {
  line: number;
  command: string;
  stdout: string[];
  stderr: string[];
  status: number;
  /** Set instead of the rest: changes to config.json. */
  config?: Record<string, unknown>;
}

export function parseSteps(text: string): Step[] {
  const steps: Step[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (!line.startsWith("  ")) continue;
    const body = line.slice(2);
    const step = steps.at(-1);
    const empty = { line: i + 1, command: "", stdout: [], stderr: [], status: 0 };
    if (body.startsWith("$ ")) steps.push({ ...empty, command: body.slice(2) });
    else if (body.startsWith("% ")) steps.push({ ...empty, config: JSON.parse(body.slice(2)) });
    else if (step === undefined) throw new Error(`line ${i + 1}: no command before it`);
    else if (body.startsWith("> ")) step.command += `\n${body.slice(2)}`;
    else if (body.startsWith("! ")) step.stderr.push(body.slice(2));
    else if (/^= \d+$/.test(body)) step.status = Number(body.slice(2));
    else step.stdout.push(body);
  }
  return steps;
}

/** Null when the lines are as expected. */
export function compareLines(expected: readonly string[], output: string): string | null {
  const lines = output === "" ? [] : output.replace(/\n$/, "").split("\n");
  const fits = (e: number, l: number): boolean => {
    if (e === expected.length) return l === lines.length;
    const want = expected[e]!;
    if (want === "…") return fits(e + 1, l) || (l < lines.length && fits(e, l + 1));
    if (l >= lines.length) return false;
    const pattern = /^\/(.*)\/$/.exec(want);
    const same = pattern === null ? want === lines[l] : new RegExp(`^(?:${pattern[1]})$`).test(lines[l]!);
    return same && fits(e + 1, l + 1);
  };
  return fits(0, 0) ? null : `standard output is\n${indent(output)}expected\n${indent(expected.join("\n"))}`;
}
const indent = (text: string): string =>
  text === "" ? "  (nothing)\n" : `${text.replace(/\n$/, "").replace(/^/gm, "  ")}\n`;

/** The directory of one case: bundle with busybox, wrapper, scratch. */
class Workshop {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-spec-"));
  readonly root = join(this.dir, "root");
  readonly bundle = join(this.dir, "bundle");
  readonly id = `spec-${basename(this.dir).slice(-6)}`;
  private readonly env: Record<string, string>;

  constructor(platform: string, busybox: string) {
    const bin = join(this.bundle, "rootfs/bin");
    for (const each of [bin, ...["proc", "dev", "sys", "tmp", "etc"].map((name) => join(this.bundle, "rootfs", name))])
      mkdirSync(each, { recursive: true });
    copyFileSync(busybox, join(bin, "busybox"));
    chmodSync(join(bin, "busybox"), 0o755);
    for (const name of [
      "sh",
      "true",
      "false",
      "echo",
      "cat",
      "sleep",
      "ls",
      "id",
      "pwd",
      "env",
      "kill",
      "touch",
      "stat",
      "hostname",
      "mount",
      "test",
      "head",
      "tty",
      "stty",
    ])
      symlinkSync("busybox", join(bin, name));
    writeFileSync(join(this.bundle, "rootfs/etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
    const wrapper = join(this.dir, "bin/runts");
    mkdirSync(dirname(wrapper));
    writeFileSync(wrapper, `#!/bin/sh\nexec ${executable()} --root ${this.root} --platform ${platform} "$@"\n`, {
      mode: 0o755,
    });
    this.env = {
      ...cleanEnv,
      PATH: `${dirname(wrapper)}:${cleanEnv["PATH"]}`,
      ROOT: this.root,
      BUNDLE: this.bundle,
      DIR: this.dir,
      ID: this.id,
      RUNTS: executable(),
      USER: "tester",
    };
    this.configure({});
    handOver(this.dir);
  }

  configure(changes: Record<string, unknown>): void {
    const base = {
      ociVersion: "1.0.2",
      process: { cwd: "/", args: ["true"], env: ["PATH=/bin"], user: { uid: 0, gid: 0 } },
      root: { path: "rootfs" },
    };
    const merged: Record<string, unknown> = { ...base, ...changes };
    if (changes["process"] !== undefined) merged["process"] = { ...base.process, ...(changes["process"] as object) };
    writeFileSync(join(this.bundle, "config.json"), JSON.stringify(merged));
  }

  sh(command: string, timeoutMs = STEP_TIMEOUT_MS) {
    return run(["sh", "-c", command], { cwd: this.bundle, env: this.env, timeoutMs });
  }

  /** Deletes what is there; then says what is left that should not be. */
  async cleanUp(): Promise<string[]> {
    const left: string[] = [];
    for (const name of existsSync(this.root) ? readdirSync(this.root) : []) {
      const done = await this.sh(`runts delete --force '${name}'`);
      if (done.status !== 0) left.push(`delete --force ${name} failed: ${done.stderr.trim()}`);
    }
    if (existsSync(this.root) && readdirSync(this.root).length > 0)
      left.push(`state directory: ${readdirSync(this.root).join(", ")}`);
    for (let tries = 0; ; tries++) {
      const processes = this.processes();
      if (processes.length === 0) break;
      // The last ones of a killed sandbox may take a moment.
      if (tries > 100) {
        left.push(`processes: ${processes.map((each) => each.what).join("; ")}`);
        for (const { pid } of processes) process.kill(pid, "SIGKILL");
        break;
      }
      await Bun.sleep(20);
    }
    if (readFileSync("/proc/self/mountinfo", "utf8").includes(this.dir)) left.push("a mount");
    const cgroups = globSync([`**/${this.id}*`], { cwd: "/sys/fs/cgroup", onlyDirectories: true, deep: 5 });
    if (cgroups.length > 0) left.push(`cgroups: ${cgroups.join(", ")}`);
    rmSync(this.dir, { recursive: true, force: true });
    return left;
  }

  /** Sandboxes of this case: their command line has the id, or their descriptors this directory. */
  private processes(): { pid: number; what: string }[] {
    const found: { pid: number; what: string }[] = [];
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
      try {
        const what = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        const { state } = statOf(name);
        if (state !== "Z" && (what.includes(this.id) || what.includes(this.dir)))
          found.push({ pid: Number(name), what });
      } catch {
        // Ended meanwhile.
      }
    }
    return found;
  }
}

function statOf(pid: string): { state: string } {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  return { state: text.slice(text.lastIndexOf(")") + 2, text.lastIndexOf(")") + 3) };
}

async function runSteps(path: string, platform: string, busybox: string): Promise<Outcome> {
  const workshop = new Workshop(platform, busybox);
  const problems: string[] = [];
  const expand = (text: string) =>
    text
      .replaceAll("$ROOT", workshop.root)
      .replaceAll("$BUNDLE", workshop.bundle)
      .replaceAll("$DIR", workshop.dir)
      .replaceAll("$ID", workshop.id);
  for (const step of parseSteps(readFileSync(path, "utf8"))) {
    if (step.config !== undefined) {
      workshop.configure(JSON.parse(expand(JSON.stringify(step.config))));
      continue;
    }
    const done = await workshop.sh(step.command);
    const wrong: string[] = [];
    if (done.timedOut) wrong.push(`takes longer than ${STEP_TIMEOUT_MS / 1000} s`);
    if (done.status !== step.status) wrong.push(`status is ${done.status}, expected ${step.status}`);
    const stdout = compareLines(step.stdout.map(expand), done.stdout);
    if (stdout !== null) wrong.push(stdout);
    for (const want of step.stderr.map(expand))
      if (!done.stderr.includes(want)) wrong.push(`standard error lacks "${want}"`);
    if (wrong.length === 0) continue;
    problems.push(`${path}:${step.line}: $ ${step.command}`, ...wrong, `standard error was\n${indent(done.stderr)}`);
    break;
  }
  const left = await workshop.cleanUp();
  for (const each of left) problems.push(`left behind: ${each}`);
  return problems.length === 0 ? pass : fail(problems.join("\n"));
}

export function specsGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const file of globSync(["*/*.steps"], { cwd: import.meta.dir }).sort())
    for (const platform of platforms) {
      const name = `specs/${file.replace(/\.steps$/, "")}@${platform}`;
      if (!matches(name, filters)) continue;
      cases.push({
        name,
        async run() {
          if (!isRoot) return skip("needs root");
          const busybox = busyboxPath();
          if (busybox === undefined) return skip("no busybox");
          return runSteps(join(import.meta.dir, file), platform, busybox);
        },
      });
    }
  return { name: "specs", cases };
}
