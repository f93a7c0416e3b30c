/**
 * A file system that lives in one JSON file of the host: objects are directories, strings are files, an array of one
 * base64 string is a file that is not UTF-8. What containers write goes back into the JSON file.
 *
 *   runts do --mount json:./tree.json:/data -- ls -lR /data
 *   { "type": "json", "source": "/srv/tree.json", "destination": "/data" }        in a bundle's config.json
 *
 * The sandbox process loses sight of the host's files when its jail closes, but keeps what is open. The factory is called
 * before that for each mount of the spec: it opens the file, and works on the descriptor from then on.
 * Changes are written when a written file is closed or synced, and at once for names; a crash of the host in the middle
 * of that can spoil the file. Two containers with the same file overwrite each other's changes.
 */
import { fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { definePlugin, errno, type FileSystem } from "runts";

type Tree = Map<string, Tree | Uint8Array>;
/** A file may grow to this. */
const FILE_MAX = 64 << 20;

export default definePlugin({
  name: "json-fs",
  description: "file systems that live in a JSON file",
  sandbox(kernel) {
    kernel.filesystem("json", (source, options) => {
      const readOnly = options.includes("frozen");
      let fd: number;
      try {
        fd = openSync(source, readOnly ? "r" : "r+");
      } catch (error) {
        kernel.log.error(`cannot open ${source}: ${(error as Error).message}`);
        return (error as { code?: string }).code === "EACCES" ? -errno.EACCES : -errno.ENOENT;
      }
      let root: Tree;
      try {
        root = fromJson(JSON.parse(readAll(fd))) as Tree;
        if (!(root instanceof Map)) throw new Error("expected an object at the top");
      } catch (error) {
        kernel.log.error(`${source}: ${(error as Error).message}`);
        return -errno.EINVAL;
      }
      const save = () => {
        const text = Buffer.from(`${JSON.stringify(toJson(root), null, 2)}\n`);
        for (let at = 0; at < text.length; ) at += writeSync(fd, text, at, text.length - at, at);
        ftruncateSync(fd, text.length);
        fsyncSync(fd);
      };
      return treeFileSystem(root, readOnly ? null : save);
    });
  },
});

/** `save` null: nothing can be changed. */
function treeFileSystem(root: Tree, save: (() => void) | null): FileSystem {
  const find = (path: string): Tree | Uint8Array | undefined => {
    let at: Tree | Uint8Array | undefined = root;
    for (const name of path.split("/").filter(Boolean)) at = at instanceof Map ? at.get(name) : undefined;
    return at;
  };
  const split = (path: string) => {
    const slash = path.lastIndexOf("/");
    return { directory: find(path.slice(0, slash)) as Tree, name: path.slice(slash + 1) };
  };
  /** Puts something under a name; undefined takes the name away. */
  const put = (path: string, node: Tree | Uint8Array | undefined): void => {
    const { directory, name } = split(path);
    if (node === undefined) directory.delete(name);
    else directory.set(name, node);
  };
  const file = (path: string) => {
    const found = find(path);
    return found instanceof Uint8Array ? found : undefined;
  };
  const reading: FileSystem = {
    attributes(path) {
      const node = find(path);
      if (node === undefined) return -errno.ENOENT;
      return node instanceof Map ? { kind: "directory", size: node.size } : { kind: "file", size: node.length };
    },
    list(path) {
      const node = find(path);
      return node instanceof Map ? [...node.keys()] : -errno.ENOTDIR;
    },
    read(path, offset, into) {
      const bytes = file(path);
      if (bytes === undefined) return -errno.ENOENT;
      const part = bytes.subarray(offset, offset + into.length);
      into.set(part);
      return part.length;
    },
  };
  if (save === null) return reading;

  /** Written, and not saved yet. */
  let dirty = false;
  const changed = (): number => {
    dirty = false;
    save();
    return 0;
  };
  const resize = (bytes: Uint8Array, size: number): Uint8Array => {
    const resized = new Uint8Array(size);
    resized.set(bytes.subarray(0, size));
    return resized;
  };
  return {
    ...reading,
    write(path, offset, from) {
      let bytes = file(path);
      if (bytes === undefined) return -errno.ENOENT;
      if (offset + from.length > FILE_MAX) return -errno.EFBIG;
      if (offset + from.length > bytes.length) bytes = resize(bytes, offset + from.length);
      bytes.set(from, offset);
      put(path, bytes);
      dirty = true;
      return from.length;
    },
    truncate(path, size) {
      const bytes = file(path);
      if (bytes === undefined) return -errno.ENOENT;
      if (size > FILE_MAX) return -errno.EFBIG;
      put(path, resize(bytes, size));
      return changed();
    },
    create(path) {
      put(path, new Uint8Array());
      return changed();
    },
    makeDirectory(path) {
      put(path, new Map());
      return changed();
    },
    remove(path) {
      put(path, undefined);
      return changed();
    },
    rename(from, to) {
      const node = find(from);
      put(from, undefined);
      put(to, node);
      return changed();
    },
    flush: () => (dirty ? changed() : 0),
  };
}

function readAll(fd: number): string {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  let at = 0;
  while (at < bytes.length) {
    const n = readSync(fd, bytes, at, bytes.length - at, at);
    if (n === 0) break;
    at += n;
  }
  return bytes.toString("utf8", 0, at);
}

function fromJson(value: unknown): Tree | Uint8Array {
  if (Array.isArray(value)) return Uint8Array.from(Buffer.from(String(value[0] ?? ""), "base64"));
  if (typeof value !== "object" || value === null) return Uint8Array.from(Buffer.from(String(value)));
  const tree: Tree = new Map();
  for (const [name, child] of Object.entries(value)) {
    if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0"))
      throw new Error(`${JSON.stringify(name)} cannot be the name of a file`);
    tree.set(name, fromJson(child));
  }
  return tree;
}

function toJson(node: Tree | Uint8Array): unknown {
  if (node instanceof Map) return Object.fromEntries([...node].map(([name, child]) => [name, toJson(child)]));
  const text = Buffer.from(node);
  const utf8 = text.toString("utf8");
  return Buffer.from(utf8).equals(text) ? utf8 : [text.toString("base64")];
}
