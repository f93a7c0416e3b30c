/**
 * Which network a container reaches, and by which rules: what `--network`, its spec, its annotations, the configuration file
 * and the flags of `do` say together. What rules look like: egress.ts.
 *
 * A container without rules reaches everything in its network namespace, as with runc; a single program reaches nothing unless
 * it is allowed to. The host's own loopback, and addresses where clouds keep secrets, are never reached by "everything".
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import { encodeEgress, parseEgress, parsePublications, parseResolvers } from "./egress.ts";
import { describe, RuntimeError } from "./errors.ts";
import { usage } from "./flags.ts";
import type { Globals } from "./global-flags.ts";
import type { OutsideNetwork, SandboxOptions } from "./sandbox.ts";
import type { Spec } from "./spec/schema.ts";

export type NetworkChoice = Pick<SandboxOptions, "network" | "outside">;

/** `[network]` of the configuration file; null: it says nothing. */
export interface NetworkConfig {
  readonly egress: string | null;
  readonly deny: string | null;
  readonly publish: string | null;
}
export const NO_NETWORK_CONFIG: NetworkConfig = { egress: null, deny: null, publish: null };

const EGRESS = "dev.runts.egress";
const DENY = "dev.runts.deny";
const PUBLISH = "dev.runts.publish";
const ANNOTATIONS = [EGRESS, DENY, PUBLISH] as const;
/** What a container reaches that says nothing about it. */
const EVERYTHING = "all,raw";
const RESOLV_CONF = "/etc/resolv.conf";
const RESOLV_CONF_MAX = 65536;

/** That of a container with a sandbox of its own. */
export function containerNetwork(globals: Globals, spec: Spec, config: NetworkConfig): NetworkChoice {
  const { annotations = {} } = spec;
  const network = kindOf(globals, spec);
  const asked = ANNOTATIONS.some((name) => annotations[name] !== undefined);
  const required = asked || Object.values(config).some((text) => text !== null);
  const outside: OutsideNetwork = {
    egress: annotations[EGRESS] ?? config.egress ?? EVERYTHING,
    // What the host's owner refuses, no annotation allows.
    deny: joined([config.deny, annotations[DENY]]),
    publish: annotations[PUBLISH] ?? config.publish,
    resolvers: readResolvers(resolvConfOf(spec)),
    shared: network === "host",
    required,
  };
  // Also where nothing is reached: what is wrong with them is said at once.
  for (const name of ANNOTATIONS) if (annotations[name] !== undefined) checkAnnotation(name, annotations[name]);
  return network === "none" ? { network, outside: null } : { network, outside };
}

/** Without a network namespace in its spec it is the caller's, as with runc. */
function kindOf({ network }: Globals, spec: Spec): SandboxOptions["network"] {
  if (network !== "sandbox") return network as SandboxOptions["network"];
  const own = spec.linux?.namespaces?.find(({ type }) => type === "network");
  if (own === undefined) return "host";
  return own.path && isOurs(own.path) ? "host" : "sandbox";
}

/** Docker names the host's own namespace by a path. */
function isOurs(path: string): boolean {
  try {
    const [there, here] = [statSync(path), statSync("/proc/self/ns/net")];
    return there.ino === here.ino && there.dev === here.dev;
  } catch {
    // That it is not there is said by who opens it.
    return false;
  }
}

/** A container that joins a sandbox has that one's network: rules of its own would mean nothing. */
export function checkJoinerRules(id: string, joiner: Spec, sandboxId: string, sandbox: Spec): void {
  for (const name of ANNOTATIONS) {
    const own = joiner.annotations?.[name];
    if (own === undefined) continue;
    const there = sandbox.annotations?.[name];
    if (there !== undefined && there.trim() === own.trim()) continue;
    throw new RuntimeError(
      "invalid-spec",
      `annotations.${name}: "${own}" is not what the sandbox ${sandboxId} was made with (${there === undefined ? "nothing" : `"${there}"`}): the containers of a sandbox share its network and its rules`,
      { id },
    );
  }
}

