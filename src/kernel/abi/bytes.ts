/**
 * Names and paths: Linux has bytes, JavaScript has strings.
 *
 * Valid UTF-8 becomes the text it means, so that plugins see what people wrote; each byte that is not part of valid
 * UTF-8 becomes the lone surrogate U+DC80..U+DCFF (as in Python's "surrogateescape"), so that every name survives the
 * way there and back.
 */

/** Bytes → name. */
export function decodeName(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let ascii = true;
  for (let i = start; i < end; i++)
    if (bytes[i]! >= 0x80) {
      ascii = false;
      break;
    }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
  if (ascii) return view.toString("latin1");
  let out = "";
  let i = 0;
  const n = end - start;
  while (i < n) {
    const b = view[i]!;
    if (b < 0x80) {
      out += String.fromCharCode(b);
      i++;
      continue;
    }
    const length = b >= 0xf0 && b <= 0xf4 ? 4 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xc2 && b < 0xe0 ? 2 : 0;
    let code = length === 4 ? b & 7 : length === 3 ? b & 15 : b & 31;
    let valid = length > 0 && i + length <= n;
    for (let k = 1; valid && k < length; k++) {
      const c = view[i + k]!;
      if ((c & 0xc0) !== 0x80) valid = false;
      code = (code << 6) | (c & 63);
    }
    if (valid && length === 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) valid = false;
    if (valid && length === 4 && (code < 0x10000 || code > 0x10ffff)) valid = false;
    if (valid) {
      out += String.fromCodePoint(code);
      i += length;
    } else {
      out += String.fromCharCode(0xdc00 + b);
      i++;
    }
  }
  return out;
}

const NOT_ASCII = /[^\0-\x7f]/;

/** Name → bytes (without a NUL). */
export function encodeName(name: string): Uint8Array {
  if (!NOT_ASCII.test(name)) return Buffer.from(name, "latin1");
  const parts: number[] = [];
  for (const ch of name) {
    const code = ch.codePointAt(0)!;
    if (code >= 0xdc80 && code <= 0xdcff) parts.push(code - 0xdc00);
    else if (code < 0x80) parts.push(code);
    else for (const b of Buffer.from(ch, "utf8")) parts.push(b);
  }
  return Uint8Array.from(parts);
}

/** Name → NUL-terminated bytes for host calls. */
export function encodeCString(name: string): Uint8Array {
  const bytes = encodeName(name);
  const out = new Uint8Array(bytes.length + 1);
  out.set(bytes);
  return out;
}
