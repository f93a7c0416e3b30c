/**
 * The state directory: ROOT/ID/meta.json (0640) in a directory of mode 0711.
 *
 * Invariants, so that a `kill -9` of any command at any moment leaves what the next one understands:
 * - a container's directory appears whole (made as ROOT/@new-…, locked, filled, then renamed into place) and disappears
 *   whole (renamed to ROOT/@old-…, then removed). "@" is in no id; leftovers are removed by the next create or list.
 * - meta.json is replaced by rename. Readers need no lock and never see a torn file. It is not synced: after a crash of
 *   the host no container is left that it could tell of.
 * - who changes a container holds flock on its *directory*. The kernel drops it with the process; after it was got, the
 *   path is compared with what was locked, since the container may have been deleted (and made anew) meanwhile.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { isErrno, MESSAGES, RuntimeError } from "../errors.ts";
import type { HostCalls } from "../host-calls.ts";
import type { ContainerStatus } from "../plugin.ts";
import type { ProcessRef } from "../sandbox.ts";
import type { Spec } from "../spec/schema.ts";

/**
 * Of what is written now, and of what can be read. 1: the container has a sandbox that takes no others. Those of containers
 * that were made by an older version of this program can be looked at, ended and deleted.
 */
export const FORMAT = 2;
const FORMATS: readonly unknown[] = [1, FORMAT];
/** Longest id: it must be a file name, with room for the prefixes above. */
const ID_MAX = 200;
const LOCK_TIMEOUT_MS = 20_000;

/** What is kept of a container. */
export interface Metadata {
  format: 1 | typeof FORMAT;
  id: string;
  /** As last written; what it is now also depends on whether `process` lives, see currentStatus. */
  status: ContainerStatus;
  /** What `resume` goes back to. */
  pausedFrom?: ContainerStatus;
  bundle: string;
  spec: Spec;
  /** RFC 3339 with a fraction. */
  created: string;
  owner: string;
  /** Id of the container whose sandbox this one lives in: its own for the first. */
  sandboxId: string;
  sandbox: ProcessRef | null;
  /** The host process that lives and ends as the container does: the sandbox itself, or a waiter. */
  process: ProcessRef | null;
  /** Host cgroup directories made for it. */
  cgroups: string[];
  platform: string;
  network: string;
  /** Writes stay in memory (`--overlay`). */
  overlay?: "memory";
  /** It is what an image says; its start lets it go on. */
  restored?: true;
}

export function checkId(id: string): void {
  if (!/^[\w+\-.]+$/.test(id) || id === "." || id === "..")
    throw new RuntimeError("invalid-id", `${MESSAGES.invalidId}: "${id.slice(0, 64)}"`, { id });
  if (id.length > ID_MAX)
    throw new RuntimeError("invalid-id", `${MESSAGES.invalidId}: longer than ${ID_MAX} characters`, { id });
}

export class Store {
  constructor(
    readonly root: string,
    private readonly host: Pick<HostCalls, "flock">,
    private readonly lockTimeoutMs = LOCK_TIMEOUT_MS,
  ) {}

  directory(id: string): string {
    return join(this.root, id);
  }

  /** Makes a container's directory and returns it locked. */
  create(metadata: Metadata): LockedContainer {
    checkId(metadata.id);
    mkdirSync(this.root, { recursive: true, mode: 0o711 });
    this.removeLeftovers();
    const path = this.directory(metadata.id);
    if (statOrNull(path) !== null) throw alreadyExists(metadata.id);
    const fresh = join(this.root, `@new-${metadata.id}-${process.pid}-${Bun.nanoseconds()}`);
    mkdirSync(fresh, { mode: 0o711 });
    const fd = openDirectory(fresh);
    try {
      // mkdir's mode is subject to the umask.
      fchmodSync(fd, 0o711);
      const locked = this.host.flock(fd, false);
      if (locked < 0) throw new RuntimeError("host", `cannot lock ${fresh} (errno ${-locked})`, { path: fresh });
      writeMetadata(fresh, metadata);
      renameSync(fresh, path);
    } catch (error) {
      rmSync(fresh, { recursive: true, force: true });
      closeSync(fd);
      if (isErrno(error, "ENOTEMPTY", "EEXIST")) throw alreadyExists(metadata.id);
      throw error;
    }
    return new LockedContainer(this, metadata, fd);
  }

