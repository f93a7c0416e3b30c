/**
 * The configuration file (TOML): defaults of global flags, which plugins, their options.
 *
 *   [flags]                       # by the names of the command line
 *   platform = "ptrace"
 *   [plugins]
 *   directories = ["/usr/local/lib/runts"]   # where NAME.plugin.ts and NAME/plugin.ts are looked for
 *   enable = ["audit"]                       # those from there
 *   disable = ["do"]                         # built-in ones to leave out
 *   [plugin.audit]                # options of that plugin
 *   deny = ["/etc/shadow"]
 *   [network]                     # of containers that say nothing themselves, and of `do --allow-net`; texts or lists
 *   egress = ["example.com:443", "*.example.org"]
 *   deny = "10.0.0.0/8"           # whatever a container says
 *   publish = ["8080:80"]
 *
 * /etc/runts/config.toml is read first, then $XDG_CONFIG_HOME/runts/config.toml over it; `--config` replaces both.
 * Every complaint names the file, the line and the path. A file that others could write is refused.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { RuntimeError } from "./errors.ts";
import type { NetworkConfig } from "./network.ts";

export interface Config {
  /** By dashed name, unchecked: which flags there are is known only when the plugins are loaded. */
  flags: Record<string, unknown>;
  directories: string[];
  enable: string[];
  disable: string[];
  /** By name of the plugin; checked by the plugin's schema. */
  options: Record<string, unknown>;
  network: NetworkConfig;
  /** For messages: where a path was said, as "file:line: path". */
  where(path: readonly string[]): string;
}

const EMPTY: Config = {
  flags: {},
  directories: [],
  enable: [],
  disable: [],
  options: {},
  network: { egress: null, deny: null, publish: null },
  where: (path) => path.join("."),
};

export async function readConfig(explicit: string | undefined): Promise<Config> {
  if (explicit !== undefined && explicit !== "") {
    if (!existsSync(explicit))
      throw new RuntimeError("invalid-config", `there is no configuration file ${explicit}`, { path: explicit });
    return readOne(resolve(explicit));
  }
  let config = EMPTY;
  for (const path of standardPaths()) if (existsSync(path)) config = merge(config, await readOne(path));
  return config;
}

function standardPaths(): string[] {
  const { XDG_CONFIG_HOME, HOME } = process.env;
  const paths = ["/etc/runts/config.toml"];
  if (XDG_CONFIG_HOME?.startsWith("/")) paths.push(join(XDG_CONFIG_HOME, "runts/config.toml"));
  else if (HOME?.startsWith("/")) paths.push(join(HOME, ".config/runts/config.toml"));
  return paths;
}

function merge(base: Config, over: Config): Config {
  return {
    flags: { ...base.flags, ...over.flags },
    directories: [...new Set([...base.directories, ...over.directories])],
    enable: [...new Set([...base.enable, ...over.enable])],
    disable: [...new Set([...base.disable, ...over.disable])],
    options: { ...base.options, ...over.options },
    network: {
      egress: over.network.egress ?? base.network.egress,
      // One file's refusals are not lifted by the other.
      deny: [base.network.deny, over.network.deny].filter((text) => text !== null).join(",") || null,
      publish: over.network.publish ?? base.network.publish,
    },
    where(path) {
      const inOver = over.where(path);
      return inOver === path.join(".") ? base.where(path) : inOver;
    },
  };
}

async function readOne(path: string): Promise<Config> {
  const [{ parse, TomlError }, v, { checkMessage }, { whyNotTrusted }] = await Promise.all([
    import("smol-toml"),
    import("valibot"),
    import("./check.ts"),
    import("./owner-only.ts"),
  ]);
  const untrusted = whyNotTrusted(path);
  if (untrusted !== null) throw new RuntimeError("invalid-config", `refusing ${path}: ${untrusted}`, { path });
  const text = readFileSync(path, "utf8");
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    const at = cause instanceof TomlError ? `${path}:${cause.line}` : path;
    const [what] = cause instanceof Error ? cause.message.split("\n") : ["not valid TOML"];
    throw new RuntimeError("invalid-config", `${at}: ${what}`, { path });
  }
  const where = (keys: readonly string[]) => {
    const line = lineOf(text, keys);
    return line === 0 ? keys.join(".") : `${path}:${line}: ${keys.join(".")}`;
  };
  const names = v.optional(v.array(v.string()), []);
  const texts = v.optional(
    v.nullable(
      v.union([
        v.string(),
        v.pipe(
          v.array(v.string()),
          v.transform((list) => list.join(",")),
        ),
      ]),
    ),
    null,
  );
  const schema = v.strictObject({
    flags: v.optional(v.record(v.string(), v.unknown()), {}),
    plugins: v.optional(v.strictObject({ directories: names, enable: names, disable: names }), {}),
    network: v.optional(v.strictObject({ egress: texts, deny: texts, publish: texts }), {}),
    plugin: v.optional(v.record(v.string(), v.record(v.string(), v.unknown())), {}),
  });
  const result = v.safeParse(schema, value);
  if (!result.success) {
    const issue = result.issues[0];
    const keys = issue.path?.map((each) => String(each.key)) ?? [];
    const message =
      issue.type === "strict_object" && issue.expected === "never"
        ? `unknown key "${keys.join(".")}"`
        : checkMessage(result.issues);
    const line = lineOf(text, keys);
    throw new RuntimeError("invalid-config", `${path}${line === 0 ? "" : `:${line}`}: ${message}`, { path });
  }
  const { flags, plugins, plugin, network } = result.output;
  if (Object.values(network).some((text) => text !== null)) {
    const { checkNetworkConfig } = await import("./network.ts");
    checkNetworkConfig(network, (key) => where(["network", key]));
  }
  return {
    flags,
    directories: plugins.directories.map((each) => resolve(dirname(path), each)),
    enable: plugins.enable,
    disable: plugins.disable,
    options: plugin,
    network,
    where,
  };
}

/** Line of a key, counted from 1; of the longest part of the path that can be found; 0 when there is none. */
export function lineOf(text: string, keys: readonly string[]): number {
  const wanted = keys.join(".");
  let table = "";
  let best = 0;
  let bestLength = 0;
  for (const [i, line] of text.split("\n").entries()) {
    const header = /^\s*\[\[?([^\]]+)\]\]?/.exec(line);
    const key = /^\s*([\w."'-]+)\s*=/.exec(line);
    let here: string;
    if (header !== null) here = table = plain(header[1]!);
    else if (key !== null) here = table === "" ? plain(key[1]!) : `${table}.${plain(key[1]!)}`;
    else continue;
    if ((wanted === here || wanted.startsWith(`${here}.`)) && here.length > bestLength) {
      best = i + 1;
      bestLength = here.length;
    }
  }
  return best;
}

const plain = (key: string): string => key.replaceAll(/["'\s]/g, "");
