/**
 * The network outside: a server natively and in a container of each runtime, asked from another network namespace over a
 * bridge. One stream each way, round trips of a byte, connections, redis and nginx under load.
 *
 *   bun bench/network.ts [--rounds N] [--seconds S] [--only WORD] [--markdown]
 *
 * RUNTS=, RUNC= and RUNSC= name executables other than dist/runts and those on PATH; runsc runs with its own stack and with
 * `--network=host`, which is the host's stack in the same namespace. wrk, nginx and redis are used where they are there.
 * --markdown also writes bench/NETWORK.md.
 *
 * Invariants: runtimes take turns, each round with hosts of its own (test/network/wire.ts), so that none profits from what
 * another has left. A figure is the median of all rounds; ratios are of medians of this run.
 * Known gaps: root only. Client and server share the machine's processors: on few of them what the client takes is missing to
 * the server, which favours nobody but makes every ratio smaller than between two machines.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { GUEST, type Running, Wire } from "../test/network/wire.ts";
import { describeMachine, otherWork, QUIET } from "./machine.ts";
import { compile } from "./micro.ts";
import { withScratch } from "./process.ts";
import { asMarkdown, asText, figure, median, type Table } from "./stats.ts";
import { findExecutable, isExecutable, runtsPath } from "./targets.ts";

interface Target {
  name: string;
  /** Empty: natively. */
  prefix: string[];
}

interface Measure {
  name: string;
  unit: string;
  scale: number;
  /** Programs that must be there. */
  needs: string[];
  port: number;
  serve(wire: Wire): string[];
  ask(seconds: number): string[];
  /** The figure in what the client has printed. */
  read(stdout: string): number;
}

const PORT = 9500;
const first = (stdout: string): number => Number.parseFloat(stdout);

function measures(program: string): Measure[] {
  const own = (kind: string, name: string, unit: string, scale: number): Measure => ({
    name,
    unit,
    scale,
    needs: [],
    port: PORT,
    serve: () => [program, "serve", `${PORT}`],
    ask: (seconds) => [program, kind, GUEST.v4, `${PORT}`, `${seconds}`],
    read: first,
  });
  return [
    own("send", "one stream into the container", "MiB/s", 2 ** -20),
    own("receive", "one stream out of it", "MiB/s", 2 ** -20),
    own("trips", "round trips of a byte", "1/s", 1),
    own("connections", "connections", "1/s", 1),
    {
      name: "redis, GET, 50 clients",
      unit: "1/s",
      scale: 1,
      needs: ["redis-server", "redis-benchmark"],
      port: 6379,
      serve: () => ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"],
      ask: (seconds) => [
        "redis-benchmark",
        "-h",
        GUEST.v4,
        "-n",
        `${Math.round(20_000 * seconds)}`,
        "-q",
        "--csv",
        "-t",
        "get",
      ],
      read: (stdout) => Number(/^"GET","([\d.]+)"/m.exec(stdout)?.[1]),
    },
    {
      name: "nginx, 32 connections kept",
      unit: "1/s",
      scale: 1,
      needs: ["nginx", "wrk"],
      port: 8080,
      serve(wire) {
        const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
          (name) => `${name}_temp_path /tmp/${name};`,
        );
        const server = `server { listen 8080; location / { return 200 "hello\\n"; } }`;
        const text = `daemon off; pid /tmp/pid; error_log /dev/null; user root; worker_processes 1;
events { worker_connections 512; }
http { access_log off; keepalive_requests 1000000; ${temporary.join(" ")} ${server} }\n`;
        return ["nginx", "-c", wire.file("nginx.conf", text)];
      },
      ask: (seconds) => [
        "wrk",
        "-t",
        "1",
        "-c",
        "32",
        "-d",
        `${Math.max(1, Math.round(seconds))}s`,
        `http://${GUEST.v4}:8080/`,
      ],
      read: (stdout) => Number(/^Requests\/sec:\s+([\d.]+)/m.exec(stdout)?.[1]),
    },
  ];
}

function findTargets(): { found: Target[]; missing: string[] } {
  const found: Target[] = [{ name: "native", prefix: [] }];
  const missing: string[] = [];
  const add = (name: string, path: string | undefined, flags: string[]): void => {
    if (path !== undefined && isExecutable(path)) found.push({ name, prefix: [path, ...flags] });
    else missing.push(name);
  };
  add("runts", runtsPath(), []);
  add("runc", findExecutable("runc", "RUNC"), []);
  const runsc = findExecutable("runsc", "RUNSC");
  add("runsc", runsc, ["--platform=systrap", "--network=sandbox"]);
  add("runsc, host's stack", runsc, ["--platform=systrap", "--network=host"]);
  return { found, missing };
}

const START_LIMIT_MS = 15_000;

