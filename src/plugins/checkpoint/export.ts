/** `runts image export`: an image, and the files that it holds, as an archive that any tar reads. */
import { fstatSync, readSync } from "node:fs";
import { RuntimeError } from "../../core/errors.ts";
import { contentsOf, type SavedFile, SavedFiles } from "./files.ts";
import { MANIFEST, MEMORY, OBJECTS } from "./format.ts";
import type { Image } from "./read.ts";
import { type TarEntry, tarEnd, tarEntry } from "./tar.ts";

const CHUNK = 1024 * 1024;
const FILES = "files/";
/** Holes of a sparse file become zeros. */
const SIZE_MAX = 2 ** 40;

/**
 * `image/…`: the parts, as they are stored; `files/…`: files in memory and the upper layers of overlays, by their paths. Those
 * that the sandbox has of its host are not in an image.
 */
export async function* exportImage(image: Image): AsyncGenerator<Uint8Array> {
  const pages = await image.pages();
  for (const each of image.memoryParts) await image.check(each);
  const mtimeSec = Math.floor(Date.parse(image.contents.created) / 1000);
  const manifest = Buffer.from(image.text);
  const part = (name: string, size: number, contents: () => Iterable<Uint8Array>): TarEntry => ({
    path: Buffer.from(`image/${name}`),
    mode: 0o100600,
    uid: 0,
    gid: 0,
    mtimeSec,
    size,
    target: new Uint8Array(0),
    device: 0,
    contents,
  });
  const ofFile = (name: string, fd: number) => part(name, fstatSync(fd).size, () => chunks(fd));
  yield* tarEntry({ ...part("", 0, () => []), path: Buffer.from("image"), mode: 0o040700 });
  yield* tarEntry(part(MANIFEST, manifest.length, () => [manifest]));
  yield* tarEntry(ofFile(OBJECTS, image.objects));
  yield* tarEntry(ofFile(image.pagesPart.name, image.pagesPart.fd));
  yield* tarEntry({ ...part("", 0, () => []), path: Buffer.from(`image/${MEMORY}`), mode: 0o040700 });
  for (const { name, fd } of image.memoryParts) yield* tarEntry(ofFile(name, fd));
  const first = new Map<number, Uint8Array>();
  for (const file of new SavedFiles(image.objects, pages).all()) {
    if (file.size > SIZE_MAX)
      throw new RuntimeError(
        "image",
        `${Buffer.from(file.path).toString()}: ${file.size} bytes, with its holes, are too many for an archive`,
      );
    const entry = { ...file, path: Buffer.concat([Buffer.from(FILES), file.path]), contents: () => contentsOf(file) };
    const other = isNamed(file) ? first.get(file.node) : undefined;
    yield* tarEntry(entry, other ?? null);
    if (isNamed(file) && other === undefined) first.set(file.node, entry.path);
  }
  yield tarEnd();
}

/** Directories have one name; what is nothing of the image has no number. */
const isNamed = ({ node, mode }: SavedFile): boolean => node !== 0 && (mode & 0o170000) !== 0o040000;

function* chunks(fd: number): Generator<Uint8Array> {
  for (let at = 0; ; ) {
    const bytes = Buffer.alloc(CHUNK);
    const n = readSync(fd, bytes, 0, CHUNK, at);
    if (n === 0) return;
    at += n;
    yield bytes.subarray(0, n);
  }
}
