import { expect, test } from "bun:test";
import { ResolvedNames, readReply } from "./names.ts";

const label = (text: string): number[] => text.split(".").flatMap((each) => [each.length, ...Buffer.from(each)]);
/** A reply about `name` with records of [type, data]. */
function reply(name: string, records: [number, number[]][], flags = 0x8180): Uint8Array {
  const answers = records.flatMap(([type, data]) => [0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length, ...data]);
  const head = [1, 2, flags >> 8, flags & 255, 0, 1, 0, records.length, 0, 0, 0, 0];
  return Uint8Array.from([...head, ...label(name), 0, 0, 1, 0, 1, ...answers]);
}

test("addresses of both families, through an alias", () => {
  const v6 = [0x20, 1, 0xd, 0xb8, ...new Array<number>(11).fill(0), 1];
  const bytes = reply("Some.Example", [
    [5, [1, 97, 0xc0, 12]],
    [1, [192, 0, 2, 1]],
    [28, v6],
  ]);
  expect(readReply(bytes)).toEqual({
    name: "some.example",
    addresses: [0xc0000201, "20010db8000000000000000000000001"],
  });
});

test("what is no such reply tells nothing, wherever it ends", () => {
  const good = reply("a.example", [[1, [192, 0, 2, 1]]]);
  for (let end = 0; end < good.length; end++) expect(readReply(good.subarray(0, end))).toBeNull();
  expect(readReply(reply("a.example", [[1, [192, 0, 2, 1]]], 0x0100))).toBeNull();
  expect(readReply(reply("a.example", [[1, [192, 0, 2, 1]]], 0x8183))).toBeNull();
  expect(readReply(reply("a\u001b[2J.example", [[1, [192, 0, 2, 1]]]))).toBeNull();
  expect(readReply(reply("a.example", [[1, [192, 0, 2]]]))).toBeNull();
  // A name that leads to itself ends nothing.
  for (let i = 0; i < 2000; i++) readReply(Uint8Array.from({ length: 64 }, () => Math.floor(Math.random() * 256)));
});

test("the latest name first, and no more than there may be", () => {
  const names = new ResolvedNames();
  for (const name of ["a.example", "b.example", "a.example"]) names.learn(reply(name, [[1, [192, 0, 2, 1]]]));
  expect(names.of(0xc0000201)).toEqual(["a.example", "b.example"]);
  for (let i = 0; i < 20; i++) names.learn(reply(`n${i}.example`, [[1, [192, 0, 2, 1]]]));
  expect(names.of(0xc0000201)).toHaveLength(8);
  for (let i = 0; i < 1100; i++) names.learn(reply("many.example", [[1, [10, 0, i >> 8, i & 255]]]));
  expect(names.of(0xc0000201)).toEqual([]);
  expect(names.of(0x0a000000)).toEqual([]);
  expect(names.of(0x0a000400)).toEqual(["many.example"]);
});
