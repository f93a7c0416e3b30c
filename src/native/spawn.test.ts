/** What a stub inherits that /proc does not show: a probe is started in its place. The rest is seen by test/jail.ts. */
import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFd, socketpair, waitChild } from "./host.ts";
import { spawnStub } from "./sandbox.ts";

const SOCK_SEQPACKET = 5;
const SECUREBITS_LOCKED = 0xef;

function probe(): Map<string, number> {
  const dir = mkdtempSync(join(tmpdir(), "runts-probe-"));
  try {
    const program = join(dir, "probe");
    const source = join(import.meta.dir, "../../test/jail/probe.c");
    const compiled = Bun.spawnSync(["cc", "-static", "-o", program, source]);
    if (compiled.exitCode !== 0) throw new Error(compiled.stderr.toString());
    const pair = new Int32Array(2);
    socketpair(SOCK_SEQPACKET, pair);
    const file = openSync(program, "r");
    const theirs = pair[1]!;
    const pid = spawnStub(file, theirs, theirs, theirs, theirs);
    expect(pid).toBeGreaterThan(1);
    const bytes = new Uint8Array(4096);
    const n = readFd(pair[0]!, bytes, bytes.length);
    waitChild(pid, 0, new Int32Array(2));
    for (const fd of [...pair, file]) closeSync(fd);
    const lines = Buffer.from(bytes.subarray(0, Math.max(0, n)))
      .toString()
      .trim()
      .split("\n");
    return new Map(
      lines
        .map((line) => line.split(" "))
        .map(([name, value]) => [name!, Number.parseInt(value!, name === "securebits" ? 16 : 10)]),
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("a stub has no keys, signals, words or variables of who starts it", () => {
  const before = () => {};
  process.on("SIGUSR2", before);
  const seen = probe();
  process.off("SIGUSR2", before);
  // Where the host knows keys at all, the session keyring is a new one, and empty.
  const keyring = seen.get("keyring")!;
  expect(seen.get("keys")).toBe(keyring > 0 ? 0 : -1);
  for (const name of ["blocked", "handled", "variables", "words"]) expect([name, seen.get(name)]).toEqual([name, 0]);
  expect(seen.get("parent")).toBe(process.pid);
  expect([seen.get("group"), seen.get("session")]).toEqual([1, 1]);
  // Without rights over itself a process cannot set them, and has none to lose.
  if (process.geteuid!() === 0) expect(seen.get("securebits")! & SECUREBITS_LOCKED).toBe(SECUREBITS_LOCKED);
  expect(probe().get("keyring")).not.toBe(keyring > 0 ? keyring : Number.NaN);
});