  /** The id that `text` names: exactly, or as the only one that starts with it. */
  resolve(text: string): string {
    checkId(text);
    if (statOrNull(this.directory(text))?.isDirectory()) return text;
    const matches = this.ids().filter((id) => id.startsWith(text));
    if (matches.length > 1)
      throw new RuntimeError("ambiguous-id", `"${text}" names several containers: ${matches.join(", ")}`, { id: text });
    if (matches.length === 0) throw notFound(text);
    return matches[0]!;
  }

  /** Reads without a lock: whole, but maybe out of date in a moment. `id` must be exact. */
  read(id: string): Metadata {
    const path = join(this.directory(id), "meta.json");
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (cause) {
      if (isErrno(cause, "ENOENT") && statOrNull(this.directory(id)) === null) throw notFound(id);
      throw new RuntimeError("corrupt-state", `cannot read the state of container ${id}`, { id, path, cause });
    }
    return parseMetadata(text, id, path);
  }

  /** Ids in alphabetical order. A root that does not exist holds none. */
  ids(): string[] {
    try {
      return readdirSync(this.root, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && /^[\w+\-.]+$/.test(entry.name))
        .map((entry) => entry.name)
        .sort();
    } catch (error) {
      if (isErrno(error, "ENOENT")) return [];
      throw error;
    }
  }

  /** The other containers that live in the sandbox of this one. Those that cannot be read are left out. */
  joiners(sandboxId: string): Metadata[] {
    return this.ids().flatMap((id) => {
      try {
        const metadata = id === sandboxId ? null : this.read(id);
        return metadata?.sandboxId === sandboxId ? [metadata] : [];
      } catch {
        return [];
      }
    });
  }

