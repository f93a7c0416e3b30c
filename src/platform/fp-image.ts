/**
 * Images of floating-point state: the XSAVE area of a signal frame, with Linux' words by which programs tell its size (struct
 * _fpx_sw_bytes at byte 464, a magic number behind the end), or 512 bytes of FXSAVE on a processor without XSAVE.
 *
 * An image may come from a stranger: it is looked at here before anything is done with it, and once more by who loads it.
 * Where components lie differs between processors; those of an image from elsewhere are put where this one has them.
 */
import type { CpuFeatures } from "./platform.ts";

const LEGACY = 512;
const HEADER_END = 576;
const MXCSR = 24;
const SW_BYTES = 464;
const MAGIC1 = 0x46505853;
const MAGIC2 = 0x46505845;
/** Bits of MXCSR that every processor has. What else this one has is known to whoever loads the image. */
const MXCSR_BITS = 0x2ffff;
/** Protection keys: guests get none, so what is said of them is of no use. */
const PKRU = 9;

/** Bytes of the area: to the end of the last component. */
function areaSize({ areas }: Pick<CpuFeatures, "areas">): number {
  let size = HEADER_END;
  for (let i = 0; i < areas.length; i += 3) size = Math.max(size, areas[i + 1]! + areas[i + 2]!);
  return size;
}

const viewOf = (image: Uint8Array): DataView => new DataView(image.buffer, image.byteOffset, image.byteLength);

/** The components that an image has something to say of, as a number; -1: no processor has written this. */
function components(image: Uint8Array): number {
  if (image.length < LEGACY) return -1;
  const view = viewOf(image);
  if (view.getUint32(MXCSR, true) & ~MXCSR_BITS) return -1;
  if (image.length === LEGACY) return 3;
  const size = view.getUint32(SW_BYTES + 16, true);
  if (size < HEADER_END || image.length !== size + 4) return -1;
  if (view.getUint32(SW_BYTES, true) !== MAGIC1 || view.getUint32(SW_BYTES + 4, true) !== size + 4) return -1;
  if (view.getUint32(size, true) !== MAGIC2) return -1;
  // No compacted form, and nothing in what is reserved.
  for (let at = LEGACY + 8; at < HEADER_END; at += 4) if (view.getUint32(at, true) !== 0) return -1;
  const high = view.getUint32(LEGACY + 4, true);
  return high >= 0x200000 ? -1 : view.getUint32(LEGACY, true) + high * 4294967296;
}
const has = (features: number, component: number): boolean => Math.floor(features / 2 ** component) % 2 === 1;

/** May an image be loaded on this processor as it is? `size`: that of the images that this platform gives. */
export function fits(image: Uint8Array, size: number, cpu: Pick<CpuFeatures, "xfeatures">): boolean {
  if (image.length !== size) return false;
  const named = components(image);
  if (named < 0) return false;
  if (image.length === LEGACY) return true;
  for (let component = 0; component < 53; component++)
    if (has(named, component) && !has(cpu.xfeatures, component)) return false;
  return true;
}

/**
 * An image of a processor whose components lay as `from` says, as one of this processor: null when it names a component
 * that this one has not, or makes no sense.
 */
export function relocate(image: Uint8Array, from: readonly number[], cpu: CpuFeatures): Uint8Array | null {
  const named = components(image);
  if (named < 0) return null;
  if (cpu.xfeatures === 0) return named <= 3 ? image.slice(0, LEGACY) : null;
  const size = areaSize(cpu);
  const made = new Uint8Array(size + 4);
  made.set(image.subarray(0, SW_BYTES));
  let kept = named % 4;
  for (let component = 2; component < 53; component++) {
    if (!has(named, component)) continue;
    const there = place(from, component);
    const here = place(cpu.areas, component);
    if (there === null || there.offset < HEADER_END || there.offset + there.size > image.length - 4) return null;
    if (here === null || !has(cpu.xfeatures, component)) {
      if (component === PKRU) continue;
      return null;
    }
    if (here.size !== there.size) return null;
    made.set(image.subarray(there.offset, there.offset + there.size), here.offset);
    kept += 2 ** component;
  }
  const view = viewOf(made);
  view.setUint32(SW_BYTES, MAGIC1, true);
  view.setUint32(SW_BYTES + 4, size + 4, true);
  view.setUint32(SW_BYTES + 8, cpu.xfeatures % 4294967296, true);
  view.setUint32(SW_BYTES + 12, Math.floor(cpu.xfeatures / 4294967296), true);
  view.setUint32(SW_BYTES + 16, size, true);
  view.setUint32(LEGACY, kept % 4294967296, true);
  view.setUint32(LEGACY + 4, Math.floor(kept / 4294967296), true);
  view.setUint32(size, MAGIC2, true);
  return made;
}

function place(areas: readonly number[], component: number): { offset: number; size: number } | null {
  for (let i = 0; i + 2 < areas.length; i += 3)
    if (areas[i] === component) return { offset: areas[i + 1]!, size: areas[i + 2]! };
  return null;
}
