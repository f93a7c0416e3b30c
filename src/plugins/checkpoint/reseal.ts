/** Makes the checksums of an image right again: for who has edited it, and means that. */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { digestOf } from "./blocks.ts";
import { type ImageManifest, MANIFEST, manifestText, type Part, parseManifest, type SparsePart } from "./format.ts";
import { Image, type StoredPart } from "./read.ts";
import { sha256Part } from "./write.ts";

export async function reseal(directory: string): Promise<void> {
  const image = Image.open(directory, { unchecked: true });
  try {
    const { parts, ...rest } = image.contents;
    const stored = async ({ fd }: StoredPart): Promise<Part> => {
      const bytes = fstatSync(fd).size;
      return { bytes, digest: await digestOf(fd, bytes) };
    };
    const memory: SparsePart[] = [];
    // Packed ones have a checksum of what they are unpacked to; nobody edits those.
    for (const each of image.memoryParts) memory.push(parts.packed === undefined ? await stored(each) : each.part);
    const sealed: ImageManifest = {
      ...rest,
      parts: {
        objects: sha256Part(image.objects),
        ...(parts.packed === undefined ? { pages: await stored(image.pagesPart) } : { packed: parts.packed }),
        memory,
      },
    };
    const text = manifestText(sealed);
    parseManifest(text);
    replace(directory, text);
  } finally {
    image.close();
  }
}

function replace(directory: string, text: string): void {
  const temporary = join(directory, `.${MANIFEST}.${process.pid}`);
  const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    fchmodSync(fd, 0o600);
    writeFileSync(fd, text);
    fsyncSync(fd);
    renameSync(temporary, join(directory, MANIFEST));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}
