/** From the built-in list and the configuration file to a registry whose plugins are set up. */

import { readConfig } from "./config.ts";
import type { Log } from "./log.ts";
import type { Plugin } from "./plugin.ts";
import { type Candidate, Registry } from "./registry.ts";

export interface Loaded {
  registry: Registry;
  /** Values for global flags that were not given, by the names of their declarations. */
  defaults: Record<string, unknown>;
}

export async function loadPlugins(
  builtIns: readonly Plugin[],
  configPath: string | undefined,
  log: Log,
): Promise<Loaded> {
  const config = await readConfig(configPath);
  const registry = new Registry(log);
  const candidates: Candidate[] = builtIns
    .filter((plugin) => !config.disable.includes(plugin.name))
    .map((plugin) => ({ plugin, path: null, options: config.options[plugin.name] }));
  await registry.setUp(candidates);
  return { registry, defaults: config.flags };
}
