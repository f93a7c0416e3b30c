/**
 * The image directory of a checkpoint:
 *
 *   manifest.json    what it is, of which container, and checksums of the other parts
 *   objects.jsonl    the objects of the kernel, one a line
 *   pages            bytes of the kernel's large buffers and of files in memory, sparse; or pages.zst
 *   memory/0 …       memory of programs, a file for each address space, sparse; or memory/0.zst …
 *   inventory.img    nothing: Podman takes a directory for an image only when it has CRIU's file of this name
 *
 * What lies in one file can be seen by whoever maps a part of it and breaks out of its bounds: so no address space has its
 * memory in a file with anything else.
 *
 * Directories are 0700, files 0600. Checksums find damage, not malice: who can write an image can write its checksums.
 * That of objects.jsonl is plain SHA-256. That of pages and memory is the SHA-256 of a list (number of the block and its XXH3, each
 * 64 bits, little endian) of the blocks of 64 KiB that are not all zero: holes cost nothing, and whether zeros are holes does
 * not matter, so that any program may copy an image. Pages are read whenever an image is restored, hence the quick hash.
 */
import { createHash } from "node:crypto";
import * as v from "valibot";
import { RuntimeError } from "../../core/errors.ts";
import type { SavedContainer } from "../../core/image.ts";
import type { SandboxManifest } from "../../core/sandbox.ts";

/** Raised when an older runts could not read it any more. */
export const FORMAT = 1;
export const MANIFEST = "manifest.json";
export const OBJECTS = "objects.jsonl";
export const PAGES = "pages";
const PACKED = ".zst";
export const PACKED_PAGES = `${PAGES}${PACKED}`;
export const MEMORY = "memory";
/** Name of the part with the memory of an address space. */
export const memoryName = (space: number, packed: boolean): string => `${MEMORY}/${space}${packed ? PACKED : ""}`;
export const MARKER = "inventory.img";
/** More is no manifest. */
export const MANIFEST_MAX = 64 * 1024 * 1024;
export const SPACES_MAX = 4096;

/** A file, as it is stored. */
export interface Part {
  bytes: number;
  digest: string;
}

/** A file with holes, which may be packed. */
export interface SparsePart extends Part {
  /** Of a packed one. */
  content?: Unpacked;
}

/** Pages that were packed: the blocks that were, as they lie one after the other in the file. */
export interface Unpacked extends Part {
  /** [offset, length, …] */
  extents: number[];
}

export interface ImageManifest {
  format: number;
  /** RFC 3339. */
  created: string;
  /** Version of the runts that wrote it. */
  runts: string;
  container: SavedContainer;
  /** Those that had joined its sandbox, in the order of `sandbox.containers`; absent: it was alone. */
  others?: SavedContainer[];
  sandbox: SandboxManifest;
  parts: {
    objects: Part;
    /** Absent: they are packed. */
    pages?: Part;
    packed?: Part & { content: Unpacked };
    /** Of each address space, in order; packed when the pages are. */
    memory: SparsePart[];
  };
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "expected a checksum"));
const part = v.object({ bytes: count, digest });
const unpacked = v.object({ ...part.entries, extents: v.array(count) });
/** Nanoseconds since the epoch are more than a safe integer. */
const nanoseconds = v.pipe(v.number(), v.finite(), v.minValue(0));
const counts = v.record(v.string(), count);
const strings = v.array(v.string());

const sandboxSchema = v.looseObject({
  kernel: v.string(),
  platform: v.string(),
  arch: v.string(),
  clock: v.object({ monotonicNs: nanoseconds, boottimeNs: nanoseconds, realtimeNs: nanoseconds }),
  cpu: v.object({
    xfeatures: v.pipe(v.number(), v.finite(), v.minValue(0)),
    words: strings,
    areas: v.array(count),
  }),
  schema: count,
  spaces: v.pipe(count, v.maxValue(SPACES_MAX)),
  containers: v.array(
    v.looseObject({ id: v.string(), trees: count, stdio: count, ended: v.record(v.string(), v.number()) }),
  ),
  summary: v.looseObject({
    processes: v.array(v.looseObject({ pid: count, ppid: count, comm: v.string(), args: strings, threads: count })),
    memoryBytes: v.looseObject({ private: count, shared: count, files: count }),
    openFiles: counts,
    sockets: counts,
  }),
});

