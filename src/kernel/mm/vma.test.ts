/** The list of areas against a plain one: every change, with forks between, in a process of very many areas. */
import { expect, test } from "bun:test";
import { File } from "../vfs/file.ts";
import { type Area, PAGE_SIZE, PROT_READ, VMA_DONTFORK, VMA_WIPEONFORK, Vma, VmaList } from "./vma.ts";

const PAGES = 3000;

/** What each page is: protection, flags, and the file with the page of it. */
interface Page {
  prot: number;
  flags: number;
  file: File | null;
  offset: number;
}
class Model {
  readonly list: VmaList;
  readonly pages: (Page | undefined)[];
  constructor(from?: Model) {
    this.list = from?.list.fork() ?? new VmaList();
    this.pages = Array.from({ length: PAGES }, (_, i) => {
      const page = from?.pages[i];
      return page === undefined || page.flags & VMA_DONTFORK
        ? undefined
        : { ...page, flags: page.flags & ~VMA_WIPEONFORK };
    });
  }
  /** As the list must tell it: page after page. */
  check(files: readonly File[]): void {
    const seen: (Page | undefined)[] = Array.from({ length: PAGES });
    let last: Area | undefined;
    let areas = 0;
    for (const vma of this.list) {
      areas++;
      if (last !== undefined) expect(vma.start).toBeGreaterThanOrEqual(last.end);
      last = vma;
      for (let at = vma.start; at < vma.end; at += PAGE_SIZE)
        seen[at / PAGE_SIZE] = {
          prot: vma.prot,
          flags: vma.flags,
          file: vma.file,
          offset: vma.file === null ? 0 : (vma.offset + at - vma.start) / PAGE_SIZE,
        };
    }
    expect(areas).toBe(this.list.length);
    for (let i = 0; i < PAGES; i++) {
      const [is, should] = [seen[i], this.pages[i]];
      if (
        is?.prot !== should?.prot ||
        is?.flags !== should?.flags ||
        (is?.file ?? null) !== (should?.file ?? null) ||
        is?.offset !== should?.offset
      )
        throw new Error(`page ${i} of file ${files.indexOf(is?.file as File)} is not what it should be`);
    }
  }
}

class PlainFile extends File {
  override onRelease(): void {}
}
const plainFile = (): File => new PlainFile(0, null, null);

/** The same numbers each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

for (const seed of [1, 2, 3])
  test(`changes and forks, in any order (${seed})`, () => {
    const random = numbers(seed);
    const files = [plainFile(), plainFile(), plainFile()];
    let models = [new Model()];
    for (let step = 0; step < 6000; step++) {
      const model = models[random(models.length)]!;
      const { list, pages } = model;
      const from = random(PAGES - 1);
      const to = Math.min(PAGES, from + 1 + (random(20) === 0 ? random(600) : random(4)));
      const [start, end] = [from * PAGE_SIZE, to * PAGE_SIZE];
      const kind = random(100);
      if (kind < 50) {
        list.cut(start, end);
        const which = random(6);
        const file = files[which] ?? null;
        const page = { prot: random(3), flags: 0, file, offset: 0 };
        const offset = file === null ? 0 : from;
        list.insert(new Vma(start, end, page.prot, false, file?.retain() ?? null, null, offset * PAGE_SIZE));
        for (let i = from; i < to; i++) pages[i] = { ...page, offset: file === null ? 0 : i };
      } else if (kind < 70) {
        const bytes = list.cut(start, end);
        let were = 0;
        for (let i = from; i < to; i++) if (pages[i] !== undefined) were += PAGE_SIZE;
        expect(bytes).toBe(were);
        pages.fill(undefined, from, to);
      } else if (kind < 97) {
        const flags = [0, 0, 0, VMA_DONTFORK, VMA_WIPEONFORK][random(5)]!;
        list.splitAt(start);
        list.splitAt(end);
        list.change(start, end, (vma) => {
          vma.prot = PROT_READ;
          vma.flags = flags;
        });
        list.mergeBetween(start, end);
        for (let i = from; i < to; i++) if (pages[i] !== undefined) pages[i] = { ...pages[i]!, prot: PROT_READ, flags };
      } else if (kind < 99 && models.length < 6) models.push(new Model(model));
      else if (models.length > 1) {
        list.clear();
        models = models.filter((each) => each !== model);
      }
      const vma = list.find(start);
      if (models.includes(model)) {
        expect(vma !== undefined).toBe(pages[from] !== undefined);
        expect(list.free(start, end)).toBe(pages.slice(from, to).every((page) => page === undefined));
        const hole = pages.slice(from, to).indexOf(undefined);
        if (list.reach(start, end, -1) < end && hole < 0)
          expect(pages.slice(from, to).some((page) => page!.prot === 0)).toBe(true);
      }
      if (step % 500 === 0) for (const each of models) each.check(files);
    }
    for (const each of models) each.check(files);
    for (const each of models) each.list.clear();
    // Ours is the last reference: none was lost, none was dropped twice.
    expect(files.map(({ refs }) => refs)).toEqual([1, 1, 1]);
  });

test("what continues its neighbours becomes one area, across the borders of chunks too", () => {
  const list = new VmaList();
  const count = 2000;
  for (let i = 0; i < count; i++) list.insert(new Vma(i * PAGE_SIZE, (i + 1) * PAGE_SIZE, i % 2, false, null, null, 0));
  expect(list.length).toBe(count);
  const child = list.fork();
  list.change(0, count * PAGE_SIZE, (vma) => {
    vma.prot = PROT_READ;
  });
  list.mergeBetween(0, count * PAGE_SIZE);
  expect([...list].map(({ start, end }) => [start, end])).toEqual([[0, count * PAGE_SIZE]]);
  expect(child.length).toBe(count);
  expect(child.find(0)!.prot).toBe(0);
});

test("gaps are found from the top, beyond chunks", () => {
  const list = new VmaList();
  for (let i = 0; i < 1000; i++)
    list.insert(new Vma(2 * i * PAGE_SIZE, (2 * i + 1) * PAGE_SIZE, 1, false, null, null, 0));
  list.cut(100 * PAGE_SIZE, 103 * PAGE_SIZE);
  const top = 2000 * PAGE_SIZE;
  expect(list.findGapTopDown(PAGE_SIZE, 0, top)).toBe(1999 * PAGE_SIZE);
  expect(list.findGapTopDown(5 * PAGE_SIZE, 0, top)).toBe(99 * PAGE_SIZE);
  expect(list.findGapTopDown(6 * PAGE_SIZE, 0, top)).toBe(-1);
});
