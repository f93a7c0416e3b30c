/**
 * Files that an image holds itself: those of tmpfs, and what an overlay keeps above its lower tree, which is the host's. A
 * name that an overlay has taken away is an empty file ".wh.NAME", as in layers of container images.
 */
import { encodeName } from "../../kernel/abi/bytes.ts";
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG } from "../../kernel/abi/stat.ts";
import { dataExtents } from "../../native/extents.ts";
import { pread } from "../../native/host.ts";
import { type Line, ObjectTable } from "./objects.ts";

const TYPES: ReadonlySet<string> = new Set([
  "tmpfs",
  "devfs",
  "tmpfs-node",
  "memory-content",
  "overlay-fs",
  "overlay-node",
  "mount",
  "mount-table",
  "dentry",
  "map",
  "set",
]);
/** File systems whose files are in an image. */
const KEEP_FILES: ReadonlySet<string> = new Set(["tmpfs", "devfs", "overlay-fs"]);
const CHUNK = 65536;
const DEPTH_MAX = 1024;
const WHITEOUT = ".wh.";

export interface SavedFile {
  /** Below the root of the files, without a slash at its beginning. */
  path: Uint8Array;
  /** Type and permissions. */
  mode: number;
  uid: number;
  gid: number;
  mtimeSec: number;
  size: number;
  /** Of a symbolic link. */
  target: Uint8Array;
  device: number;
  /** Number of the object that it is; the same for its other names. */
  node: number;
  /** What a regular file holds, and where, in order; all else in it is zero. */
  data(): Generator<[number, Buffer]>;
}

/** All bytes of a file, in order. */
export function* contentsOf(file: SavedFile): Generator<Buffer> {
  let done = 0;
  const zeros = function* (to: number) {
    for (; done < to; done += Math.min(CHUNK, to - done)) yield Buffer.alloc(Math.min(CHUNK, to - done));
  };
  for (const [offset, bytes] of file.data()) {
    yield* zeros(offset);
    yield bytes;
    done = offset + bytes.length;
  }
  yield* zeros(file.size);
}

export class SavedFiles {
  private readonly table: ObjectTable;

  constructor(
    objects: number,
    private readonly pages: number,
  ) {
    this.table = ObjectTable.read(objects, TYPES);
  }

  /** Of every mounted file system that is in memory, or above another; each once. */
  *all(): Generator<SavedFile> {
    this.visited.clear();
    const seen = new Set<number>();
    for (const { fs, path } of this.mounted()) {
      if (seen.has(fs.id)) continue;
      seen.add(fs.id);
      const root = this.table.at(fs["root"]);
      if (root === null) continue;
      if (fs.type === "overlay-fs") yield* this.overlay(root, path, 0);
      // Every /dev has the same devices.
      else for (const file of this.tmpfs(root, path, 0)) if (fs.type !== "devfs" || !isDevice(file)) yield file;
    }
  }

  /** File systems that keep files in the image, and where they are mounted. */
  private *mounted(): Generator<{ fs: Line; path: string }> {
    const mounts = [...this.table.ofType("mount-table")].flatMap((table) =>
      this.table.items(this.table.at(table["all"])).map((each) => this.table.at(each)),
    );
    const tops = new Map<number, number>();
    for (const mount of mounts) {
      const fs = this.table.at(mount?.["fs"]);
      if (mount === null || fs === null || !KEEP_FILES.has(fs.type)) continue;
      const place = this.placeOf(mount);
      if (place === null) continue;
      // Trees of several containers: by their number, in the order of their coming.
      const number = tops.get(place.top) ?? tops.size;
      tops.set(place.top, number);
      yield { fs, path: number === 0 ? place.path : `/.root-${number}${place.path}` };
    }
  }

  private placeOf(mount: Line): { top: number; path: string } | null {
    let path = "";
    let at: Line = mount;
    for (let depth = 0; depth < DEPTH_MAX; depth++) {
      const parent = this.table.at(at["parent"]);
      if (parent === null) return { top: at.id, path };
      for (let dentry = this.table.at(at["mountpoint"]); dentry !== null; ) {
        const above = this.table.at(dentry["parent"]);
        if (above === null || above.id === dentry.id || depth++ > DEPTH_MAX) break;
        path = `/${String(dentry["name"])}${path}`;
        dentry = above;
      }
      at = parent;
    }
    return null;
  }

  /** Directories that have been gone through: an image may have rings of them. */
  private readonly visited = new Set<number>();