  /** Waits for the lock of a container, then reads it. `onBusy` is called again and again while another has it. */
  async lock(id: string, onBusy?: () => void): Promise<LockedContainer> {
    const fd = await this.lockDirectory(id, onBusy);
    try {
      return new LockedContainer(this, this.read(id), fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The lock alone, for a container whose metadata cannot be read. */
  async lockDirectory(id: string, onBusy?: () => void): Promise<number> {
    const path = this.directory(id);
    const deadline = Date.now() + this.lockTimeoutMs;
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      const fd = openDirectoryOf(path, id);
      const locked = this.host.flock(fd, false);
      if (locked >= 0) {
        const now = statOrNull(path);
        const held = fstatSync(fd);
        if (now !== null && now.ino === held.ino && now.dev === held.dev) return fd;
        // Deleted (and perhaps made anew) while we waited.
        closeSync(fd);
        continue;
      }
      const holder = lockHolder(fd);
      closeSync(fd);
      onBusy?.();
      if (Date.now() >= deadline)
        throw new RuntimeError("busy", `container ${id} is busy: ${holder} is working on it`, { id });
      await Bun.sleep(pause);
    }
  }

  /** True if no command holds the container's lock. */
  isUnlocked(id: string): boolean {
    try {
      const fd = openDirectory(this.directory(id));
      const free = this.host.flock(fd, false) >= 0;
      closeSync(fd);
      return free;
    } catch {
      return true;
    }
  }

  /** Takes away the container's directory: first its name, at once, then its contents. */
  removeDirectory(id: string): void {
    const gone = join(this.root, `@old-${id}-${process.pid}-${Bun.nanoseconds()}`);
    try {
      renameSync(this.directory(id), gone);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      throw error;
    }
    rmSync(gone, { recursive: true, force: true });
  }

  /** What commands that were killed have left: directories without a name of their own that nobody has locked. */
  removeLeftovers(): void {
    for (const name of readdirSync(this.root)) {
      if (!name.startsWith("@")) continue;
      const path = join(this.root, name);
      try {
        // A directory that is being made is not locked for a moment: leave young ones alone.
        if (Date.now() - statSync(path).ctimeMs < 5000) continue;
        const fd = openDirectory(path);
        if (this.host.flock(fd, false) >= 0) rmSync(path, { recursive: true, force: true });
        closeSync(fd);
      } catch (error) {
        if (!isErrno(error, "ENOENT")) throw error;
      }
    }
  }
}

/** A container that this process alone may change. */
export class LockedContainer {
  private open = true;
  constructor(
    private readonly store: Store,
    readonly metadata: Metadata,
    private readonly fd: number,
  ) {}

  get directory(): string {
    return this.store.directory(this.metadata.id);
  }

  save(): void {
    writeMetadata(this.directory, this.metadata);
  }

  remove(): void {
    this.store.removeDirectory(this.metadata.id);
  }

  unlock(): void {
    if (this.open) closeSync(this.fd);
    this.open = false;
  }
}

function writeMetadata(directory: string, metadata: Metadata): void {
  const temporary = join(directory, `.meta.json.${process.pid}`);
  const fd = openSync(temporary, "w", 0o640);
  try {
    fchmodSync(fd, 0o640);
    const bytes = Buffer.from(JSON.stringify(metadata));
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, join(directory, "meta.json"));
}

function parseMetadata(text: string, id: string, path: string): Metadata {
  const corrupt = (what: string, cause?: unknown) =>
    new RuntimeError("corrupt-state", `the state of container ${id} is corrupt: ${path}: ${what}`, { id, path, cause });
  let value: Partial<Metadata> | null;
  try {
    value = JSON.parse(text) as Partial<Metadata> | null;
  } catch (cause) {
    throw corrupt("not valid JSON", cause);
  }
  if (typeof value !== "object" || value === null) throw corrupt("expected an object");
  if (!FORMATS.includes(value.format)) throw corrupt(`format ${value.format} is not ${FORMAT}`);
  if (value.id !== id) throw corrupt(`it is that of ${value.id}`);
  for (const name of ["status", "bundle", "created", "owner", "sandboxId", "platform", "network"] as const)
    if (typeof value[name] !== "string") throw corrupt(`${name}: expected string`);
  if (typeof value.spec !== "object" || value.spec === null) throw corrupt("spec: expected object");
  if (!Array.isArray(value.cgroups)) throw corrupt("cgroups: expected array");
  for (const name of ["sandbox", "process"] as const) {
    const ref = value[name];
    if (ref !== null && (typeof ref?.pid !== "number" || typeof ref.startTime !== "number"))
      throw corrupt(`${name}: expected pid and startTime`);
  }
  return value as Metadata;
}

function openDirectory(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}
function openDirectoryOf(path: string, id: string): number {
  try {
    return openDirectory(path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) throw notFound(id);
    throw error;
  }
}

function statOrNull(path: string): { ino: number; dev: number; isDirectory(): boolean } | null {
  try {
    return statSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return null;
    throw error;
  }
}

/** "process 123 (runts create …)", from /proc/locks. */
function lockHolder(fd: number): string {
  try {
    const { ino } = fstatSync(fd);
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const [, kind, , , pid, file] = line.trim().split(/\s+/);
      if (kind !== "FLOCK" || !file?.endsWith(`:${ino}`)) continue;
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").filter(Boolean);
      return `process ${pid} (${words.join(" ").slice(0, 120)})`;
    }
  } catch {
    // Only for the message.
  }
  return "another command";
}

export function notFound(id: string): RuntimeError {
  return new RuntimeError("not-found", MESSAGES.notFound, { id });
}
function alreadyExists(id: string): RuntimeError {
  return new RuntimeError("already-exists", MESSAGES.alreadyExists, { id });
}
