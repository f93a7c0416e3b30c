/**
 * Podman without root, as an ordinary user drives it: it makes a user namespace of its own with the user's subordinate ids,
 * and runs us as root of that. Images and containers are in a home directory of the case's own.
 *
 * Contract: 3.1-podman.
 */
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { busyboxPath, whyMissing } from "../harness/packages.ts";
import { cleanEnv, type Result, run } from "../harness/process.ts";
import { executable, platforms } from "../harness/sandbox.ts";
import { type Case, fail, type Outcome, pass, skip } from "../harness/suite.ts";
import { currentUser, handOver } from "../harness/user.ts";

interface Step {
  /** Words after `podman`. */
  words: string[];
  stdout: RegExp;
  status?: number;
}

const steps: readonly Step[] = [
  { words: ["run", "--rm", "--network", "none", "busybox:test", "id", "-u"], stdout: /^0\n$/ },
  {
    words: [
      "run",
      "--rm",
      "--network=none",
      "-v",
      "HOME/volume:/v",
      "busybox:test",
      "sh",
      "-c",
      "touch /v/a; touch /v/b; chown 7 /v/b; stat -c %u /v/a /v/b",
    ],
    stdout: /^0\n7\n$/,
  },
  { words: ["run", "--rm", "--network=none", "--user=1000", "busybox:test", "id", "-u"], stdout: /^1000\n$/ },
  { words: ["run", "--rm", "--network=none", "busybox:test", "sh", "-c", "exit 7"], stdout: /^$/, status: 7 },
  { words: ["run", "-d", "--name=c", "--network=none", "busybox:test", "sleep", "100"], stdout: /^\w{64}\n$/ },
  { words: ["exec", "c", "id", "-u"], stdout: /^0\n$/ },
  { words: ["top", "c", "-ef"], stdout: /sleep 100/ },
  { words: ["ps", "--format", "{{.Names}} {{.Status}}"], stdout: /^c Up / },
  { words: ["kill", "c"], stdout: /^c\n$/ },
  { words: ["wait", "c"], stdout: /^137\n$/ },
  { words: ["rm", "-f", "c"], stdout: /^c\n$/ },
];

async function drive(platform: string): Promise<Outcome> {
  const user = currentUser();
  if (user === undefined) return skip("needs root, to be an ordinary user");
  const missing = whyMissing(["podman", "uidmap", "busybox-static"]);
  if (missing) return skip(missing);
  if (!readFileSync("/etc/subuid", "utf8").includes(`${user.name}:`))
    return skip("no subordinate ids for the tests' user");
  // Locks of an earlier user with this number, left held when its Podman was killed.
  const locks = `/dev/shm/libpod_rootless_lock_${user.uid}`;
  rmSync(locks, { force: true });
  const home = mkdtempSync(join(user.home, "podman-"));
  const env = { ...cleanEnv, HOME: home, XDG_RUNTIME_DIR: join(home, "run") };
  for (const name of ["run", "volume", ".config/containers", "image/bin", "image/etc"])
    mkdirSync(join(home, name), { recursive: true });
  chmodSync(env.XDG_RUNTIME_DIR, 0o700);
  cpSync(busyboxPath()!, join(home, "image/bin/busybox"));
  for (const name of ["sh", "sleep", "id", "touch", "chown", "stat", "ps"])
    symlinkSync("busybox", join(home, "image/bin", name));
  writeFileSync(join(home, "image/etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  const config = (name: string, text: string) => writeFileSync(join(home, ".config/containers", name), text);
  config("storage.conf", '[storage]\ndriver = "vfs"\n');
  config("policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}');
  config(
    "containers.conf",
    `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n[engine.runtimes]\nrunts = ["${executable()}"]\n`,
  );
  handOver(home);
  const podman = (words: readonly string[]): Promise<Result> =>
    run(["podman", "--runtime=runts", `--runtime-flag=platform=${platform}`, ...words], {
      env,
      cwd: home,
      timeoutMs: 60_000,
    });
  try {
    const image = await run(["sh", "-c", "tar -C image -c . | podman import - busybox:test"], {
      env,
      cwd: home,
      timeoutMs: 60_000,
    });
    if (image.status !== 0) return fail(`podman import: ${image.stderr}`);
    for (const { words, stdout, status = 0 } of steps) {
      const done = await podman(words.map((word) => word.replace("HOME", home)));
      if (done.status !== status || !stdout.test(done.stdout))
        return fail(`podman ${words.join(" ")}: status ${done.status}\nstdout: ${done.stdout}\nstderr: ${done.stderr}`);
    }
    // The user's own root's file is the user's on the host; the other one belongs to a subordinate id.
    const owners = await run(["stat", "-c", "%u", "volume/a"], { env, cwd: home, timeoutMs: 10_000 });
    if (owners.stdout !== `${user.uid}\n`) return fail(`a file of a volume belongs to ${owners.stdout}`);
    const left = readdirSync(join(env.XDG_RUNTIME_DIR, "runts"));
    return left.length === 0 ? pass : fail(`left in the state directory: ${left.join(", ")}`);
  } finally {
    await podman(["rm", "--all", "--force"]);
    // Podman leaves a process behind that holds its namespace.
    const script = 'kill -9 "$(cat run/libpod/tmp/pause.pid)"';
    await run(["sh", "-c", script], { env, cwd: home, timeoutMs: 10_000 });
    rmSync(home, { recursive: true, force: true });
    rmSync(locks, { force: true });
  }
}

/** Run as an ordinary user by test/user.ts. */
export const rootlessPodmanCases = (): Case[] =>
  platforms.map((platform) => ({ name: `podman@${platform}`, alone: true, run: () => drive(platform) }));