const containerSchema = v.looseObject({
  id: v.string(),
  bundle: v.nullable(v.string()),
  overlay: v.picklist(["none", "memory"]),
  spec: v.looseObject({
    ociVersion: v.string(),
    mounts: v.optional(v.array(v.looseObject({ destination: v.string(), options: v.optional(strings) }))),
    process: v.optional(v.looseObject({ terminal: v.optional(v.boolean()), args: v.optional(strings) })),
    root: v.optional(v.looseObject({ path: v.string() })),
    linux: v.optional(v.looseObject({})),
  }),
});

const manifestSchema = v.pipe(
  v.looseObject({
    format: v.literal(FORMAT),
    created: v.string(),
    runts: v.string(),
    container: containerSchema,
    others: v.optional(v.array(containerSchema)),
    sandbox: sandboxSchema,
    parts: v.pipe(
      v.object({
        objects: part,
        pages: v.optional(part),
        packed: v.optional(v.object({ ...part.entries, content: unpacked })),
        memory: v.pipe(v.array(v.object({ ...part.entries, content: v.optional(unpacked) })), v.maxLength(SPACES_MAX)),
      }),
      v.check(({ pages, packed }) => (pages === undefined) !== (packed === undefined), "expected pages or packed"),
      v.check(
        ({ packed, memory }) => memory.every(({ content }) => (content === undefined) === (packed === undefined)),
        "expected memory that is packed as the pages are",
      ),
    ),
  }),
  v.check(
    ({ sandbox, parts }) => sandbox.spaces === parts.memory.length,
    "expected a part of memory for each address space",
  ),
);

/** The containers of the specs and those of the objects are the same. */
function sameContainers({ container, others = [], sandbox }: ImageManifest): boolean {
  const ids = [container, ...others].map(({ id }) => id);
  // Of one alone the name is nobody's concern.
  if (ids.length === 1 && sandbox.containers.length === 1) return true;
  return JSON.stringify(ids) === JSON.stringify(sandbox.containers.map(({ id }) => id));
}

/** Something of an image is not as it should be. */
export function imageError(part: string, reason: string, cause?: unknown): RuntimeError {
  return new RuntimeError("image", `${part}: ${reason}`, { path: part, cause });
}

const OWN_DIGEST = "sha256";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const textOf = (manifest: object, digest: string) =>
  `${JSON.stringify({ ...manifest, [OWN_DIGEST]: digest }, null, 2)}\n`;

/** With a checksum of itself as its last field: of the same text without the checksum. */
export function manifestText(manifest: ImageManifest): string {
  return textOf(manifest, sha256(textOf(manifest, "")));
}

/** `edited`: somebody may have changed it on purpose: its own checksum is not looked at. */
export function parseManifest(text: string, edited = false): ImageManifest {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw imageError(MANIFEST, `not valid JSON (${(cause as Error).message})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw imageError(MANIFEST, "expected an object");
  if (!Number.isInteger(value["format"])) throw imageError(MANIFEST, "this is not an image of runts: it has no format");
  if ((value["format"] as number) > FORMAT)
    throw imageError(
      MANIFEST,
      `format ${value["format"]} is of a newer version of runts (${String(value["runts"]).slice(0, 64)}); this one reads ${FORMAT}`,
    );
  const { [OWN_DIGEST]: own, ...rest } = value;
  if (!edited) {
    const at = typeof own === "string" ? text.lastIndexOf(`"${own}"`) : -1;
    if (at < 0) throw imageError(MANIFEST, "it has no checksum of itself");
    const bare = `${text.slice(0, at + 1)}${text.slice(at + 1 + (own as string).length)}`;
    if (sha256(bare) !== own) throw imageError(MANIFEST, "damaged: its checksum is another");
  }
  const result = v.safeParse(manifestSchema, rest);
  if (!result.success) {
    const [issue] = result.issues;
    throw imageError(MANIFEST, `${v.getDotPath(issue) ?? "the whole"}: ${issue.message}`);
  }
  const manifest = result.output as unknown as ImageManifest;
  if (!sameContainers(manifest))
    throw imageError(MANIFEST, "container, others: they are not those of sandbox.containers");
  return manifest;
}
