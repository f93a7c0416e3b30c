/** Sparse files: their blocks that are not all zero, a checksum of these, and packing them. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { getSystemErrorName } from "node:util";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import { RuntimeError } from "../../core/errors.ts";
import { dataExtents } from "../../native/extents.ts";
import { ftruncate, pread, pwrite } from "../../native/host.ts";

export const BLOCK = 64 * 1024;
/** Read at once, and between two looks at the event loop. */
const CHUNK = 64 * BLOCK;
const ENOSPC = 28;
const ZERO = Buffer.alloc(BLOCK);
/** Level 1 is several times as quick as the usual 3, and packs memory nearly as well. */
const LEVEL = 1;

/** Called with the bytes that have been gone through, of how many. */
export type Progress = (bytes: number, total: number) => void;

export interface Blocks {
  offset: number;
  /** Valid until the next ones are asked for. */
  bytes: Buffer;
}

function failed(what: string, errno: number): RuntimeError {
  return new RuntimeError("host", `cannot ${what}: ${getSystemErrorName(errno)}`);
}

/** Runs of blocks that are not all zero, in order. Where the file system knows of holes they are not read. */
export async function* dataBlocks(fd: number, size: number, progress: Progress = () => {}): AsyncGenerator<Blocks> {
  // What of it is used has been read before: a small file need not pay for clearing it.
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, Math.max(BLOCK, size)));
  let at = 0;
  for (const [data, hole] of dataExtents(fd, 0, size)) {
    const end = Math.min(size, Math.ceil(hole / BLOCK) * BLOCK);
    // Two extents may meet in one block.
    for (at = Math.max(at, data - (data % BLOCK)); at < end; ) {
      const wanted = Math.min(buffer.length, end - at);
      readWhole(fd, buffer.subarray(0, wanted), at);
      yield* notZero(buffer.subarray(0, wanted), at);
      at += wanted;
      progress(at, size);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  progress(size, size);
}

function readWhole(fd: number, into: Buffer, offset: number): void {
  for (let done = 0; done < into.length; ) {
    const part = into.subarray(done);
    const n = pread(fd, part, part.length, offset + done);
    if (n < 0) throw failed("read", n);
    // It became shorter meanwhile.
    if (n === 0) throw new RuntimeError("host", "the file has been changed while it was read");
    done += n;
  }
}

function* notZero(bytes: Buffer, offset: number): Generator<Blocks> {
  let from = -1;
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    const zero = ZERO.subarray(0, block.length).equals(block);
    if (zero && from >= 0) yield { offset: offset + from, bytes: bytes.subarray(from, at) };
    if (zero) from = -1;
    else if (from < 0) from = at;
  }
  if (from >= 0) yield { offset: offset + from, bytes: bytes.subarray(from) };
}

/** The checksum of a sparse file, see format.ts. */
export class BlockDigest {
  private readonly hash = createHash("sha256");

  add({ offset, bytes }: Blocks): void {
    const list = Buffer.alloc(Math.ceil(bytes.length / BLOCK) * 16);
    for (let at = 0, entry = 0; at < bytes.length; at += BLOCK, entry += 16) {
      list.writeBigUInt64LE(BigInt((offset + at) / BLOCK), entry);
      list.writeBigUInt64LE(Bun.hash.xxHash3(bytes.subarray(at, at + BLOCK)), entry + 8);
    }
    this.hash.update(list);
  }

  end(): string {
    return this.hash.digest("hex");
  }
}

export async function digestOf(fd: number, size: number, progress?: Progress): Promise<string> {
  const digest = new BlockDigest();
  for await (const blocks of dataBlocks(fd, size, progress)) digest.add(blocks);
  return digest.end();
}

/** Packs a file's blocks into another; what it needs to be unpacked again. */
export async function pack(
  from: number,
  size: number,
  to: number,
  progress?: Progress,
): Promise<{ digest: string; extents: number[] }> {
  const digest = new BlockDigest();
  const extents: number[] = [];
  async function* contents(): AsyncGenerator<Buffer> {
    for await (const blocks of dataBlocks(from, size, progress)) {
      digest.add(blocks);
      const { offset, bytes } = blocks;
      const last = extents.length - 2;
      if (last >= 0 && extents[last]! + extents[last + 1]! === offset) extents[last + 1]! += bytes.length;
      else extents.push(offset, bytes.length);
      yield Buffer.from(bytes);
    }
  }
  const params = { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_checksumFlag]: 1 };
  let written = 0;
  await pipeline(Readable.from(contents()), createZstdCompress({ params }), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      writeAt(to, chunk, written);
      written += chunk.length;
    }
  });
  return { digest: digest.end(), extents };
}

/** Unpacks into an empty file, which gets holes where there were some. Never writes more than the extents say. */
export async function unpack(
  packed: AsyncIterable<Buffer>,
  to: number,
  size: number,
  extents: readonly number[],
): Promise<void> {
  const truncated = ftruncate(to, size);
  if (truncated < 0) throw failed("make room for the pages", truncated);
  let extent = 0;
  let done = 0;
  const take = (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      if (extent >= extents.length) throw new Error("it has more than was packed");
      const n = Math.min(extents[extent + 1]! - done, chunk.length - at);
      writeAt(to, chunk.subarray(at, at + n), extents[extent]! + done);
      at += n;
      done += n;
      if (done < extents[extent + 1]!) continue;
      extent += 2;
      done = 0;
    }
  };
  await pipeline(Readable.from(packed), createZstdDecompress(), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) take(chunk);
  });
  if (extent < extents.length) throw new Error("it has less than was packed");
}

function writeAt(fd: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length; ) {
    const part = bytes.subarray(done);
    const n = pwrite(fd, part, part.length, offset + done);
    if (n <= 0) throw failed("write the pages", n || -ENOSPC);
    done += n;
  }
}

/** Extents that lie in order in a file of that size, at blocks; null: they do. */
export function extentsProblem(extents: readonly number[], size: number): string | null {
  if (extents.length % 2 !== 0) return "an extent without a length";
  let end = 0;
  for (let i = 0; i < extents.length; i += 2) {
    const [offset, length] = [extents[i]!, extents[i + 1]!];
    if (offset < end || length <= 0 || offset % BLOCK !== 0 || offset + length > size)
      return `an extent of ${length} bytes at ${offset}`;
    end = offset + length;
  }
  return null;
}