  private *tmpfs(node: Line, path: string, depth: number): Generator<SavedFile> {
    if (depth > DEPTH_MAX) return;
    if (path !== "") yield this.file(node, path);
    if (this.visited.has(node.id)) return;
    if (node["entries"] !== null) this.visited.add(node.id);
    // Name, node and cookie of each.
    const entries = listOf(node["entries"]);
    for (let i = 0; i + 1 < entries.length; i += 3) {
      const [name, child] = [entries[i], this.table.at(entries[i + 1])];
      if (child !== null && isName(name)) yield* this.tmpfs(child, `${path}/${name}`, depth + 1);
    }
  }

  private *overlay(node: Line, path: string, depth: number): Generator<SavedFile> {
    if (depth > DEPTH_MAX) return;
    const upper = this.table.at(node["upper"]);
    const isDirectory = ((upper?.["mode"] as number) & S_IFMT) === S_IFDIR;
    if (path !== "" && upper !== null && (isDirectory || node["dataInUpper"] === true)) yield this.file(upper, path);
    if (this.visited.has(node.id)) return;
    if (node["entries"] !== null) this.visited.add(node.id);
    for (const [name, entry] of this.table.entries(this.table.at(node["entries"]))) {
      if (!isName(name)) continue;
      const child = this.table.at(entry);
      if (child !== null) yield* this.overlay(child, `${path}/${name}`, depth + 1);
      else if (entry === null) yield whiteout(`${path}/${WHITEOUT}${name}`);
    }
  }

  private file(node: Line, path: string): SavedFile {
    const number = (name: string) => (isCount(node[name]) ? node[name] : 0);
    const mode = number("mode");
    const content = this.table.at(node["content"]);
    const size = (mode & S_IFMT) === S_IFREG && isCount(content?.["size"]) ? content["size"] : 0;
    return {
      path: encodeName(path.slice(1)),
      mode,
      uid: number("uid"),
      gid: number("gid"),
      mtimeSec: number("mtimeSec"),
      size,
      target: encodeName(typeof node["target"] === "string" ? node["target"] : ""),
      device: number("rdev"),
      node: node.id,
      data: () => this.data(content, size),
    };
  }

  private *data(content: Line | null, size: number): Generator<[number, Buffer]> {
    const stored = content?.["fd"] as { at: unknown } | null | undefined;
    if (stored) {
      const start = stored.at;
      if (!isCount(start)) return;
      for (const [from, to] of dataExtents(this.pages, start, start + size))
        for (let at = from; at < to; at += CHUNK) {
          const bytes = Buffer.alloc(Math.min(CHUNK, to - at));
          pread(this.pages, bytes, bytes.length, at);
          yield [at - start, bytes];
        }
      return;
    }
    const chunks = new Map<number, unknown>([[0, content?.["first"]]]);
    for (const pair of listOf(content?.["rest"])) {
      const [index, chunk] = listOf(pair);
      if (isCount(index)) chunks.set(index, chunk);
    }
    for (const [index, chunk] of [...chunks].sort(([a], [b]) => a - b)) {
      const bytes = this.bytes(chunk);
      const length = Math.min(bytes?.length ?? 0, size - index * CHUNK, CHUNK);
      if (bytes !== null && length > 0) yield [index * CHUNK, bytes.subarray(0, length)];
    }
  }

  /** A chunk's, from its place in the line, or in the pages. */
  private bytes(chunk: unknown): Buffer | null {
    if (typeof chunk !== "object" || chunk === null) return null;
    const { length, base64, at } = chunk as Record<string, unknown>;
    if (typeof base64 === "string") return Buffer.from(base64, "base64");
    if (!isCount(length) || !isCount(at)) return null;
    const bytes = Buffer.alloc(Math.min(length, CHUNK));
    pread(this.pages, bytes, bytes.length, at);
    return bytes;
  }
}

const isDevice = ({ mode }: SavedFile): boolean => (mode & S_IFMT) === S_IFCHR;
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Names come from an image that may be a stranger's: what leads elsewhere is left out. */
const isName = (name: unknown): name is string =>
  typeof name === "string" && name !== "" && name !== "." && name !== ".." && !name.includes("/");

function whiteout(path: string): SavedFile {
  return {
    path: encodeName(path.slice(1)),
    mode: S_IFREG,
    uid: 0,
    gid: 0,
    mtimeSec: 0,
    size: 0,
    target: new Uint8Array(0),
    device: 0,
    node: 0,
    *data() {},
  };
}
