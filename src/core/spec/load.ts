/** Reads and checks a bundle's config.json (and process.json, resources): every problem names the file and the path. */
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import * as v from "valibot";
import { checkMessage } from "../check.ts";
import { RuntimeError } from "../errors.ts";
import { type Process, processSchema, type Resources, resourcesSchema, type Spec, specSchema } from "./schema.ts";
import { validateProcess, validateSpec } from "./validate.ts";

export interface LoadedSpec {
  spec: Spec;
  /** What is accepted and has no effect, for the log. */
  warnings: string[];
}

/** The spec of a bundle, with absolute paths for root and bind sources. */
export function loadSpec(bundle: string): LoadedSpec {
  const path = join(bundle, "config.json");
  if (!existsSync(path))
    throw new RuntimeError("invalid-spec", `JSON specification file ${path} not found`, { path: bundle });
  const spec = parse(specSchema, readFileSync(path, "utf8"), path);
  const warnings: string[] = [];
  const problem = validateSpec(spec, warnings);
  if (problem !== null) throw new RuntimeError("invalid-spec", `${path}: ${problem}`, { path });

  const root = spec.root!;
  root.path = resolve(existsSync(bundle) ? realpathSync(bundle) : bundle, root.path);
  if (!existsSync(root.path))
    throw new RuntimeError("invalid-spec", `invalid rootfs: stat ${root.path}: no such file or directory`, { path });
  // As runc: the bundle may be reached through a link, what is in it is what it seems.
  if (realpathSync(root.path) !== root.path)
    throw new RuntimeError("invalid-spec", "invalid rootfs: not an absolute path, or a symlink", { path });
  if (!statSync(root.path).isDirectory())
    throw new RuntimeError("invalid-spec", `invalid rootfs: ${root.path}: not a directory`, { path });
  for (const mount of spec.mounts ?? []) {
    const options = mount.options ?? [];
    const bind = mount.type === "bind" || options.includes("bind") || options.includes("rbind");
    if (bind && mount.source !== undefined && !isAbsolute(mount.source)) mount.source = resolve(bundle, mount.source);
  }
  return { spec, warnings };
}

/** A process.json, as `exec --process` takes it. */
export function loadProcess(path: string): Process {
  const process = parse(processSchema, readFileSync(path, "utf8"), path);
  const problem = validateProcess(process, "", []);
  if (problem !== null) throw new RuntimeError("invalid-spec", `${path}: ${problem}`, { path });
  return process;
}

/** The limits of `update --resources`. */
export function parseResources(text: string, path: string): Resources {
  return parse(resourcesSchema, text, path);
}

/** Go's encoders write null for what is absent. What seccomp compares arguments with keeps all its digits. */
function revive(key: string, value: unknown, context?: { source: string }): unknown {
  if (value === null) return undefined;
  const exact = key === "value" || key === "valueTwo";
  return exact && typeof value === "number" && !Number.isSafeInteger(value) && context !== undefined
    ? context.source
    : value;
}

function parse<S extends v.GenericSchema>(schema: S, text: string, path: string): v.InferOutput<S> {
  let json: unknown;
  try {
    json = JSON.parse(text, revive);
  } catch (cause) {
    throw new RuntimeError("invalid-spec", `${path}: not valid JSON`, { path, cause });
  }
  const result = v.safeParse(schema, json);
  if (!result.success) throw new RuntimeError("invalid-spec", `${path}: ${checkMessage(result.issues)}`, { path });
  return result.output;
}
