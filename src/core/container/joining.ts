/**
 * Which sandbox a container joins, and what it shares there with which container.
 *
 * Who joins is said by plugins (`sandbox:find`); here it is seen to that the sandbox can be joined. What is shared is said
 * by the spec's linux.namespaces, as for namespaces of the host: the path of a container's namespace is shared with that
 * container, a namespace without a path is its own, and one that is not named is what is there already, the sandbox's.
 * A path is /proc/PID/ns/KIND of a container's host process, or a file on which somebody holds a namespace open (CRI-O):
 * the one that the pod was made with.
 */
import { readlinkSync, statSync } from "node:fs";
import type { CommandContext } from "../command.ts";
import { RuntimeError } from "../errors.ts";
import type { ContainerView } from "../plugin.ts";
import type { ContainerOptions } from "../sandbox.ts";
import { wantedSandbox } from "../spec/cri.ts";
import { sandboxNamespaces } from "../spec/sandbox-part.ts";
import type { Namespace, Spec } from "../spec/schema.ts";
import { isAlive } from "./process-ref.ts";
import { FORMAT, type Metadata, type Store } from "./store.ts";

export type Share = ContainerOptions["share"];
export const SHARES_NOTHING: Share = { pid: null, ipc: null, uts: null };
const SHARED_KINDS = ["pid", "ipc", "uts"] as const;

/** Where a container goes. */
export interface Place {
  /** The container that the sandbox was made for. */
  sandbox: Metadata;
  share: Share;
}

type Finding = Pick<CommandContext, "globals" | "log" | "plugins">;

/** The sandbox that a container joins; null when it gets one of its own. */
export async function findPlace(
  { globals, log, plugins }: Finding,
  store: Store,
  container: ContainerView,
  lookUp: (id: string) => ContainerView | null,
): Promise<Place | null> {
  const { spec } = container;
  const found = await plugins.first("sandbox:find", { container, lookUp });
  if (found === undefined) {
    const wanted = wantedSandbox(spec);
    if (wanted !== null) log.warn(`no plugin can join the sandbox ${wanted}: the container gets a sandbox of its own`);
    warnOfForeign(spec, log);
    return null;
  }
  const refuse = (reason: string, cause?: unknown) =>
    new RuntimeError("wrong-state", `cannot join the sandbox ${found.id}: ${reason}`, { id: container.id, cause });
  if (found.id === container.id) throw refuse("it is the container itself");
  const view = lookUp(found.id);
  if (view === null) throw refuse("it does not exist");
  const sandbox = store.read(found.id);
  if (sandbox.sandboxId !== sandbox.id) throw refuse(`that container lives in the sandbox ${sandbox.sandboxId} itself`);
  if (sandbox.format !== FORMAT)
    throw refuse("it was made by an older version of runts, whose sandboxes hold one container");
  if (view.status === "creating") throw refuse("it is still being made");
  if (view.status === "stopped" || sandbox.sandbox === null) throw refuse("it has stopped");
  const asked = globals.platform;
  if (asked !== undefined && asked !== "" && asked !== sandbox.platform)
    throw refuse(`it runs on the platform ${sandbox.platform}, and ${asked} is asked for`);

  const pod = new Pod(sandbox, () => store.joiners(sandbox.id), refuse);
  const network = spec.linux?.namespaces?.find(({ type }) => type === "network");
  if (network?.path && !pod.hasNetwork(network.path)) {
    log.warn(
      `the containers of a sandbox share its network, and ${network.path} is not that of ${sandbox.id}: the container gets a sandbox of its own`,
    );
    warnOfForeign(spec, log);
    return null;
  }
  if (network !== undefined && !network.path)
    log.warn(`the network is that of the sandbox ${sandbox.id}, not one of its own`);
  if (mapsOtherwise(spec, sandbox.spec))
    log.warn(
      `user and group ids are mapped as in the sandbox ${sandbox.id}, not as linux.uidMappings and linux.gidMappings say`,
    );
  return { sandbox, share: { ...pod.shareOf(spec), ...found.share } };
}

