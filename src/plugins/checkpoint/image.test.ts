import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RuntimeError } from "../../core/errors.ts";
import { digestOf, extentsProblem } from "./blocks.ts";
import {
  type ImageManifest,
  MANIFEST,
  MARKER,
  MEMORY,
  manifestText,
  memoryName,
  OBJECTS,
  PACKED_PAGES,
  PAGES,
} from "./format.ts";
import { Image } from "./read.ts";
import {
  container,
  MIB,
  memoryOf,
  OBJECTS_TEXT,
  sandboxManifest,
  writeImage,
  writeMemory,
  writePages,
} from "./testing.ts";
import { ImageWriter } from "./write.ts";

let directory: string;
let place: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "runts-image-"));
  place = join(directory, "img");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Opens it and reads its pages and memory: what a restore does before anything is started. */
async function readAll(path = place, workPath?: string): Promise<{ objects: string; pages: Buffer; memory: Buffer[] }> {
  const image = Image.open(path, { workPath });
  try {
    const { pages, memory } = await image.files();
    const objects = readFileSync(`/proc/self/fd/${image.objects}`, "utf8");
    return { objects, pages: wholeFile(pages), memory: memory.map(wholeFile) };
  } finally {
    image.close();
  }
}
function wholeFile(fd: number): Buffer {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  return bytes;
}
const expectedMemory = (space: number): Buffer => {
  const { size, places, value } = memoryOf(space, 7);
  return expectedPages(size, places, value);
};
async function refusal(path = place): Promise<RuntimeError> {
  const error = await readAll(path).then(
    () => new Error("it was read"),
    (error: Error) => error,
  );
  expect(error).toBeInstanceOf(RuntimeError);
  expect(descriptors()).toBe(0);
  return error as RuntimeError;
}
/** Those of ours: the runtime has others, that come and go. */
const descriptors = () => readdirSync("/proc/self/fd").filter((fd) => linkOf(fd).startsWith(directory)).length;
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}

function expectedPages(size: number, places: readonly number[], value = 7): Buffer {
  const pages = Buffer.alloc(size);
  for (const each of places) pages.fill(value + (each % 251), each, Math.min(size, each + 4096));
  return pages;
}

