import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openat2 } from "../../../native/host.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { EEXIST, ENOENT, ENOMEM, ENOTEMPTY } from "../../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDWR, O_TRUNC } from "../../abi/fcntl.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import { worldOn } from "../../testing/file-world.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { Stat } from "../../vfs/inode.ts";
import { KernelIo } from "../../vfs/io.ts";
import { LISTED_MAX, Listed } from "../../vfs/listed.ts";
import { openAt, resolve } from "../../vfs/namei.ts";
import { makeDirectory, makeLink, makeSymlink, removeDirectory, removeFile, renameName } from "../../vfs/names.ts";
import { HostFs } from "../host/host-fs.ts";
import { Tmpfs } from "../tmpfs/tmpfs.ts";
import { OverlayFs } from "./overlay.ts";

const place = (task: Task, path: string): Path | number => resolve(task, AT_FDCWD, path, 0);
function stat(task: Task, path: string): Stat {
  const at = place(task, path);
  if (typeof at === "number") throw new Error(`${path}: ${at}`);
  return at.dentry.inode.getattr() as Stat;
}
function put(task: Task, path: string, text: string, flags = O_CREAT | O_TRUNC | O_RDWR, offset = 0): number {
  const file = openAt(task, AT_FDCWD, path, flags, 0o644);
  if (typeof file === "number") return file;
  const n = file.write(task, new KernelIo(Buffer.from(text)), offset);
  file.release();
  return n;
}
function contents(task: Task, file: File): string {
  const bytes = new Uint8Array(Math.max(0, file.size()));
  const n = file.read(task, new KernelIo(bytes), 0);
  return n < 0 ? `errno ${-n}` : Buffer.from(bytes.subarray(0, n)).toString();
}
function get(task: Task, path: string): string | number {
  const file = openAt(task, AT_FDCWD, path, 0, 0);
  if (typeof file === "number") return file;
  const text = contents(task, file);
  file.release();
  return text;
}
function list(task: Task, path: string): string[] | number {
  const file = openAt(task, AT_FDCWD, path, O_DIRECTORY, 0);
  if (typeof file === "number") return file;
  const names: string[] = [];
  const result = file.readdir(task, (name) => {
    names.push(name);
    return true;
  });
  file.release();
  return result < 0 ? result : names.filter((n) => n !== "." && n !== "..").sort();
}

/** Fills a tree: the same for the lower layer and for the model. */
function populate(task: Task): void {
  for (const dir of ["/a", "/a/b", "/a/b/c", "/d", "/e"]) makeDirectory(task, AT_FDCWD, dir, 0o755);
  for (const file of ["/a/f", "/a/b/g", "/a/b/c/h", "/d/i", "/j"]) put(task, file, `text of ${file}`);
  makeSymlink(task, "f", AT_FDCWD, "/a/l");
  makeLink(task, place(task, "/a/f") as Path, AT_FDCWD, "/d/hard");
}

/** An overlay over a populated tmpfs, and the task of the lower one. */
function world(): { task: Task; lower: Task } {
  let lowerFs!: Tmpfs;
  const lowerKit = worldOn(({ kernel }) => {
    lowerFs = new Tmpfs(kernel, { mode: 0o755 });
    return lowerFs;
  });
  populate(lowerKit.task);
  const { task } = worldOn(({ kernel }) => new OverlayFs(kernel, lowerFs, new Tmpfs(kernel)));
  return { task, lower: lowerKit.task };
}

