/**
 * `bun test/images/make.ts`: the image of this version, for the test that restores it ever after. It is made once for a version,
 * beside the others; an older one is never made anew.
 *
 * What is of the machine where it was made is taken out: paths, and what its processor has beyond every x86-64. The program in
 * it uses nothing of that.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { VERSION } from "../../src/generated/version.ts";
import type { Line } from "./edits.ts";
import { edit, privateCopy, saveTo, withDirectory } from "./restore.ts";

/** Features of the first processors with 64 bits. */
const FIRST = ["cmov", "cx8", "fxsr", "mmx", "sse", "sse2"];
/** x87 and SSE. */
const XFEATURES = 3;
const FXSAVE = 512;
/** Where FXSAVE leaves room for others. */
const UNUSED = 464;

interface SavedContext {
  fp: string;
}
interface Manifest {
  sandbox: { cpu: object; summary: { openFiles: Record<string, number> } };
}

const target = join(import.meta.dir, VERSION);
if (existsSync(target)) throw new Error(`${target} is there: the image of a version is made once`);
await withDirectory(async (directory) => {
  const image = join(directory, "image");
  await saveTo(image, "systrap");
  await edit(image, ({ lines, pages, manifest }) => {
    for (const line of lines) plain(line);
    withoutPaths(pages);
    const { sandbox } = manifest as unknown as Manifest;
    sandbox.cpu = { xfeatures: XFEATURES, words: FIRST, areas: [] };
  });
  rmSync(target, { recursive: true, force: true });
  privateCopy(image, target);
});
console.log(target);

/** Its floating-point state as a processor without XSAVE has it. */
function plain(line: Line): void {
  const context = line["type"] === "task" ? (line["ctx"] as SavedContext | null) : null;
  if (context === null) return;
  const fp = Buffer.from(context.fp, "base64").subarray(0, FXSAVE);
  fp.fill(0, UNUSED);
  context.fp = fp.toString("base64");
}

/** The host's vDSO tells where its kernel was built. */
function withoutPaths(pages: Uint8Array): void {
  const bytes = Buffer.from(pages.buffer, pages.byteOffset, pages.length);
  for (const pattern of [/\/[a-z]+\/[\x21-\x7e]{8,}/g, /\d+\.\d+\.\d+-[\x21-\x7e]{4,}/g])
    for (const match of bytes.toString("latin1").matchAll(pattern))
      bytes.fill("-", match.index, match.index + match[0].length);
}
