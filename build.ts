/**
 * One door: `bun build.ts <verb>`.
 *
 *   build            native code → generated modules → bundle → dist/runts; declarations for plugins → dist/types
 *   start            build, then run a real program in the sandbox
 *   run -- ARGS…     build silently, then dist/runts ARGS…
 *   test [name…]     build, then test/run.ts
 *   check            types, lint, format
 *   schema [name…]   build, then test/schema.ts: what saved kernels look like, into src/kernel/state/schema.json
 *   bench [args…]    build, then bench/run.ts
 *   generate         only the generated modules (for editors and unit tests)
 */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const outDir = process.env["RUNTS_DIST"] ?? join(root, "dist");
const work = join(root, "build");
const generated = join(root, "src/generated");
const bun = process.execPath;

/** A failure that a person can act on: one line, no stack. */
class BuildError extends Error {}

function sh(command: string, args: string[], options: { quiet?: boolean; cwd?: string } = {}): void {
  const done = spawnSync(command, args, { cwd: options.cwd ?? root, stdio: options.quiet ? "pipe" : "inherit" });
  if (done.error) throw new BuildError(`cannot run ${command}: ${done.error.message}`);
  if (done.status !== 0) {
    if (options.quiet) process.stderr.write(Buffer.concat([done.stdout ?? Buffer.of(), done.stderr ?? Buffer.of()]));
    throw new BuildError(`${command} failed with status ${done.status ?? done.signal}`);
  }
}

function compiler(): string {
  const cc = process.env["CC"] ?? "cc";
  const probe = spawnSync(cc, ["--version"], { stdio: "pipe" });
  if (probe.error || probe.status !== 0)
    throw new BuildError(
      `no C compiler: "${cc}" cannot be run. Install one (Debian: apt-get install gcc libc6-dev) or set CC`,
    );
  return cc;
}

