/**
 * Sockets between two hosts: each program in hosts/ runs on both, one as the server and one as the client, and both print
 * what they observe. The oracle are the two hosts natively; then each side in turn is a container, and both sides must
 * print the same as before: the one inside, and the one outside that it talks to.
 */
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { compileGuest } from "../guest.ts";
import { compareResults } from "../harness/compare.ts";
import { whyMissing } from "../harness/packages.ts";
import type { Result } from "../harness/process.ts";
import { isRoot, platforms } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { nativeOnly } from "./scenario.ts";
import { GUEST, PEER, Wire, wirePackages } from "./wire.ts";

const folder = join(import.meta.dir, "hosts");
const timeoutMs = 60_000;

type Side = "server" | "client";
type Both = Record<"inside" | "outside", Result> & { left: string[]; log: string };

async function talk(program: string, platform: string, side: Side): Promise<Both> {
  const wire = await Wire.open();
  try {
    const words = (role: Side, own: typeof PEER, other: typeof PEER) => [
      program,
      role,
      own.v4,
      other.v4,
      own.v6,
      other.v6,
    ];
    const inside = wire.place(platform).start(words(side, GUEST, PEER));
    const outside = wire.start("peer", words(side === "server" ? "client" : "server", PEER, GUEST));
    const [a, b] = await Promise.all([inside.end(timeoutMs), outside.end(timeoutMs)]);
    const log = wire.log();
    return { inside: a, outside: b, log, left: await wire.close() };
  } catch (error) {
    await wire.close();
    throw error;
  }
}

const oracle = new Map<string, Promise<Both>>();

async function compared(topic: string, platform: string, side: Side): Promise<Outcome> {
  if (!isRoot) return skip("network namespaces of the test's own need root");
  const missing = whyMissing([...wirePackages, "gcc", "libc6-dev"]);
  if (missing) return skip(missing);
  const program = await compileGuest(topic, folder);
  const key = `${topic} ${side}`;
  let native = oracle.get(key);
  if (!native) {
    native = talk(program, "native", side);
    oracle.set(key, native);
  }
  const host = await native;
  if (host.left.length > 0) return fail(`the oracle left behind: ${host.left.join("\n")}`);
  const guest = platform === "native" ? host : await talk(program, platform, side);
  const problems: string[] = [];
  for (const who of ["inside", "outside"] as const) {
    const outcome = compareResults(`network/${topic}`, platform, host[who], guest[who]);
    if (outcome.kind === "fail") problems.push(`${who}: ${outcome.detail}`);
  }
  if (guest.left.length > 0) problems.push(`left behind:\n  ${guest.left.join("\n  ")}`);
  if (problems.length > 0 && guest.log !== "") problems.push(`the runtime's log: ${guest.log.slice(-1500)}`);
  return problems.length === 0 ? pass : fail(problems.join("\n"));
}

export function conformanceCases(filters: readonly string[]): Case[] {
  const topics = readdirSync(folder)
    .filter((file) => file.endsWith(".c"))
    .map((file) => basename(file, ".c"))
    .sort();
  return topics.flatMap((topic) =>
    (nativeOnly ? ["native"] : platforms).flatMap((platform) =>
      (["server", "client"] as const)
        .map((side) => ({
          name: `network/hosts/${topic}-${side}@${platform}`,
          run: () => compared(topic, platform, side),
        }))
        .filter(({ name }) => matches(name, filters)),
    ),
  );
}
