/** Images of floating-point state between processors whose components lie in different places. */
import { expect, test } from "bun:test";
import { fits, relocate } from "./fp-image.ts";
import type { CpuFeatures } from "./platform.ts";

const AVX = [2, 576, 256];
/** One with AVX-512 where Intel has it, and protection keys; one with them where AMD has them; an older one. */
const INTEL: CpuFeatures = {
  xfeatures: 0x2e7,
  words: [],
  areas: [...AVX, 5, 1088, 64, 6, 1152, 512, 7, 1664, 1024, 9, 2688, 8],
};
const AMD: CpuFeatures = {
  xfeatures: 0x2e7,
  words: [],
  areas: [...AVX, 5, 832, 64, 6, 896, 512, 7, 1408, 1024, 9, 2432, 8],
};
const OLD: CpuFeatures = { xfeatures: 7, words: [], areas: AVX };
const NONE: CpuFeatures = { xfeatures: 0, words: [], areas: [] };

function sizeOf({ areas }: CpuFeatures): number {
  let size = 576;
  for (let i = 0; i < areas.length; i += 3) size = Math.max(size, areas[i + 1]! + areas[i + 2]!);
  return size + 4;
}
/** An image in which each component is filled with its number, and those of `named` are said to be in use. */
function imageOf(cpu: CpuFeatures, named: number): Uint8Array {
  const size = sizeOf(cpu);
  const image = new Uint8Array(size);
  image.fill(1, 32, 416);
  const view = new DataView(image.buffer);
  view.setUint32(24, 0x1f80, true);
  view.setUint32(464, 0x46505853, true);
  view.setUint32(468, size, true);
  view.setUint32(472, cpu.xfeatures, true);
  view.setUint32(480, size - 4, true);
  view.setUint32(512, named, true);
  view.setUint32(size - 4, 0x46505845, true);
  for (let i = 0; i < cpu.areas.length; i += 3)
    image.fill(cpu.areas[i]!, cpu.areas[i + 1]!, cpu.areas[i + 1]! + cpu.areas[i + 2]!);
  return image;
}

test("components are put where the other processor has them", () => {
  for (const [from, to] of [
    [INTEL, AMD],
    [AMD, INTEL],
    [INTEL, INTEL],
  ] as const) {
    const image = imageOf(from, 0x2e7);
    expect(fits(image, sizeOf(from), from)).toBe(true);
    const moved = relocate(image, from.areas, to);
    expect(moved).not.toBeNull();
    expect(Buffer.compare(moved!, imageOf(to, 0x2e7))).toBe(0);
    expect(fits(moved!, sizeOf(to), to)).toBe(true);
  }
});

test("what is in use and is not there is refused; what is not in use is left out", () => {
  expect(relocate(imageOf(INTEL, 0xe7), INTEL.areas, OLD)).toBeNull();
  // Protection keys say nothing to a guest.
  const moved = relocate(imageOf(INTEL, 0x207), INTEL.areas, OLD)!;
  expect(Buffer.compare(moved, imageOf(OLD, 7))).toBe(0);
  const back = relocate(moved, OLD.areas, INTEL)!;
  expect(fits(back, sizeOf(INTEL), INTEL)).toBe(true);
  expect(new DataView(back.buffer).getUint32(512, true)).toBe(7);
  expect([...back.subarray(576, 832)].every((byte) => byte === 2)).toBe(true);
  expect([...back.subarray(1088, 1152)].every((byte) => byte === 0)).toBe(true);
  expect(relocate(imageOf(OLD, 7), OLD.areas, NONE)).toBeNull();
  expect(relocate(imageOf(OLD, 3), OLD.areas, NONE)!.length).toBe(512);
  expect(relocate(imageOf(OLD, 3).subarray(0, 512), [], OLD)!.length).toBe(sizeOf(OLD));
});

test("nonsense is refused", () => {
  const good = imageOf(INTEL, 0x2e7);
  // The layout that an image's own manifest names is as little to be trusted.
  for (const areas of [[], [2], [...AVX, 5, 0, 64], [2, 576, 257, 5, 1088, 64], [2, 2 ** 40, 256], [2, -5, 256]])
    expect(relocate(good, areas, AMD)).toBeNull();
  expect(fits(good, sizeOf(INTEL), OLD)).toBe(false);
  expect(fits(good, sizeOf(AMD), AMD)).toBe(false);
  for (const [at, byte] of [
    [27, 0xff],
    [464, 0],
    [468, 1],
    [481, 0xff],
    [519, 0xff],
    [520, 1],
    [575, 1],
    [good.length - 1, 0],
  ] as const) {
    const bad = good.slice();
    bad[at] = byte;
    expect(fits(bad, sizeOf(INTEL), INTEL)).toBe(false);
    expect(relocate(bad, INTEL.areas, AMD)).toBeNull();
  }
  expect(relocate(new Uint8Array(10), INTEL.areas, AMD)).toBeNull();
});