describe("an overlay", () => {
  test("shows the lower files as they are", () => {
    const { task, lower } = world();
    expect(get(task, "/a/f")).toBe("text of /a/f");
    expect(stat(task, "/a/f")).toEqual(stat(lower, "/a/f"));
    expect(list(task, "/a")).toEqual(["b", "f", "l"]);
  });

  test("never changes the lower layer", () => {
    const { task, lower } = world();
    put(task, "/a/f", "changed");
    put(task, "/new", "new");
    removeFile(task, AT_FDCWD, "/j");
    renameName(task, AT_FDCWD, "/a/b", AT_FDCWD, "/e/b", 0);
    (place(task, "/d/i") as Path).dentry.inode.setattr({ mode: 0o600 });
    expect(get(lower, "/a/f")).toBe("text of /a/f");
    expect(list(lower, "/")).toEqual(["a", "d", "e", "j"]);
    expect(list(lower, "/a")).toEqual(["b", "f", "l"]);
    expect(stat(lower, "/d/i").mode & 0o777).toBe(0o644);
  });

  test("a file keeps its identity through changes", () => {
    const { task } = world();
    const before = stat(task, "/j");
    put(task, "/j", "changed");
    renameName(task, AT_FDCWD, "/j", AT_FDCWD, "/a/k", 0);
    const after = stat(task, "/a/k");
    expect([after.ino, after.dev]).toEqual([before.ino, before.dev]);
    expect(stat(task, "/a").dev).toBe(after.dev);
    put(task, "/a/new", "");
    expect(stat(task, "/a/new").dev).toBe(after.dev);
  });

  test("a change through one name shows under the other", () => {
    const { task } = world();
    expect(stat(task, "/a/f").ino).toBe(stat(task, "/d/hard").ino);
    put(task, "/d/hard", "both");
    expect(get(task, "/a/f")).toBe("both");
    expect(removeFile(task, AT_FDCWD, "/a/f")).toBe(0);
    expect(stat(task, "/d/hard").nlink).toBe(1);
    expect(get(task, "/d/hard")).toBe("both");
  });

  test("who had it open before the change sees the change", () => {
    const { task } = world();
    const file = openAt(task, AT_FDCWD, "/j", 0, 0) as File;
    expect(contents(task, file)).toBe("text of /j");
    put(task, "/j", "!", O_RDWR, 3);
    expect(contents(task, file)).toBe("tex! of /j");
    removeFile(task, AT_FDCWD, "/j");
    expect(contents(task, file)).toBe("tex! of /j");
    expect((file.getattr() as Stat).nlink).toBe(0);
    file.release();
  });

  test("an open lower file that is removed stays readable and has no links", () => {
    const { task } = world();
    const file = openAt(task, AT_FDCWD, "/j", 0, 0) as File;
    removeFile(task, AT_FDCWD, "/j");
    put(task, "/j", "another");
    expect(contents(task, file)).toBe("text of /j");
    expect((file.getattr() as Stat).nlink).toBe(0);
    (file.inode as NonNullable<File["inode"]>).setattr({ mode: 0o600 });
    expect(get(task, "/j")).toBe("another");
    file.release();
  });

  test("a merged listing counts while it is read, and not once it has been", () => {
    const { task } = world();
    put(task, "/new", "");
    const names = list(task, "/") as string[];
    const open = (): File => openAt(task, AT_FDCWD, "/", O_DIRECTORY, 0) as File;
    const read = (file: File, most: number): string[] | number => {
      const got: string[] = [];
      const result = file.readdir(task, (name) => got.length < most && got.push(name) > 0);
      return result < 0 ? result : got;
    };
    const rest = new Listed();
    expect(rest.add(0, LISTED_MAX - 2 * names.length + 1)).toBe(0);
    const [one, two] = [open(), open()];
    expect((read(one, 3) as string[]).length).toBe(3);
    expect(read(two, 3)).toBe(-ENOMEM);
    expect((read(one, 100) as string[]).length).toBe(names.length + 2 - 3);
    expect(read(one, 100)).toEqual([]);
    expect((read(two, 100) as string[]).length).toBe(names.length + 2);
    // Back to an entry of a listing that is over.
    one.pos = 2;
    expect([...(read(one, 100) as string[])].sort()).toEqual(names);
    one.pos = 0;
    expect((read(one, 2) as string[]).length).toBe(2);
    one.release();
    two.release();
    expect(rest.add(0, 2 * names.length - 1)).toBe(0);
    rest.clear();
  });

  test("lower directories can be renamed, removed and made anew", () => {
    const { task } = world();
    expect(renameName(task, AT_FDCWD, "/a/b", AT_FDCWD, "/z", 0)).toBe(0);
    expect(get(task, "/z/c/h")).toBe("text of /a/b/c/h");
    expect(place(task, "/a/b")).toBe(-ENOENT);
    put(task, "/z/c/new", "new");
    expect(list(task, "/z/c")).toEqual(["h", "new"]);
    expect(removeDirectory(task, AT_FDCWD, "/z/c")).toBe(-ENOTEMPTY);
    removeFile(task, AT_FDCWD, "/z/c/h");
    removeFile(task, AT_FDCWD, "/z/c/new");
    expect(removeDirectory(task, AT_FDCWD, "/z/c")).toBe(0);
    expect(typeof makeDirectory(task, AT_FDCWD, "/z/c", 0o755)).toBe("object");
    expect(list(task, "/z/c")).toEqual([]);
    expect(typeof makeDirectory(task, AT_FDCWD, "/a/b", 0o755)).toBe("object");
    expect(list(task, "/a/b")).toEqual([]);
    expect(makeDirectory(task, AT_FDCWD, "/z/c", 0o755)).toBe(-EEXIST);
  });

  test("temporary files in a lower directory leave nothing behind", () => {
    const { task } = world();
    const upper = (task.fs.root.mount.fs as OverlayFs).upper;
    put(task, "/d/t", "x");
    removeFile(task, AT_FDCWD, "/d/t");
    const { usedInodes, usedPages } = upper;
    for (let i = 0; i < 100; i++) {
      put(task, `/d/t${i}`, "x".repeat(10000));
      removeFile(task, AT_FDCWD, `/d/t${i}`);
    }
    expect([upper.usedInodes, upper.usedPages]).toEqual([usedInodes, usedPages]);
    expect(
      ((place(task, "/d") as Path).dentry.inode as unknown as { entries: Map<string, unknown> }).entries.size,
    ).toBe(0);
  });

  test("works over a host directory, whose own changes show where nothing has been changed above", () => {
    const dir = mkdtempSync(join(tmpdir(), "overlay-"));
    mkdirSync(join(dir, "a"));
    writeFileSync(join(dir, "a/f"), "host");
    const fd = openat2(AT_FDCWD, encodeCString(dir), O_PATH | O_DIRECTORY, 0, 0);
    const { task } = worldOn(
      ({ kernel }) => new OverlayFs(kernel, new HostFs(kernel, fd, { readonly: true }), new Tmpfs(kernel)),
    );
    expect(get(task, "/a/f")).toBe("host");
    writeFileSync(join(dir, "a/g"), "later");
    expect(get(task, "/a/g")).toBe("later");
    put(task, "/a/f", "guest");
    writeFileSync(join(dir, "a/f"), "host again");
    expect(get(task, "/a/f")).toBe("guest");
    writeFileSync(join(dir, "a/h"), "more");
    expect(list(task, "/a")).toEqual(["f", "g", "h"]);
    expect(put(task, "/a/g", "+", O_RDWR, 5)).toBe(1);
    expect(get(task, "/a/g")).toBe("later+");
    rmSync(dir, { recursive: true });
  });
});