/** Flags of `do`. */
export interface NetworkFlags {
  allowNet: string | true | undefined;
  denyNet: string[];
  publish: string[];
}

/** That of a single program: nothing, or what it is allowed of the caller's. */
export function programNetwork(
  { network }: Globals,
  { allowNet, denyNet, publish }: NetworkFlags,
  config: NetworkConfig,
): NetworkChoice {
  const allowed = allowNet !== undefined || network === "host";
  if (!allowed && denyNet.length > 0)
    throw usage("runts do", "flag --deny-net: nothing is allowed without --allow-net");
  if (!allowed && publish.length === 0) return { network: "none", outside: null };
  if (network === "none")
    throw usage("runts do", `flag --${allowNet === undefined ? "publish" : "allow-net"}: --network is none`);
  checkFlag("allow-net", () => parseEgress(typeof allowNet === "string" ? allowNet : ""));
  checkFlag("deny-net", () => parseEgress("", joined(denyNet) ?? ""));
  checkFlag("publish", () => parsePublications(publish.join(",")));
  return {
    network: "host",
    outside: {
      egress: allowed ? (typeof allowNet === "string" ? allowNet : (config.egress ?? "all")) : "",
      deny: joined([config.deny, ...denyNet]),
      publish: publish.join(","),
      resolvers: readResolvers(RESOLV_CONF),
      shared: true,
      required: true,
    },
  };
}

/** For the broker. */
export function encodeRules({ egress, deny, publish, resolvers, shared }: OutsideNetwork): Uint8Array {
  return encodeEgress({
    egress: parseEgress(egress, deny ?? ""),
    resolvers: parseResolvers(resolvers.map((server) => `nameserver ${server}`).join("\n")),
    publications: publish === null ? null : parsePublications(publish),
    shared,
  });
}

/** Throws when a value of the configuration file cannot be read. */
export function checkNetworkConfig({ egress, deny, publish }: NetworkConfig, where: (key: string) => string): void {
  const check = (key: string, read: () => unknown) => {
    try {
      read();
    } catch (error) {
      throw new RuntimeError("invalid-config", `${where(key)}: ${reason(error)}`);
    }
  };
  check("egress", () => parseEgress(egress ?? ""));
  check("deny", () => parseEgress("", deny ?? ""));
  check("publish", () => parsePublications(publish ?? ""));
}

function checkAnnotation(name: (typeof ANNOTATIONS)[number], text: string): void {
  try {
    if (name === PUBLISH) parsePublications(text);
    else if (name === DENY) parseEgress("", text);
    else parseEgress(text);
  } catch (error) {
    throw new RuntimeError("invalid-spec", `annotations.${name}: ${reason(error)}`);
  }
}

function checkFlag(name: string, read: () => unknown): void {
  try {
    read();
  } catch (error) {
    throw usage("runts do", `flag --${name}: ${reason(error)}`);
  }
}

const reason = (error: unknown): string => (error instanceof RuntimeError ? error.message : describe(error));

function joined(texts: readonly (string | null | undefined)[]): string | null {
  const there = texts.filter((text) => text !== null && text !== undefined && text.trim() !== "");
  return there.length === 0 ? null : there.join(",");
}

/**
 * The resolv.conf that a container has, as far as its caller gave it one: an image's own is a stranger's word, and who is named
 * there may always be asked.
 */
function resolvConfOf(spec: Spec): string {
  const mount = spec.mounts?.findLast(({ destination }) => destination === RESOLV_CONF);
  return mount?.source ?? RESOLV_CONF;
}

/** The name servers of a file; none when it cannot be read. */
function readResolvers(path: string): string[] {
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) return [];
    const bytes = Buffer.alloc(RESOLV_CONF_MAX);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes, 0, bytes.length, 0));
    return [...text.matchAll(/^\s*nameserver\s+([^\s#;]+)/gm)].map((match) => match[1]!);
  } catch {
    return [];
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
