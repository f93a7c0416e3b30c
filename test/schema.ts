/**
 * `bun build.ts schema [word…]`: what saved kernels look like (src/kernel/state/schema.json), from the kernels that unit tests
 * save (of a word "unit") and from images of the guest conformance programs, those whose names contain a word.
 *
 * What is new is added. A field that is new, gone or of another form without a new version or a default is not: that is said,
 * and nothing is written.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareSchemas, mergeSchemas, type Schema, schemaText } from "../src/kernel/state/schema.ts";
import { knownSchema, SCHEMA_FILE, schemaOf } from "../src/kernel/testing/checked-schema.ts";
import { loadEveryClass } from "../src/kernel/testing/every-class.ts";
import { compileGuest, guestNames } from "./guest.ts";
import { cleanEnv, run } from "./harness/process.ts";
import { executable, root } from "./harness/sandbox.ts";
import { configure, counts, objectsOf } from "./restored.ts";

const words = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const TIMEOUT_MS = 60_000;

/** Those of unit tests, as each of their processes has seen them. */
function unitSchemas(): Schema[] {
  const dir = mkdtempSync(join(tmpdir(), "runts-schema-"));
  try {
    const env = { ...process.env, RUNTS_SCHEMA: dir };
    const done = spawnSync(process.execPath, ["test", "--timeout=60000", "src/kernel"], { cwd: root, env });
    if (done.status !== 0) throw new Error(`unit tests fail:\n${done.stderr.toString().slice(-4000)}`);
    return readdirSync(dir).map((file) => JSON.parse(readFileSync(join(dir, file), "utf8")) as Schema);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Of images of a program, at some of its calls. */
async function guestSchemas(topic: string): Promise<Schema[]> {
  const program = await compileGuest(topic);
  const dir = mkdtempSync(join(tmpdir(), "runts-schema-"));
  const image = join(dir, "image");
  const total = counts[topic] ?? 100;
  const schemas: Schema[] = [];
  try {
    for (const at of new Set([0.25, 0.5, 0.75].map((part) => Math.max(3, Math.floor(total * part))))) {
      configure(dir, [at]);
      const save = ["--config", join(dir, "save0.toml"), "do", "--save", image, "--", program];
      await run([executable(), ...save], { timeoutMs: TIMEOUT_MS, env: cleanEnv });
      if (existsSync(join(image, "manifest.json"))) schemas.push(schemaOf(objectsOf(image)));
      rmSync(image, { recursive: true, force: true });
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return schemas;
}

await loadEveryClass();
const seen: Schema[] = words.length === 0 || words.includes("unit") ? unitSchemas() : [];
const topics = guestNames().filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
for (const [i, topic] of topics.entries()) {
  const schemas = await guestSchemas(topic);
  console.log(`${i + 1}/${topics.length} ${topic}: ${schemas.length} images`);
  seen.push(...schemas);
}
let all: Schema = {};
for (const each of seen) all = mergeSchemas(all, each);
const { wrong, unknown } = compareSchemas(knownSchema(), all);
for (const line of unknown) console.log(`new: ${line}`);
for (const line of wrong) console.error(`wrong: ${line}`);
if (wrong.length > 0) process.exit(1);
writeFileSync(SCHEMA_FILE, schemaText(mergeSchemas(knownSchema(), all)));
console.log(`${SCHEMA_FILE}: ${Object.keys(all).length} classes`);
