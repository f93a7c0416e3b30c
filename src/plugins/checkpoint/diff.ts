/** `runts image diff`: what is in one image and not in another. */
import { createHash } from "node:crypto";
import type { SandboxManifest, SavedProcess } from "../../core/sandbox.ts";
import { dataBlocks } from "./blocks.ts";
import { type SavedFile, SavedFiles } from "./files.ts";
import { plain } from "./inspect.ts";
import { countTypes } from "./objects.ts";
import { size } from "./progress.ts";
import type { Image } from "./read.ts";

const PAGE = 4096;

export interface Counted {
  before: number;
  after: number;
}
export interface ImageDiff {
  processes: {
    added: SavedProcess[];
    removed: SavedProcess[];
    changed: { before: SavedProcess; after: SavedProcess }[];
  };
  /** Paths below the root of the files in memory. */
  files: { added: string[]; removed: string[]; changed: string[] };
  /** Pages that are not all zero, by their contents: `common` are in both. */
  pages: { common: number; before: number; after: number };
  memoryBytes: Record<string, Counted>;
  openFiles: Record<string, Counted>;
  sockets: Record<string, Counted>;
  /** Objects of the kernel, by type. */
  objects: Record<string, Counted>;
}

export async function diff(a: Image, b: Image): Promise<ImageDiff> {
  const [pagesA, pagesB] = [await a.pages(), await b.pages()];
  const [before, after] = [a.manifest.summary, b.manifest.summary];
  return {
    processes: diffProcesses(before.processes, after.processes),
    files: diffFiles(new SavedFiles(a.objects, pagesA), new SavedFiles(b.objects, pagesB)),
    pages: await diffPages(a, b),
    memoryBytes: changed(before.memoryBytes, after.memoryBytes),
    openFiles: changed(before.openFiles, after.openFiles),
    sockets: changed(before.sockets, after.sockets),
    objects: changed(Object.fromEntries(countTypes(a.objects)), Object.fromEntries(countTypes(b.objects))),
  };
}

function diffProcesses(before: SandboxManifest["summary"]["processes"], after: typeof before): ImageDiff["processes"] {
  const old = new Map(before.map((each) => [each.pid, each]));
  const now = new Map(after.map((each) => [each.pid, each]));
  const text = (process: SavedProcess) => JSON.stringify(process);
  return {
    added: after.filter(({ pid }) => !old.has(pid)),
    removed: before.filter(({ pid }) => !now.has(pid)),
    changed: after.flatMap((each) => {
      const was = old.get(each.pid);
      return was !== undefined && text(was) !== text(each) ? [{ before: was, after: each }] : [];
    }),
  };
}

function diffFiles(before: SavedFiles, after: SavedFiles): ImageDiff["files"] {
  const old = new Map([...before.all()].map((file) => [nameOf(file), file]));
  const files: ImageDiff["files"] = { added: [], removed: [], changed: [] };
  for (const file of after.all()) {
    const name = nameOf(file);
    const was = old.get(name);
    old.delete(name);
    if (was === undefined) files.added.push(name);
    else if (!same(was, file)) files.changed.push(name);
  }
  files.removed.push(...old.keys());
  return files;
}
const nameOf = ({ path }: SavedFile): string => `/${Buffer.from(path).toString("utf8")}`;

/** Times do not count. */
function same(a: SavedFile, b: SavedFile): boolean {
  const plain = ({ mode, uid, gid, size, device }: SavedFile) => JSON.stringify([mode, uid, gid, size, device]);
  if (plain(a) !== plain(b) || !Buffer.from(a.target).equals(b.target)) return false;
  return hashOf(a) === hashOf(b);
}
function hashOf(file: SavedFile): string {
  const hash = createHash("sha256");
  for (const [offset, bytes] of file.data())
    if (!bytes.every((byte) => byte === 0)) hash.update(`${offset} ${bytes.length} `).update(bytes);
  return hash.digest("hex");
}

/** Of the kernel, and of all programs. Where a page lies says nothing: an image has them in the order in which they were found. */
async function diffPages(a: Image, b: Image): Promise<ImageDiff["pages"]> {
  const left = new Map<bigint, number>();
  let before = 0;
  await eachPage(a, (hash) => {
    left.set(hash, (left.get(hash) ?? 0) + 1);
    before++;
  });
  let common = 0;
  let after = 0;
  await eachPage(b, (hash) => {
    after++;
    const n = left.get(hash) ?? 0;
    if (n === 0) return;
    left.set(hash, n - 1);
    common++;
  });
  return { common, before: before - common, after: after - common };
}

async function eachPage(image: Image, use: (hash: bigint) => void): Promise<void> {
  for (const part of [image.pagesPart, ...image.memoryParts])
    await image.withPart(part, async (fd, bytes) => {
      for await (const blocks of dataBlocks(fd, bytes))
        for (let at = 0; at < blocks.bytes.length; at += PAGE) {
          const page = blocks.bytes.subarray(at, at + PAGE);
          if (!page.every((byte) => byte === 0)) use(Bun.hash.xxHash3(page));
        }
    });
}

function changed(before: Readonly<Record<string, number>>, after: typeof before): Record<string, Counted> {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return Object.fromEntries(
    names
      .map((name): [string, Counted] => [name, { before: before[name] ?? 0, after: after[name] ?? 0 }])
      .filter(([, counted]) => counted.before !== counted.after),
  );
}

export function diffText(d: ImageDiff): string {
  const command = ({ pid, args, comm }: SavedProcess) => `${pid} ${args.join(" ") || `[${comm}]`}`;
  const counts = (title: string, rows: Record<string, Counted>, show: (n: number) => string = String) =>
    Object.entries(rows).map(([name, { before, after }]) => `  ${title} ${name}: ${show(before)} -> ${show(after)}`);
  const sections: [string, string[]][] = [
    [
      "processes",
      [
        ...d.processes.removed.map((each) => `- ${command(each)}`),
        ...d.processes.added.map((each) => `+ ${command(each)}`),
        ...d.processes.changed.map(({ before, after }) =>
          command(before) === command(after)
            ? `  ${command(after)}: threads ${before.threads} -> ${after.threads}`
            : `  ${command(before)} -> ${command(after)}`,
        ),
      ],
    ],
    [
      "files in memory",
      [
        ...d.files.removed.map((path) => `- ${path}`),
        ...d.files.added.map((path) => `+ ${path}`),
        ...d.files.changed.map((path) => `  ${path}`),
      ],
    ],
    [
      "memory",
      [
        `  pages: ${d.pages.common} in both, - ${d.pages.before}, + ${d.pages.after} (${size(d.pages.after * PAGE)})`,
        ...counts("bytes", d.memoryBytes, size),
      ],
    ],
    ["open files and sockets", [...counts("files", d.openFiles), ...counts("sockets", d.sockets)]],
    ["objects", counts("objects", d.objects)],
  ];
  const lines = sections.filter(([, rows]) => rows.length > 0).flatMap(([title, rows]) => [title, ...rows.map(plain)]);
  return `${lines.join("\n")}\n`;
}