/** A path in linux.namespaces that leads out of the sandbox. */
function warnOfForeign(spec: Spec, log: Finding["log"]): void {
  for (const [i, { type, path }] of (spec.linux?.namespaces ?? []).entries())
    if (path && isShared(type))
      log.warn(`linux.namespaces.${i}: a guest kernel cannot join the host's ${type} namespace, it has its own`);
}

const isShared = (type: string): type is (typeof SHARED_KINDS)[number] =>
  (SHARED_KINDS as readonly string[]).includes(type);

/** A namespace by a path asks for nothing: it is the sandbox's, as for all that is in it. */
function mapsOtherwise(spec: Spec, sandbox: Spec): boolean {
  const wanted = sandboxNamespaces(spec, "");
  if (wanted.uidMappings.length + wanted.gidMappings.length === 0) return false;
  const there = sandboxNamespaces(sandbox, "");
  const text = (of: typeof wanted) => JSON.stringify([of.uidMappings, of.gidMappings]);
  return text(wanted) !== text(there);
}

/** The containers of one sandbox, by their namespaces. */
class Pod {
  constructor(
    private readonly sandbox: Metadata,
    /** The others; looked up when needed. */
    private readonly joiners: () => readonly Metadata[],
    private readonly refuse: (reason: string, cause?: unknown) => RuntimeError,
  ) {}

  shareOf(spec: Spec): Share {
    const share: Share = { ...SHARES_NOTHING };
    for (const kind of SHARED_KINDS) {
      const namespace = spec.linux?.namespaces?.find(({ type }) => type === kind);
      if (namespace === undefined) share[kind] = this.sandbox.id;
      else if (namespace.path) share[kind] = this.ownerOf(namespace.type, namespace.path);
    }
    return share;
  }

  /** The container that a namespace belongs to. */
  private ownerOf(type: Namespace["type"], path: string): string {
    const pid = pidIn(path);
    if (pid !== null) {
      const member = this.memberOf(pid);
      if (member !== undefined) return member.id;
      throw this.refuse(`the ${type} namespace ${path} is that of none of its containers`);
    }
    const there = namespaceFile(path);
    if (there === null) throw this.refuse(`there is no ${type} namespace ${path}`);
    // What the pod was made with was given to its first container, too.
    const first = this.sandbox.spec.linux?.namespaces?.find((each) => each.type === type)?.path;
    if (first && first !== path && namespaceFile(first) !== there)
      throw this.refuse(`the ${type} namespace ${path} is not that of the sandbox, which is ${first}`);
    return this.sandbox.id;
  }

  /** Whether a path is that of the network that the sandbox is in, or was told to be in. */
  hasNetwork(path: string): boolean {
    const pid = pidIn(path);
    if (pid !== null && this.memberOf(pid) !== undefined) return true;
    const first = this.sandbox.spec.linux?.namespaces?.find(({ type }) => type === "network")?.path;
    if (path === first) return true;
    const there = namespaceFile(path);
    const own = `/proc/${this.sandbox.sandbox!.pid}/ns/net`;
    return there !== null && (there === namespaceFile(own) || (!!first && there === namespaceFile(first)));
  }

  /** The container that a host process stands for. */
  private memberOf(pid: number): Metadata | undefined {
    const has = ({ process: ref }: Metadata) => ref?.pid === pid && isAlive(ref);
    return has(this.sandbox) ? this.sandbox : this.joiners().find(has);
  }
}

/** PID of /proc/PID/ns/KIND. */
function pidIn(path: string): number | null {
  const match = /^\/proc\/(\d+)\/ns\/\w+$/.exec(path);
  return match === null ? null : Number(match[1]);
}

/** The inode number of a namespace that a path leads to; null when there is none, or when it is none. */
function namespaceFile(path: string): number | null {
  try {
    const { dev, ino } = statSync(path);
    return dev === statSync("/proc/self/ns/net").dev ? ino : null;
  } catch {
    // What may not be looked at may still be read as a link.
    try {
      return Number(/^\w+:\[(\d+)\]$/.exec(readlinkSync(path))?.[1] ?? Number.NaN) || null;
    } catch {
      return null;
    }
  }
}