/** Replaces a file only when its contents change; the write is atomic, since several builds may run. */
function writeIfChanged(path: string, text: string): void {
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}.tmp`, text);
  renameSync(`${path}.${process.pid}.tmp`, path);
}

/** Compiles src/native and embeds the results as base64. */
function native(): void {
  const cc = compiler();
  mkdirSync(work, { recursive: true });
  const dir = join(root, "src/native");
  const common = ["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-std=gnu11"];
  const library = join(work, `host.${process.pid}.so`);
  const hostSources = readdirSync(dir)
    .filter((f) => f.endsWith(".c") && !f.endsWith(".stub.c"))
    .map((f) => join(dir, f));
  sh(cc, [...common, "-shared", "-fPIC", "-s", "-o", library, ...hostSources]);
  const blobs: [string, string][] = [["hostLibrary", library]];
  for (const file of readdirSync(dir).filter((f) => f.endsWith(".stub.c"))) {
    // Freestanding, general registers only: the guest's vector state must pass through the stub untouched.
    const name = file.slice(0, -".stub.c".length);
    const out = join(work, `${name}.${process.pid}.stub`);
    const flags = readFileSync(join(dir, file), "utf8").match(/^ \* flags: (.*)$/m)?.[1];
    sh(cc, [
      ...common,
      "-ffreestanding",
      "-nostdlib",
      "-static",
      "-fno-pie",
      "-no-pie",
      "-fno-stack-protector",
      "-fno-asynchronous-unwind-tables",
      "-fcf-protection=none",
      "-mgeneral-regs-only",
      "-mno-red-zone",
      ...(flags ? flags.split(" ") : []),
      "-o",
      out,
      join(dir, file),
    ]);
    blobs.push([`${name}Stub`, out]);
  }
  const lines = blobs.map(([name, file]) => `export const ${name} = "${readFileSync(file).toString("base64")}";`);
  for (const [, file] of blobs) rmSync(file);
  writeIfChanged(
    join(generated, "native-blobs.ts"),
    `/** Native code, base64. Made by build.ts. */\n${lines.join("\n")}\n`,
  );
}

/** The table of system calls: every declaration exported by a file of src/kernel/syscalls. */
function syscallIndex(): void {
  const dir = join(root, "src/kernel/syscalls");
  const files = readdirSync(dir)
    .filter((f) => f.endsWith(".ts") && !f.endsWith(".test.ts"))
    .sort();
  const lines = [
    "/** Every system call declared in src/kernel/syscalls. Made by build.ts. */",
    'import type { SyscallDeclaration } from "../kernel/syscall.ts";',
  ];
  const names: string[] = [];
  for (const file of files) {
    const text = readFileSync(join(dir, file), "utf8");
    const exported = [...text.matchAll(/^export const (\w+)(?:: SyscallDeclaration)? = syscall\(/gm)].map((m) => m[1]!);
    if (exported.length === 0) continue;
    const alias = `m${names.length}`;
    lines.push(`import * as ${alias} from "../kernel/syscalls/${file}";`);
    names.push(exported.map((name) => `  ${alias}.${name},`).join("\n"));
  }
  lines.push("", "export const syscallDeclarations: readonly SyscallDeclaration[] = [", ...names, "];", "");
  writeIfChanged(join(generated, "syscalls.ts"), lines.join("\n"));
}

function generate(): void {
  native();
  syscallIndex();
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const git = spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" });
  const commit = git.status === 0 ? git.stdout.trim() : "unknown";
  writeIfChanged(
    join(generated, "version.ts"),
    `/** Made by build.ts. */\nexport const VERSION = "${version}";\nexport const COMMIT = "${commit}";\n`,
  );
}

/** Newest change of a file below `dir`. */
function newest(dir: string): number {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts"));
  return Math.max(...files.map((f) => statSync(join(dir, f)).mtimeMs));
}

/** dist/types: declarations of the module "runts" for authors of plugins, and valibot's, which they mention. */
function types(): void {
  const out = join(outDir, "types");
  const entry = join(out, "runts.d.ts");
  if (existsSync(entry) && statSync(entry).mtimeMs > newest(join(root, "src/core"))) return;
  const config = join(work, `types.${process.pid}.json`);
  const made = join(work, `types.${process.pid}`);
  const compilerOptions = { noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: made };
  const paths = { rootDir: join(root, "src"), typeRoots: [join(root, "node_modules/@types")] };
  writeFileSync(
    config,
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: { ...compilerOptions, ...paths },
      include: [],
      files: [join(root, "src/core/runts.ts")],
    }),
  );
  sh(join(root, "node_modules/.bin/tsc"), ["-p", config], { quiet: true });
  cpSync(join(root, "node_modules/valibot/dist/index.d.mts"), join(made, "valibot.d.ts"));
  writeFileSync(join(made, "runts.d.ts"), 'export * from "./core/runts.ts";\n');
  rmSync(out, { recursive: true, force: true });
  renameSync(made, out);
  rmSync(config);
}

/**
 * Plugins are given all of valibot, so that the module is kept whole: 130 kB, of which the schemas of a spec use a tenth. For
 * them it is a module of its own. What passes between the two are issues, which are plain data.
 */
const specsOwnValibot: Plugin = {
  name: "valibot of specs",
  setup(build) {
    const its = /\/src\/core\/(spec\/|check\.ts$)/;
    build.onResolve({ filter: /^valibot$/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
      if (pluginData === "resolving" || !its.test(importer)) return undefined;
      const found = await build.resolve(path, { importer, kind, resolveDir, pluginData: "resolving" });
      return { path: found.path, suffix: "?spec", sideEffects: false };
    });
  },
};

async function build(quiet = false): Promise<void> {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new BuildError(`runts builds and runs on Linux x86-64 only; this is ${process.platform} ${process.arch}`);
  generate();
  const { build: esbuild } = await import("esbuild");
  mkdirSync(work, { recursive: true });
  mkdirSync(outDir, { recursive: true });
  const bundle = join(work, `bundle.${process.pid}`);
  await esbuild({
    entryPoints: [join(root, "src/main.ts")],
    outdir: bundle,
    bundle: true,
    // Chunks: a command loads what it needs. `--version` must not pay for the kernel.
    splitting: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    external: ["bun", "bun:*"],
    plugins: [specsOwnValibot],
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: false,
    logLevel: "warning",
  });
  const sealed = join(work, `runts.${process.pid}`);
  sh(
    bun,
    [
      "build",
      "--compile",
      // Parsed ahead of time: start-up is a third of what it is without.
      "--bytecode",
      "--splitting",
      "--format=esm",
      "--target=bun-linux-x64",
      "--no-compile-autoload-dotenv",
      "--no-compile-autoload-bunfig",
      join(bundle, "main.js"),
      "--outfile",
      sealed,
    ],
    { quiet: true },
  );
  renameSync(sealed, join(outDir, "runts"));
  types();
  rmSync(bundle, { recursive: true, force: true });
  if (!quiet) console.log(`built ${join(outDir, "runts")}`);
}

const [verb = "build", ...rest] = process.argv.slice(2);
const args = rest[0] === "--" ? rest.slice(1) : rest;
const runts = join(outDir, "runts");
try {
  switch (verb) {
    case "build":
      await build();
      break;
    case "generate":
      generate();
      break;
    case "start":
      await build(true);
      sh(join(root, "examples/start.sh"), [runts]);
      break;
    case "run": {
      await build(true);
      const done = spawnSync(runts, args, { stdio: "inherit" });
      process.exit(done.status ?? 1);
      break;
    }
    case "test":
      await build(true);
      sh(bun, [join(root, "test/run.ts"), ...args]);
      break;
    case "schema":
      await build(true);
      sh(bun, [join(root, "test/schema.ts"), ...args]);
      break;
    case "check": {
      generate();
      const { CHECKS } = await import("./test/checks.ts");
      for (const { command } of CHECKS) sh(command[0]!, command.slice(1));
      break;
    }
    case "bench":
      await build(true);
      sh(bun, [join(root, "bench/run.ts"), ...args]);
      break;
    default:
      throw new BuildError(`unknown verb "${verb}": build, start, run, test, schema, check, bench, generate`);
  }
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`build: ${error.message}`);
  process.exit(1);
}
