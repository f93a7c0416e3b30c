/**
 * What a message costs of its sender's buffer: Linux charges the memory that a socket buffer takes, not its bytes.
 *
 * The formulas give what SIOCOUTQ shows on Linux 6.18 (x86-64): a header of 256 bytes, a linear part rounded up to a
 * power of two together with 320 bytes of its own, further pages for long messages.
 */
function linear(bytes: number): number {
  let block = 512;
  while (block < bytes + 320) block *= 2;
  return 256 + block;
}

function withPages(length: number, linearMax: number): number {
  if (length <= linearMax) return linear(length);
  const pages = Math.min(Math.ceil((length - linearMax) / 4096) * 4096, Math.ceil(length / 4096) * 4096);
  return linear(Math.max(0, length - pages)) + pages;
}

/** The most that a stream puts into one buffer. */
export const STREAM_CHUNK = 36544;

export const streamTruesize = (length: number): number => withPages(length, 3776);
export const datagramTruesize = (length: number): number => withPages(length, 16064);