/** Asks until the server answers: a runtime with a stack of its own shows no listener in the namespace. */
async function once(wire: Wire, target: Target, measure: Measure, seconds: number): Promise<number> {
  const command = measure.serve(wire);
  const [path, ...flags] = target.prefix;
  const root = ["--root", `${wire.dir}/runtimes`];
  const server: Running =
    path === undefined
      ? wire.start("guest", command)
      : wire.container([path, ...root, ...flags], command, { ownRoot: true });
  const answers = ["timeout", "1", "bash", "-c", `exec 3<>/dev/tcp/${GUEST.v4}/${measure.port}`];
  for (const end = performance.now() + START_LIMIT_MS; (await wire.run("peer", answers)).status !== 0; ) {
    if (server.ended || performance.now() > end) throw new Error(`it does not serve: ${server.report()}`);
    await Bun.sleep(50);
  }
  const asked = await wire.run("peer", measure.ask(seconds), { timeoutMs: seconds * 1000 + 60_000 });
  const got = measure.read(asked.stdout);
  if (asked.status !== 0 || !(got > 0)) throw new Error(`status ${asked.status}: ${asked.stderr || asked.stdout}`);
  return got * measure.scale;
}

async function main(
  rounds: number,
  seconds: number,
  only: string,
  markdown: boolean,
  scratch: string,
): Promise<number> {
  const program = `${scratch}/network`;
  const problem = await compile(`${import.meta.dirname}/network.c`, program);
  if (problem !== undefined) {
    console.error(`bench: ${problem}`);
    return 1;
  }
  const machine = await describeMachine();
  const before = await otherWork(500);
  const { found, missing } = findTargets();
  const remarks: string[] = missing.map((name) => `${name} is not there`);
  if (before > QUIET) remarks.push(`other work took ${Math.round(before * 100)} % of the machine at the beginning`);
  const rows: string[][] = [];
  for (const measure of measures("").filter(({ name }) => name.includes(only))) {
    const lacking = measure.needs.filter((name) => findExecutable(name, "") === undefined);
    if (lacking.length > 0) {
      remarks.push(`${measure.name}: ${lacking.join(", ")} not there`);
      continue;
    }
    const figures = new Map<string, number[]>();
    const failed = new Set<string>();
    for (let round = 0; round < rounds; round++)
      for (let at = 0; at < found.length; at++) {
        const target = found[(at + round) % found.length]!;
        if (failed.has(target.name)) continue;
        const wire = await Wire.open();
        try {
          // Where the container sees it, too.
          const copy = `${wire.dir}/network`;
          writeFileSync(copy, new Uint8Array(await Bun.file(program).arrayBuffer()), { mode: 0o755 });
          const same = measures(copy).find(({ name }) => name === measure.name)!;
          const got = await once(wire, target, same, seconds);
          figures.set(target.name, [...(figures.get(target.name) ?? []), got]);
        } catch (error) {
          failed.add(target.name);
          remarks.push(`${measure.name}, ${target.name}: ${(error as Error).message.slice(0, 300)}`);
        } finally {
          await wire.close();
        }
      }
    const middle = (name: string): number | undefined =>
      failed.has(name) || !figures.has(name) ? undefined : median(figures.get(name)!);
    const ratio = (name: string): string => {
      const [ours, theirs] = [middle("runts"), middle(name)];
      return ours === undefined || theirs === undefined ? "" : figure(ours / theirs);
    };
    rows.push([
      `${measure.name}, ${measure.unit}`,
      ...found.map(({ name }) => (middle(name) === undefined ? "failed" : figure(middle(name)!))),
      ...found.filter(({ name }) => name !== "runts").map(({ name }) => ratio(name)),
    ]);
  }
  const table: Table = {
    title: "The network outside",
    note: `medians of ${rounds} rounds of ${seconds} s; more is better; the last columns are runts as a share of the others`,
    head: [
      "",
      ...found.map(({ name }) => name),
      ...found.filter(({ name }) => name !== "runts").map(({ name }) => `runts/${name}`),
    ],
    rows,
    remarks,
  };
  console.log(`${machine.join("\n")}\n\n${asText(table)}`);
  if (markdown) {
    const lines = [...machine, ...remarks].map((line) => `- ${line}`);
    writeFileSync(
      `${import.meta.dirname}/NETWORK.md`,
      ["# The network outside", "", ...lines, "", asMarkdown(table)].join("\n"),
    );
    console.log("written: bench/NETWORK.md");
  }
  return 0;
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string" },
    seconds: { type: "string" },
    only: { type: "string" },
    markdown: { type: "boolean" },
  },
});
const rounds = Number(values.rounds ?? 3);
const seconds = Number(values.seconds ?? 2);
if (process.getuid?.() !== 0) {
  console.error("bench: network namespaces need root");
  process.exitCode = 1;
} else if (!(rounds >= 1 && rounds <= 100 && seconds > 0 && seconds <= 60)) {
  console.error("bench: --rounds takes a number from 1 to 100, --seconds one up to 60");
  process.exitCode = 2;
} else {
  await withScratch("runts-network-bench", (scratch) =>
    main(Math.floor(rounds), seconds, values.only ?? "", values.markdown ?? false, scratch),
  );
}
