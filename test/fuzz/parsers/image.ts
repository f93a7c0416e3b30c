/** Image directories of checkpoints, as commands read them: the manifest, packed pages, objects that are looked at. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RuntimeError } from "../../../src/core/errors.ts";
import { restoredSpec } from "../../../src/core/image.ts";
import { SavedFiles } from "../../../src/plugins/checkpoint/files.ts";
import {
  type ImageManifest,
  MANIFEST,
  manifestText,
  memoryName,
  OBJECTS,
  PACKED_PAGES,
} from "../../../src/plugins/checkpoint/format.ts";
import { inspectJson, inspectText } from "../../../src/plugins/checkpoint/inspect.ts";
import { Image } from "../../../src/plugins/checkpoint/read.ts";
import { reseal } from "../../../src/plugins/checkpoint/reseal.ts";
import { container, writeImage } from "../../../src/plugins/checkpoint/testing.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const folder = mkdtempSync(join(tmpdir(), "runts-fuzz-image-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const place = join(folder, "image");
await writeImage(place, { compression: "zstd", size: 300_000, places: [0, 131072] });
const path = (name: string) => join(place, name);
const good = new Map(
  [MANIFEST, OBJECTS, PACKED_PAGES, memoryName(0, true), memoryName(1, true)].map((name) => [
    name,
    readFileSync(path(name)),
  ]),
);

/** A few files in memory, in the lines of a kernel. */
const LINES = `{"id":1,"type":"mount-table","v":1,"all":{"@":2}}
{"id":2,"type":"set","items":[{"@":3},{"@":4}]}
{"id":3,"type":"mount","v":1,"fs":{"@":5},"parent":null,"mountpoint":null}
{"id":4,"type":"mount","v":1,"fs":{"@":9},"parent":{"@":3},"mountpoint":{"@":10}}
{"id":5,"type":"tmpfs","v":1,"root":{"@":6}}
{"id":6,"type":"tmpfs-node","v":1,"mode":16877,"entries":["a",{"@":6},2,"b",{"@":14},3],"content":null,"target":""}
{"id":9,"type":"overlay-fs","v":1,"root":{"@":11}}
{"id":10,"type":"dentry","v":1,"name":"d","parent":{"@":10}}
{"id":11,"type":"overlay-node","v":1,"upper":{"@":6},"dataInUpper":true,"entries":{"@":12}}
{"id":12,"type":"map","entries":[["gone",null],["x",{"@":11}]]}
{"id":14,"type":"tmpfs-node","v":1,"mode":33188,"entries":null,"content":{"@":15},"target":""}
{"id":15,"type":"memory-content","v":1,"size":70000,"fd":null,"first":{"mask":1,"length":4096,"at":65536},"rest":[[1,{"mask":1,"length":256,"base64":"aGVsbG8K"}]]}
{"id":20,"type":"memory-content","v":1,"size":9,"fd":{"at":0,"length":9,"seals":0},"first":null,"rest":null}
`;
const PIECES = [
  "null",
  "-1",
  "1e308",
  "9007199254740993",
  '"__proto__"',
  '"constructor"',
  "[]",
  "{}",
  '{"@":6}',
  '{"@":14}',
  '{"@":20}',
  '"../.."',
  '"\\u0000"',
  '"\\udcff"',
  "\n",
  ",",
  "[".repeat(3000),
  '{"a":'.repeat(3000),
];
let last = "";

export const fuzzer: ParserFuzzer = {
  async one(random) {
    const mutate = (text: string) => {
      let out = text;
      for (let k = 1 + random.below(4); k > 0; k--) {
        // A value in the place of another, mostly: else it is no JSON any more.
        const values = [...out.matchAll(/(?<=[:[,] ?)("[^"\n]*"|[-\d.e]+|null|true|false|\{"@":\d+\})/g)];
        const hit = values.length === 0 || random.oneIn(6) ? null : values[random.below(values.length)]!;
        const at = hit?.index ?? random.below(out.length + 1);
        out = out.slice(0, at) + random.pick(PIECES) + out.slice(at + (hit?.[0].length ?? random.below(8)));
      }
      return out;
    };
    for (const [name, bytes] of good) writeFileSync(path(name), bytes, { mode: 0o600 });
    const kind = random.below(4);
    if (kind === 0) {
      const name = random.pick([...good.keys()]);
      const spoiled = Buffer.from(random.spoil(Buffer.from(good.get(name)!)));
      last = `${name} ${spoiled.toString("latin1")}`;
      writeFileSync(path(name), spoiled);
    } else if (kind === 1) {
      // With a checksum that is right.
      last = mutate(good.get(MANIFEST)!.toString());
      const { sha256: _, ...manifest } = JSON.parse(last) as ImageManifest & { sha256: string };
      last = manifestText(manifest);
      writeFileSync(path(MANIFEST), last);
    } else {
      last = mutate(LINES);
      writeFileSync(path(OBJECTS), last);
      await reseal(place);
    }
    const image = Image.open(place);
    try {
      restoredSpec(image.container.spec, container.spec);
      inspectText(image);
      JSON.stringify(inspectJson(image));
      const { pages } = await image.files();
      for (const file of new SavedFiles(image.objects, pages).all())
        for (const [offset, bytes] of file.data())
          if (offset + bytes.length > file.size) throw new Error("a file with more bytes than its size");
    } finally {
      image.close();
    }
  },
  last: () => last,
  meant: (error) => error instanceof RuntimeError || (error instanceof SyntaxError && /JSON/.test(error.message)),
};
