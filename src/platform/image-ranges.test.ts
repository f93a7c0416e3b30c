/** Ranges of an image's pages, compared with a page-by-page model. */
import { expect, test } from "bun:test";
import { ImageRanges } from "./image-ranges.ts";

const PAGES = 64;

test("ranges are what a list of pages would be", () => {
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 4294967296) * below);
  };
  for (let round = 0; round < 200; round++) {
    const ranges = new ImageRanges();
    const model: (number | null)[] = Array(PAGES).fill(null);
    for (let step = 0; step < 40; step++) {
      const start = random(PAGES);
      const end = start + 1 + random(PAGES - start);
      const prot = random(3);
      const what = random(3);
      if (what === 0) ranges.add({ start, end, prot });
      else if (what === 1) ranges.drop(start, end);
      else ranges.protect(start, end, prot);
      for (let page = start; page < end; page++)
        model[page] = what === 0 ? prot : what === 1 ? null : model[page] === null ? null : prot;
      const seen: (number | null)[] = Array(PAGES).fill(null);
      let last = 0;
      for (const range of ranges.within(0, PAGES)) {
        expect(range.start).toBeGreaterThanOrEqual(last);
        expect(range.end).toBeGreaterThan(range.start);
        last = range.end;
        seen.fill(range.prot, range.start, range.end);
      }
      expect(seen).toEqual(model);
      expect(ranges.empty).toBe(model.every((page) => page === null));
      const [from, to] = [random(PAGES), random(PAGES)].sort((a, b) => a - b) as [number, number];
      const part = ranges.within(from, to);
      expect(part.every((range) => range.start >= from && range.end <= to)).toBe(true);
      expect(part.reduce((sum, range) => sum + range.end - range.start, 0)).toBe(
        model.slice(from, to).filter((page) => page !== null).length,
      );
    }
    const copy = ranges.copy();
    ranges.clear();
    expect(copy.empty).toBe(model.every((page) => page === null));
  }
});
