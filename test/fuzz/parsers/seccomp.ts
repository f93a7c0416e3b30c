/** Seccomp profiles, and classic BPF programs of guests: checked, then run on random calls. */

import * as v from "valibot";
import { compileProfile } from "../../../src/boot/seccomp-profile.ts";
import * as schema from "../../../src/core/spec/schema.ts";
import { checkProgram, SeccompFilter } from "../../../src/kernel/task/seccomp.ts";
import type { ParserFuzzer } from "../parser-run.ts";
import { fullSpec } from "../samples.ts";

let text = "";
class Refused extends Error {}

const CODES = [
  0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x0c, 0x14, 0x15, 0x16, 0x1c, 0x1d, 0x20, 0x24, 0x25, 0x2c, 0x2d, 0x34,
  0x35, 0x3c, 0x3d, 0x40, 0x44, 0x45, 0x4c, 0x4d, 0x54, 0x5c, 0x60, 0x61, 0x64, 0x6c, 0x74, 0x7c, 0x80, 0x81, 0x84,
  0x87, 0xa4, 0xac,
];

export const fuzzer: ParserFuzzer = {
  one(random) {
    if (random.oneIn(2)) {
      const spoiled = random.spoilJson(fullSpec.linux.seccomp, 8 + random.below(30));
      text = JSON.stringify(spoiled);
      const parsed = v.safeParse(schema.seccompSchema, JSON.parse(text));
      if (!parsed.success) throw new Refused("schema");
      new SeccompFilter(compileProfile(parsed.output), null);
      return;
    }
    const length = 1 + random.below(12);
    const words = new Uint32Array(4 * length);
    for (let i = 0; i < length; i++) {
      const jump = random.oneIn(8) ? 256 : length - i;
      words.set(
        [
          random.oneIn(16) ? random.below(65536) : random.pick(CODES),
          random.below(jump),
          random.below(jump),
          random.oneIn(2) ? 4 * random.below(17) : random.oneIn(2) ? random.below(20) : random.next(),
        ],
        4 * i,
      );
    }
    if (!random.oneIn(6)) words.set([6, 0, 0, random.next()], 4 * (length - 1));
    text = [...words].join(" ");
    if (!checkProgram(words)) return;
    const filter = new SeccompFilter(words, null);
    const data = new Uint32Array(16).map(() => random.next());
    data[0] = random.below(500);
    const verdict = filter.answer(data);
    if (!Number.isInteger(verdict)) throw new TypeError(`the program's verdict is ${verdict}`);
  },
  last: () => text,
  meant: (error) => error instanceof Refused || (error instanceof Error && error.message.startsWith("linux.seccomp")),
};