/** What a whole tree looks like; numbers of inodes as the order in which they are met. */
function picture(task: Task): string[] {
  const lines: string[] = [];
  const inos = new Map<number, number>();
  const walk = (path: string): void => {
    for (const name of list(task, path || "/") as string[]) {
      const at = `${path}/${name}`;
      const st = stat(task, at);
      if (!inos.has(st.ino)) inos.set(st.ino, inos.size);
      const type = st.mode & S_IFMT;
      lines.push(
        `${at} ${st.mode.toString(8)} n${st.nlink} #${inos.get(st.ino)} ${type === S_IFREG ? `${st.size} ${get(task, at)}` : ""}`,
      );
      if (type === S_IFDIR) walk(at);
    }
  };
  walk("");
  return lines;
}

/** A small generator of numbers, the same every time. */
function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
}

describe("an overlay behaves like an ordinary file system", () => {
  const names = ["a", "b", "c", "d", "f", "g", "h", "j", "hard"];
  for (let seed = 1; seed <= 40; seed++)
    test(`random operations, series ${seed}`, () => {
      const { task } = world();
      const model = worldOn(({ kernel }) => new Tmpfs(kernel, { mode: 0o755 })).task;
      populate(model);
      const pick = random(seed);
      const path = (): string => {
        let text = "";
        for (let depth = 1 + pick(3); depth > 0; depth--) text += `/${names[pick(names.length)]}`;
        return text;
      };
      const held: [File, File][] = [];
      for (let step = 0; step < 150; step++) {
        const [p, q, what] = [path(), path(), pick(13)];
        const both = (run: (t: Task) => unknown): void => {
          const result = run(task);
          expect({ step, what, p, q, result }).toEqual({ step, what, p, q, result: run(model) });
        };
        const made = (result: unknown): unknown => (typeof result === "object" ? "made" : result);
        if (what === 0) both((t) => put(t, p, `step ${step}`));
        else if (what === 1) both((t) => put(t, p, "*", O_RDWR, pick.length + 2));
        else if (what === 2) both((t) => removeFile(t, AT_FDCWD, p));
        else if (what === 3) both((t) => removeDirectory(t, AT_FDCWD, p));
        else if (what === 4) both((t) => made(makeDirectory(t, AT_FDCWD, p, 0o755)));
        else if (what <= 7) both((t) => renameName(t, AT_FDCWD, p, AT_FDCWD, q, what === 7 ? 2 : 0));
        else if (what === 8)
          both((t) => {
            const old = place(t, p);
            return typeof old === "number" ? old : makeLink(t, old, AT_FDCWD, q);
          });
        else if (what === 9)
          both((t) => {
            const at = place(t, p);
            return typeof at === "number" ? at : at.dentry.inode.setattr({ mode: 0o700 + (step % 64) });
          });
        else if (what === 10) both((t) => list(t, p));
        else if (what === 11)
          both((t) => {
            const at = place(t, p);
            return typeof at === "number" ? at : at.dentry.inode.setattr({ size: step % 20 });
          });
        else {
          const [one, two] = [openAt(task, AT_FDCWD, p, 0, 0), openAt(model, AT_FDCWD, p, 0, 0)];
          if (typeof one === "number" || typeof two === "number") expect(one).toEqual(two);
          else if (one.inode?.type === S_IFREG) held.push([one, two]);
        }
      }
      expect(picture(task)).toEqual(picture(model));
      for (const [one, two] of held) {
        expect(contents(task, one)).toBe(contents(model, two));
        expect((one.getattr() as Stat).nlink).toBe((two.getattr() as Stat).nlink);
        one.release();
        two.release();
      }
    });
});