for (const compression of ["none", "zstd"] as const)
  describe(`an image, compression ${compression} (row 73)`, () => {
    const pagesName = compression === "none" ? PAGES : PACKED_PAGES;
    const memory = (space: number) => memoryName(space, compression !== "none");
    const make = (more = {}) => writeImage(place, { compression, ...more });

    test("is read as it was written; nothing else is left; nobody else can get at it", async () => {
      const places = [0, 65536, MIB, 3 * MIB];
      await make();
      const read = await readAll();
      expect(read.objects).toBe(OBJECTS_TEXT);
      expect(read.pages.equals(expectedPages(3 * MIB + 4096, places))).toBe(true);
      expect(read.memory.map((bytes, space) => bytes.equals(expectedMemory(space)))).toEqual([true, true]);
      expect(readdirSync(directory)).toEqual(["img"]);
      expect(readdirSync(place).sort()).toEqual([MANIFEST, MARKER, MEMORY, OBJECTS, pagesName].sort());
      expect(
        readdirSync(join(place, MEMORY))
          .map((name) => `${MEMORY}/${name}`)
          .sort(),
      ).toEqual([memory(0), memory(1)]);
      for (const name of ["", MEMORY]) expect(statSync(join(place, name)).mode & 0o777).toBe(0o700);
      for (const name of [MANIFEST, MARKER, OBJECTS, pagesName, memory(0), memory(1)])
        expect(statSync(join(place, name)).mode & 0o777).toBe(0o600);
    });
    test("no address spaces, one, many more than come at once: each has what is its own", async () => {
      for (const spaces of [0, 1, 70]) {
        await make({ spaces });
        const read = await readAll();
        expect(read.memory.map((bytes, space) => bytes.equals(expectedMemory(space)))).toEqual(
          Array.from({ length: spaces }, () => true),
        );
        expect(readdirSync(join(place, MEMORY)).length).toBe(spaces);
      }
      expect(descriptors()).toBe(0);
    });
    test("memory that is not there, is another's, or too much of it", async () => {
      await make();
      const path = (name: string) => join(place, name);
      for (const extra of [memory(2), memoryName(0, compression === "none"), `${MEMORY}/notes`]) {
        writeFileSync(path(extra), "", { mode: 0o600 });
        expect((await refusal()).message).toBe(`image ${place}: ${extra}: no part of the image`);
        rmSync(path(extra));
      }
      writeFileSync(path(`${MEMORY}/\x1b[2J`), "");
      expect((await refusal()).message).toBe(`image ${place}: memory: a file in it is no part of the image`);
      rmSync(path(`${MEMORY}/\x1b[2J`));
      // The part of one in the place of another's.
      const first = readFileSync(path(memory(0)));
      renameSync(path(memory(1)), path(memory(0)));
      writeFileSync(path(memory(1)), first, { mode: 0o600 });
      expect((await refusal()).message).toStartWith(`image ${place}: ${memory(0)}: `);
      await make();
      const kept = join(directory, "kept");
      renameSync(path(MEMORY), kept);
      expect((await refusal()).message).toBe(`image ${place}: memory: missing`);
      symlinkSync(kept, path(MEMORY));
      expect((await refusal()).message).toBe(`image ${place}: memory: not a directory`);
      rmSync(path(MEMORY));
      Bun.spawnSync(["mkfifo", "-m", "600", path(MEMORY)]);
      expect((await refusal()).message).toBe(`image ${place}: memory: not a directory`);
      rmSync(path(MEMORY));
      renameSync(kept, path(MEMORY));
      chmodSync(path(MEMORY), 0o710);
      expect((await refusal()).message).toMatch(/: memory: others than its owner can get at it \(mode 710/);
      chmodSync(path(MEMORY), 0o700);
      chmodSync(path(memory(1)), 0o640);
      expect((await refusal()).message).toMatch(/: memory\/1.*: others than its owner can get at it \(mode 640/);
      chmodSync(path(memory(1)), 0o600);
      await readAll();
    });
    test("pages without anything, and pages that are nothing but zeros", async () => {
      await make({ size: 0, places: [] });
      expect((await readAll()).pages.length).toBe(0);
      await make({ size: 5 * MIB, places: [] });
      expect((await readAll()).pages.equals(Buffer.alloc(5 * MIB))).toBe(true);
    });
    test("a size that is no multiple of a block, with data in its last bytes", async () => {
      await make({ size: MIB + 100, places: [MIB] });
      expect((await readAll()).pages.equals(expectedPages(MIB + 100, [MIB]))).toBe(true);
    });
    test("is unpacked in a directory that is asked for, which keeps nothing", async () => {
      await make();
      const work = join(directory, "work");
      mkdirSync(work);
      const read = await readAll(place, work);
      expect(read.pages.length).toBe(3 * MIB + 4096);
      expect(read.memory[1]!.equals(expectedMemory(1))).toBe(true);
      expect(readdirSync(work)).toEqual([]);
    });

    test("each byte of the manifest and the objects, and many of the pages and memory, when flipped: the part is named", async () => {
      await make({ size: MIB, places: [0, 65536 * 3] });
      for (const name of [MANIFEST, OBJECTS, pagesName, memory(0), memory(1)]) {
        const path = join(place, name);
        const bytes = readFileSync(path);
        // Of the raw pages a byte here and there; each one takes a while.
        const step = bytes.length < 4000 ? 7 : Math.ceil(bytes.length / 400);
        for (let at = 0; at < bytes.length; at += step) {
          const damaged = Buffer.from(bytes);
          damaged[at]! ^= 1 << (at % 8);
          writeFileSync(path, damaged);
          const { code, message } = await refusal();
          expect(code).toBe("image");
          expect(message).toStartWith(`image ${place}: ${name}: `);
        }
        writeFileSync(path, bytes);
      }
      await readAll();
    }, 60_000);
    test("each part truncated, too long, missing, a link, a directory, a FIFO", async () => {
      await make();
      for (const name of [MANIFEST, OBJECTS, pagesName, memory(0), memory(1)]) {
        const path = join(place, name);
        const kept = join(directory, "kept");
        renameSync(path, kept);
        expect((await refusal()).message).toBe(`image ${place}: ${name}: missing`);
        symlinkSync(kept, path);
        expect((await refusal()).message).toBe(`image ${place}: ${name}: a symbolic link`);
        rmSync(path);
        mkdirSync(path, { mode: 0o700 });
        expect((await refusal()).message).toBe(`image ${place}: ${name}: not a regular file`);
        rmSync(path, { recursive: true });
        Bun.spawnSync(["mkfifo", "-m", "600", path]);
        expect((await refusal()).message).toBe(`image ${place}: ${name}: not a regular file`);
        rmSync(path);
        copyFileSync(kept, path);
        truncateSync(path, statSync(path).size - 1);
        expect((await refusal()).message).toMatch(
          name === MANIFEST ? /manifest.json: damaged/ : /: truncated: \d+ of \d+ bytes$/,
        );
        truncateSync(path, 0);
        expect((await refusal()).message).toStartWith(`image ${place}: ${name}: `);
        copyFileSync(kept, path);
        writeFileSync(path, "x", { flag: "a" });
        expect((await refusal()).message).toMatch(name === MANIFEST ? /not valid JSON/ : /1 bytes too long$/);
        rmSync(path);
        renameSync(kept, path);
      }
      await readAll();
    });
  });

test("2 GiB that are nearly all holes are written and read quickly", async () => {
  const start = performance.now();
  const GIB = 1024 * MIB;
  await writeImage(place, { size: 2 * GIB, places: [0, GIB + 65536, 2 * GIB - 4096] });
  const image = Image.open(place);
  await image.pages();
  image.close();
  expect(performance.now() - start).toBeLessThan(5000);
  expect(statSync(join(place, PAGES)).blocks * 512).toBeLessThan(MIB);
}, 60_000);

test("the checksum is that of the contents, not of the holes: a copy without holes is the same image", async () => {
  await writeImage(place);
  const pages = join(place, PAGES);
  const dense = readFileSync(pages);
  rmSync(pages);
  writeFileSync(pages, dense, { mode: 0o600 });
  expect((await readAll()).pages.equals(dense)).toBe(true);
});

test("what lies where is part of the checksum", async () => {
  const digests: string[] = [];
  for (const places of [[0], [65536], [65536 * 2]]) {
    const fd = openSync(join(directory, "f"), "w+");
    writePages(fd, MIB, []);
    for (const at of places) writeAt(fd, at);
    digests.push(await digestOf(fd, MIB));
    closeSync(fd);
  }
  expect(new Set(digests).size).toBe(3);
});
function writeAt(fd: number, at: number): void {
  const { writeSync } = require("node:fs") as typeof import("node:fs");
  writeSync(fd, Buffer.alloc(4096, 9), 0, 4096, at);
}

describe("what is no image is refused with the reason", () => {
  test("a missing directory, a file", async () => {
    expect((await refusal()).message).toBe(`image ${place}: it does not exist`);
    writeFileSync(place, "");
    expect((await refusal()).message).toBe(`image ${place}: it is not a directory`);
  });
  test("others can get at the directory, or at a part", async () => {
    await writeImage(place);
    chmodSync(place, 0o750);
    expect((await refusal()).message).toMatch(/: the directory: others than its owner can get at it \(mode 750/);
    chmodSync(place, 0o700);
    chmodSync(join(place, OBJECTS), 0o644);
    expect((await refusal()).message).toMatch(/: objects.jsonl: others than its owner can get at it \(mode 644/);
  });
  test.if(process.geteuid!() === 0)("another user's directory, or part", async () => {
    await writeImage(place);
    chownSync(join(place, PAGES), 1234, 0);
    expect((await refusal()).message).toMatch(/: pages: belongs to another user \(uid 1234\)/);
    chownSync(join(place, PAGES), 0, 0);
    for (const name of [MEMORY, `${MEMORY}/1`]) {
      chownSync(join(place, name), 1234, 0);
      expect((await refusal()).message).toContain(`: ${name}: belongs to another user (uid 1234)`);
      chownSync(join(place, name), 0, 0);
    }
    chownSync(place, 1234, 0);
    expect((await refusal()).message).toMatch(/: the directory: belongs to another user \(uid 1234\)/);
  });
  test("another format: a newer one says so, and who wrote it", async () => {
    await writeImage(place);
    const path = join(place, MANIFEST);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"format": 1,', '"format": 2,'));
    expect((await refusal()).message).toMatch(
      /manifest.json: format 2 is of a newer version of runts \(.+\); this one/,
    );
    for (const foreign of ["", "[]", "null", "{}", '{"magic": "criu"}', "\u0000\u0001", '{"format":"1"}']) {
      writeFileSync(path, foreign);
      expect((await refusal()).message).toMatch(
        /manifest.json: (not valid JSON|expected an object|this is not an image)/,
      );
    }
  });
  test("a manifest that was edited to nonsense, with its checksum made right", async () => {
    await writeImage(place);
    const path = join(place, MANIFEST);
    const { sha256: _, ...good } = JSON.parse(readFileSync(path, "utf8")) as ImageManifest & { sha256: string };
    const unpacked = (extents: number[]) => ({ bytes: MIB, digest: "0".repeat(64), extents });
    const nonsense: [RegExp, (manifest: Record<string, never>) => void][] = [
      [/parts.objects.bytes: /, (m) => edit(m, "parts.objects.bytes", -1)],
      [/parts.objects.bytes: /, (m) => edit(m, "parts.objects.bytes", 1e300)],
      [/parts: expected pages or packed/, (m) => edit(m, "parts.pages", undefined)],
      [/parts.pages.digest: expected a checksum/, (m) => edit(m, "parts.pages.digest", "../../etc")],
      [/sandbox.clock.monotonicNs: /, (m) => edit(m, "sandbox.clock.monotonicNs", -5)],
      [/sandbox.containers.*: /, (m) => edit(m, "sandbox.containers", { length: 1e9 })],
      [/container.spec: /, (m) => edit(m, "container.spec", null)],
      [/container.spec.mounts.0.*: /, (m) => edit(m, "container.spec.mounts", [5])],
      [/container.overlay: /, (m) => edit(m, "container.overlay", "disk")],
      [/sandbox.spaces: /, (m) => edit(m, "sandbox.spaces", 4097)],
      [/the whole: expected a part of memory for each/, (m) => edit(m, "sandbox.spaces", 1)],
      [/the whole: expected a part of memory for each/, (m) => edit(m, "sandbox.spaces", 3)],
      [/parts.memory: /, (m) => edit(m, "parts.memory", {})],
      [/parts.memory.1.bytes: /, (m) => edit(m, "parts.memory.1.bytes", -1)],
      [/parts.memory.0.digest: /, (m) => edit(m, "parts.memory.0.digest", "")],
      [/memory that is packed as/, (m) => edit(m, "parts.memory.0.content", unpacked([]))],
      [/memory\/1: truncated: /, (m) => edit(m, "parts.memory.1.bytes", 2 ** 52)],
      [/pages: truncated: /, (m) => edit(m, "parts.pages.bytes", 2 ** 52)],
    ];
    for (const [says, change] of nonsense) {
      const edited = structuredClone(good) as unknown as Record<string, never>;
      change(edited);
      writeFileSync(path, manifestText(edited as unknown as ImageManifest));
      expect((await refusal()).message).toMatch(says);
    }
  });
  test("packed memory whose extents were edited to nonsense", async () => {
    await writeImage(place, { compression: "zstd" });
    const path = join(place, MANIFEST);
    const { sha256: _, ...good } = JSON.parse(readFileSync(path, "utf8")) as ImageManifest & { sha256: string };
    for (const [says, extents] of [
      [/manifest.json: extents of memory\/1.zst: an extent of 65536 bytes at 5/, [5, 65536]],
      [/memory\/1.zst: cannot be unpacked: it has more than was packed/, [0, 65536]],
      [/memory\/1.zst: cannot be unpacked: its checksum is another/, [65536, 65536, 131072, 65536]],
    ] as const) {
      const edited = structuredClone(good) as unknown as Record<string, never>;
      edit(edited, "parts.memory.1.content.extents", extents);
      writeFileSync(path, manifestText(edited as unknown as ImageManifest));
      expect((await refusal()).message).toMatch(says);
    }
  });
  test("extents that overlap, lie out of order or beyond the end", () => {
    expect(extentsProblem([0, 65536, 131072, 100], MIB)).toBeNull();
    for (const bad of [[0], [0, 0], [0, 65536, 0, 65536], [131072, 65536, 0, 65536], [100, 5], [MIB, 65536]])
      expect(extentsProblem(bad, MIB)).not.toBeNull();
  });
});
function edit(value: Record<string, unknown>, path: string, to: unknown): void {
  const names = path.split(".");
  const last = names.pop()!;
  (names.reduce((at, name) => at[name] as never, value) as Record<string, unknown>)[last] = to;
}

describe("writing", () => {
  test("into an empty directory that is there; the parents of a new one are made", async () => {
    mkdirSync(place, { mode: 0o755 });
    await writeImage(place);
    await readAll();
    expect(statSync(place).mode & 0o777).toBe(0o700);
    await writeImage(join(directory, "a/b/c"));
    await readAll(join(directory, "a/b/c"));
  });
  test("what is in the way stays as it is: a file, a directory with something, an image of another container", async () => {
    writeFileSync(place, "mine");
    await expect(writeImage(place)).rejects.toThrow(/it exists, and is not a directory/);
    expect(readFileSync(place, "utf8")).toBe("mine");
    rmSync(place);
    mkdirSync(place);
    writeFileSync(join(place, "mine"), "");
    await expect(writeImage(place, { replace: true })).rejects.toThrow(/is not empty, and holds no image/);
    expect(readdirSync(directory)).toEqual(["img"]);
    rmSync(place, { recursive: true });
    await writeImage(place);
    const other = { ...container, id: "other" };
    expect(() => ImageWriter.begin(place, { container: other, replace: false })).toThrow(/it holds an image already/);
    ImageWriter.begin(place, { container: other, replace: true }).abandon();
    await readAll();
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("an image of the same container is replaced, by one that is whole", async () => {
    await writeImage(place, { value: 1 });
    const writer = ImageWriter.begin(place, { container, replace: false });
    writePages(writer.pages, MIB, [0], 2);
    expect((await readAll()).pages[0]).toBe(1);
    await writer.finish(sandboxManifest(), "none");
    expect((await readAll()).pages[0]).toBe(2);
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("of two that write to the same new name, the second finds an image", async () => {
    const [first, second] = [1, 2].map(() => ImageWriter.begin(place, { container, replace: false }));
    writePages(first!.pages, MIB, [0], 1);
    writePages(second!.pages, MIB, [0], 2);
    await first!.finish(sandboxManifest(), "none");
    await expect(second!.finish(sandboxManifest(), "none")).rejects.toThrow(/somebody else has written it/);
    second!.abandon();
    expect((await readAll()).pages[0]).toBe(1);
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("fewer files of memory than the sandbox says address spaces: no image", async () => {
    const writer = ImageWriter.begin(place, { container, replace: false });
    writeMemory(writer.memory(2), 0);
    await expect(writer.finish(sandboxManifest({ spaces: 3 }), "none")).rejects.toThrow(
      /memory for each address space/,
    );
    writer.abandon();
    expect(readdirSync(directory)).toEqual([]);
    expect(descriptors()).toBe(0);
  });
  test("a manifest that could not be read again is not put in its place", async () => {
    await writeImage(place, { value: 1 });
    const writer = ImageWriter.begin(place, { container, replace: false });
    const nonsense = { ...sandboxManifest(), clock: { monotonicNs: Number.NaN } } as never;
    await expect(writer.finish(nonsense, "none")).rejects.toThrow(/sandbox.clock/);
    writer.abandon();
    expect((await readAll()).pages[0]).toBe(1);
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("a full disk leaves the old image, and nothing else", async () => {
    await writeImage(place, { value: 1, compression: "zstd" });
    // Files of this process may not become longer than 256 KiB: a disk that is full for the packed pages.
    const program = `
      const { randomBytes } = await import("node:crypto");
      const { ImageWriter } = await import(${JSON.stringify(join(import.meta.dir, "write.ts"))});
      const { container, sandboxManifest } = await import(${JSON.stringify(join(import.meta.dir, "testing.ts"))});
      const { pwrite } = await import(${JSON.stringify(join(import.meta.dir, "../../native/host.ts"))});
      const writer = ImageWriter.begin(process.argv.at(-1), { container, replace: false });
      for (let at = 0; at < 262144; at += 4096) pwrite(writer.pages, randomBytes(4096), 4096, at);
      try {
        await writer.finish(sandboxManifest(), "zstd");
      } catch (error) {
        console.log(error.message);
        writer.abandon();
      }`;
    const limited = `trap "" XFSZ; ulimit -f 256; exec "$0" -e "$1" "$2"`;
    const child = Bun.spawnSync(["bash", "-c", limited, process.execPath, program, place]);
    expect([child.stdout.toString(), child.stderr.toString()]).toEqual(["cannot write the pages: EFBIG\n", ""]);
    expect((await readAll()).pages[0]).toBe(1);
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("of a writer that is still at work nothing is taken away", async () => {
    const first = ImageWriter.begin(place, { container, replace: false });
    ImageWriter.begin(place, { container, replace: false }).abandon();
    await first.finish(sandboxManifest(), "none");
    await readAll();
  });
});

describe("kill -9 of a writer at any moment", () => {
  /** Replaces the image again and again, with a value that rises. */
  const program = `
    const { writeImage } = await import(${JSON.stringify(join(import.meta.dir, "testing.ts"))});
    const [place, compression] = process.argv.slice(-2);
    for (let value = 1; ; value = (value % 200) + 1) {
      await writeImage(place, { value, compression });
      process.stdout.write(".");
    }`;
  for (const [compression, before] of [
    ["none", false],
    ["none", true],
    ["zstd", true],
  ] as const)
    test(`compression ${compression}, ${before ? "over an old image" : "the first one"}`, async () => {
      let interrupted = 0;
      for (let round = 0; round < 12; round++) {
        rmSync(place, { recursive: true, force: true });
        if (before) await writeImage(place, { value: 200, compression });
        const child = Bun.spawn([process.execPath, "-e", program, place, compression], {
          stdout: "pipe",
          stderr: "inherit",
        });
        const reader = child.stdout.getReader();
        // Some are killed in their first image, some in a later one.
        if (round % 3 !== 0 || before) await reader.read();
        // It has not even begun, or it has: the temporary directory is there.
        else while (round > 0 && readdirSync(directory).length === 0) await Bun.sleep(1);
        await Bun.sleep((round * 7) % 40);
        child.kill("SIGKILL");
        await child.exited;
        interrupted += readdirSync(directory).filter((name) => name.startsWith("img.tmp-")).length;
        if (before || existsSync(place)) {
          const { pages, objects } = await readAll();
          expect(objects).toBe(OBJECTS_TEXT);
          expect(pages[0]).toBe(pages[3 * MIB]! - ((3 * MIB) % 251));
        }
        // The next one to the same name clears away what was left.
        await writeImage(place, { value: 3, compression });
        expect((await readAll()).pages[0]).toBe(3);
        expect(readdirSync(directory)).toEqual(["img"]);
      }
      expect(interrupted).toBeGreaterThan(0);
    }, 120_000);
  test("of a command that is interrupted nothing is left", async () => {
    const program = `
      const { save } = await import(${JSON.stringify(join(import.meta.dir, "save.ts"))});
      const { container } = await import(${JSON.stringify(join(import.meta.dir, "testing.ts"))});
      const request = () => {
        process.stdout.write(".");
        return new Promise(() => setInterval(() => {}, 1000));
      };
      await save({ container, sandbox: { request }, directory: process.argv.at(-1), leaveRunning: true, compression: "none", replace: false });`;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      const child = Bun.spawn([process.execPath, "-e", program, place], { stdout: "pipe", stderr: "inherit" });
      await child.stdout.getReader().read();
      expect(readdirSync(directory).length).toBe(1);
      child.kill(signal);
      await child.exited;
      expect(child.signalCode).toBe(signal);
      expect(readdirSync(directory)).toEqual([]);
    }
  });
  test("what only looks like a leftover stays", async () => {
    for (const name of ["img.tmp-mine", "img.tmp-1-2-3", "img.tmp"]) mkdirSync(join(directory, name));
    cpSync(import.meta.path, join(directory, "img.tmp-1-1-0123456789ab"));
    await writeImage(place);
    expect(readdirSync(directory).length).toBe(5);
  });
});
