/** Images that a stranger has edited: by thought, and at random. Each edit changes the parts of a good image. */
import type { Random } from "../fuzz/random.ts";

export type Line = Record<string, unknown>;

/** The parts of an image, each to be changed in place. */
export interface Parts {
  lines: Line[];
  pages: Uint8Array;
  manifest: Record<string, unknown>;
}

export interface Edit {
  name: string;
  /** It must not be restored: what it makes of the kernel could lead to the host. */
  refused?: boolean;
  apply(parts: Parts): void;
}

const of = ({ lines }: Parts, type: string): Line[] => lines.filter((line) => line["type"] === type);
const first = (parts: Parts, type: string): Line => {
  const line = of(parts, type)[0];
  if (line === undefined) throw new Error(`there is no ${type} in the image`);
  return line;
};
/** A new line, and a reference to it. */
function add({ lines }: Parts, line: Line): { "@": number } {
  const id = Math.max(...lines.map((each) => Number(each["id"]))) + 1;
  // Before those that tell where pages are.
  const at = lines.findIndex(({ type }) => type === "pages");
  lines.splice(at < 0 ? lines.length : at, 0, { id, ...line });
  return { "@": id };
}
const targetOf = ({ lines }: Parts, reference: unknown): Line =>
  lines.find(({ id }) => id === (reference as { "@": number })["@"])!;

const refused = (edit: Edit): Edit => ({ ...edit, refused: true });

/** What a thread runs with. */
interface SavedContext {
  registers: Record<string, string>;
  fp: string;
}
const contexts = (parts: Parts): SavedContext[] =>
  of(parts, "task").flatMap(({ ctx }) => (ctx === null ? [] : [ctx as SavedContext]));
const registers = (name: string, changes: Record<string, string>): Edit => ({
  name: `registers: ${name}`,
  apply: (parts) => {
    for (const { registers } of contexts(parts)) Object.assign(registers, changes);
  },
});
const fp = (name: string, change: (bytes: Buffer) => Buffer): Edit => ({
  name: `floating-point state: ${name}`,
  apply: (parts) => {
    for (const context of contexts(parts)) context.fp = change(Buffer.from(context.fp, "base64")).toString("base64");
  },
});
const field = (type: string, name: string, value: unknown, all = true): Edit => ({
  name: `${type}.${name} = ${JSON.stringify(value)}`,
  apply: (parts) => {
    for (const line of all ? of(parts, type) : [first(parts, type)]) line[name] = value;
  },
});
/** An area of every process, as a number says. */
const area = (name: string, change: (area: Line, parts: Parts) => void): Edit => ({
  name: `area: ${name}`,
  apply: (parts) => {
    const areas = of(parts, "area");
    change(areas[areas.length >> 1]!, parts);
  },
});
const run = (name: string, change: (run: Line) => void): Edit => ({
  name: `pages: ${name}`,
  apply: (parts) => of(parts, "pages").forEach(change),
});
const HUGE = 2 ** 50;

export const THOUGHT: readonly Edit[] = [
  registers("kernel's code segment", { cs: "0x10", ss: "0x18" }),
  registers("32 bits", { cs: "0x23" }),
  registers("non-canonical rip", { rip: "0x8000000000000000" }),
  registers("rip of the kernel's", { rip: "0xffffffff81000000" }),
  registers("rip of the stub's code", { rip: "0x7fe000000010", rsp: "0x7fe000010000" }),
  registers("vsyscall page", { rip: "0xffffffffff600000" }),
  registers("all flags", { eflags: "0xffffffffffffffff" }),
  registers("segment bases of the kernel's", { fsBase: "0xffff888000000000", gsBase: "0x8000000000000000" }),
  registers("no number", { rax: "0xzz" }),
  fp("nothing", () => Buffer.of()),
  fp("all ones", (bytes) => Buffer.alloc(bytes.length, 255)),
  fp("a hostile header", (bytes) => bytes.fill(255, 512, 576)),
  fp("short", (bytes) => bytes.subarray(0, 300)),
  fp("a megabyte", () => Buffer.alloc(1 << 20)),
  refused(area("over the stub", (line) => Object.assign(line, { start: 0x7fe000000000, end: 0x7fe000100000 }))),
  refused(area("beyond all addresses", (line) => Object.assign(line, { start: 2 ** 52, end: 2 ** 52 + 4096 }))),
  refused(area("address 0", (line) => Object.assign(line, { start: 0, end: 4096 }))),
  area("backwards", (line) => Object.assign(line, { start: line["end"], end: line["start"] })),
  refused(area("all of it", (line) => Object.assign(line, { start: 65536, end: 0x7fe000000000 }))),
  area("not at a page", (line) => Object.assign(line, { start: (line["start"] as number) + 1 })),
  area("negative offset", (line) => Object.assign(line, { offset: -4096 })),
  refused(area("all rights", (line) => Object.assign(line, { prot: -1 }))),
  area("the vDSO's", (line, parts) => {
    const vdso = of(parts, "area").find(({ name }) => name === "[vdso]")!;
    Object.assign(line, { start: vdso["start"], end: vdso["end"] });
  }),
  ...[0, 3, 5, 7, 9, 12, 20].map((fd) =>
    refused(
      area(`shows descriptor ${fd} of the sandbox`, (line, parts) => {
        line["memory"] = add(parts, { type: "object", fd, readFd: fd });
      }),
    ),
  ),
  run("beyond the file", (line) => {
    line["at"] = HUGE - 4096;
  }),
  run("all of the address space", (line) => Object.assign(line, { addr: "0x0", length: 2 ** 47 })),
  run("over the stub", (line) => {
    line["addr"] = "0x7fe000000000";
  }),
  run("of another process", (line) => {
    line["space"] = 77;
  }),
  run("no number", (line) => {
    line["length"] = -4096;
  }),
  {
    name: "a hundred thousand runs of pages",
    apply: ({ lines }) => {
      const line = lines.find(({ type }) => type === "pages")!;
      for (let i = 0; i < 100_000; i++) lines.push({ ...line, id: 1_000_000 + i });
    },
  },
  // What leads to the host.
  refused(field("host-node", "name", "..")),
  refused(field("host-node", "name", "../../etc/passwd")),
  refused(field("host-node", "name", "a/../../b")),
  refused(field("host-node", "name", "/etc/passwd")),
  refused(field("host-node", "name", "nul\0l")),
  field("host-node", "name", "x".repeat(100_000)),
  field("host-node", "holders", 5),
  field("host-node", "hostIno", { size: 1, mtime: { sec: 1, nsec: 1 } }),
  refused(field("host-node", "read", { "@": 1 })),
  {
    name: "an open file of the host's that is a number",
    refused: true,
    apply: (parts) => {
      for (const line of of(parts, "host-node"))
        line["read"] = add(parts, { type: "object", fd: 7, readFd: 7, twin: null });
    },
  },
  {
    name: "directories of the host in a circle",
    apply: (parts) => {
      for (const line of of(parts, "host-node")) Object.assign(line, { parent: { "@": line["id"] }, holders: 9 });
    },
  },
  {
    name: "a file of the host's in memory, beyond the pages",
    apply: (parts) => {
      for (const line of of(parts, "host-node"))
        Object.assign(line, { hostIno: { gone: { attributes: {}, content: { at: HUGE, length: HUGE } } }, holders: 1 });
    },
  },
  ...["../..", "mount", "length", -1, 7, 1e9, null].map(
    (which): Edit => ({
      name: `a tree that was not given: ${which}`,
      refused: true,
      apply: (parts) => {
        targetOf(parts, first(parts, "host-fs")["tree"])["which"] = which;
      },
    }),
  ),
  field("host-fs", "rootFd", 3),
  field("host-fs", "readonly", false),
  ...[3, 4, 1000, -1, "length", "__proto__"].map(
    (fd): Edit => ({
      name: `standard descriptor ${fd}`,
      apply: (parts) => {
        for (const node of of(parts, "hostfd-node"))
          if (node["origin"] !== null) targetOf(parts, node["origin"])["fd"] = fd;
      },
    }),
  ),
  field("hostfd-node", "fd", 7),
  field("memory-content", "fd", { at: HUGE, length: HUGE, seals: -1 }),
  field("memory-content", "first", { mask: 65535, length: 65536, at: HUGE }),
  field("memory-content", "first", { mask: 65535, length: HUGE, base64: "" }),
  field("memory-content", "size", HUGE),
  field("memory-content", "size", -1),
  field("read-only-twin", "fd", 7),
  // Numbers where bytes are, and lengths that are not theirs.
  field("byte-queue-piece", "data", 0x7f0000000000),
  field("byte-queue-piece", "end", HUGE),
  field("byte-queue-piece", "kind", 99),
  field("buffer", "length", HUGE),
  field("bytes", "length", 2 ** 40),
  field("bytes", "offset", -8),
  {
    name: "addresses for bytes",
    refused: true,
    apply: ({ lines }) => {
      const bytes = new Set(lines.filter(({ type }) => type === "bytes").map(({ id }) => id));
      for (const line of lines)
        for (const [name, value] of Object.entries(line))
          if (bytes.has((value as { "@"?: number } | null)?.["@"])) line[name] = 0x400000;
    },
  },
  // The kernel's tables.
  field("task", "ctx", null),
  field("task", "runState", 0),
  field("task", "runState", 99),
  field("task", "tid", -1),
  field("task", "mm", null),
  field("process", "parent", { "@": 1 }),
  field("process", "pid", 0),
  field("mm", "space", null),
  field("mm", "users", HUGE),
  field("mm", "space", { space: 0, vdso: { "@": 1 } }),
  field("container", "$id", "another"),
  field("container", "first", null),
  field("pid-space", "lastPid", Number.MAX_SAFE_INTEGER),
  field("timerfd", "expirations", HUGE),
  {
    name: "timers long ago, again and again",
    apply: ({ lines }) => {
      for (const line of lines)
        for (const name of Object.keys(line))
          if (/deadline|interval|expiry/i.test(name)) line[name] = name.includes("nterval") ? 1 : -1e18;
    },
  },
  {
    name: "mounts in a circle",
    apply: (parts) => {
      for (const line of of(parts, "mount")) line["parent"] = { "@": line["id"] };
    },
  },
  {
    name: "a directory in itself",
    apply: (parts) => {
      for (const line of of(parts, "dentry")) line["parent"] = { "@": line["id"] };
    },
  },
  // What leads from one to the next, into itself.
  ...[
    ["process", "parent"],
    ["overlay-node", "parent"],
    ["tmpfs-node", "parent"],
    ["unix-seqpacket", "peer"],
    ["task", "vforkParent"],
    ["wait-entry", "next"],
    ["wait-entry", "previous"],
    ["pid-space", "parent"],
  ].map(
    ([type, name]): Edit => ({
      name: `each ${type} is its own ${name}`,
      apply: (parts) => {
        for (const line of of(parts, type!)) line[name!] = { "@": line["id"] };
      },
    }),
  ),
  {
    name: "a filter without an end",
    refused: true,
    apply: (parts) => {
      const buffer = add(parts, { type: "buffer", length: 16, base64: Buffer.alloc(16).toString("base64") });
      const program = add(parts, { type: "bytes", kind: "Uint32Array", of: buffer, offset: 0, length: 4 });
      const filter = { type: "seccomp-filter", v: 1, program, previous: null, cost: 5, depth: 1, known: null };
      const seccomp = add(parts, { type: "object", mode: 2, filter: add(parts, filter) });
      for (const line of of(parts, "task")) line["seccomp"] = seccomp;
    },
  },
  {
    name: "a filter before itself",
    refused: true,
    apply: (parts) => {
      const bytes = Buffer.from(Uint32Array.of(6, 0, 0, 0x7fff0000).buffer);
      const buffer = add(parts, { type: "buffer", length: 16, base64: bytes.toString("base64") });
      const program = add(parts, { type: "bytes", kind: "Uint32Array", of: buffer, offset: 0, length: 4 });
      const filter = add(parts, {
        type: "seccomp-filter",
        v: 1,
        program,
        previous: null,
        cost: 5,
        depth: 1,
        known: null,
      });
      targetOf(parts, filter)["previous"] = filter;
      const seccomp = add(parts, { type: "object", mode: 2, filter });
      for (const line of of(parts, "task")) line["seccomp"] = seccomp;
    },
  },
  {
    name: "code for data",
    apply: (parts) => void Object.assign(first(parts, "task"), { comm: { $code: "proc/status" } }),
  },
  {
    name: "a prototype",
    apply: ({ lines }) => void lines.push(JSON.parse('{"id":9999999,"type":"object","__proto__":{"a":1}}')),
  },
  { name: "a newer class", apply: (parts) => void Object.assign(first(parts, "task"), { v: 99 }) },
  { name: "an unknown class", apply: (parts) => void add(parts, { type: "quantum-socket", v: 1 }) },
  { name: "no objects", apply: ({ lines }) => void lines.splice(0) },
  {
    name: "no pages",
    apply: (parts) => {
      parts.pages = new Uint8Array(0);
    },
  },
  {
    name: "of a newer version",
    refused: true,
    apply: ({ manifest }) => void Object.assign(manifest["sandbox"] as object, { schema: 99, kernel: "99.0.0" }),
  },
  {
    name: "a clock of long ago",
    apply: ({ manifest }) =>
      void Object.assign((manifest["sandbox"] as { clock: object }).clock, {
        monotonicNs: 0,
        boottimeNs: 0,
        realtimeNs: 0,
      }),
  },
  {
    name: "a clock of the end of time",
    apply: ({ manifest }) =>
      void Object.assign((manifest["sandbox"] as { clock: object }).clock, {
        monotonicNs: 9e18,
        boottimeNs: 9e18,
        realtimeNs: 9e18,
      }),
  },
];

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  7,
  4096,
  2 ** 31,
  2 ** 32 + 3,
  HUGE,
  -HUGE,
  0.5,
  "",
  "..",
  "x",
  [],
  {},
  { $: "nan" },
  { $: "inf" },
  { $: "undefined" },
  { $: "-0" },
  { $code: "proc/status" },
];

/** Some values of objects become others, or objects change places; now and then bytes of the pages. */
export function atRandom(random: Random): Edit["apply"] {
  return ({ lines, pages }) => {
    const objects = lines.filter(({ type }) => type !== "pages");
    for (let k = 1 + random.below(4); k > 0; k--) {
      const line = random.pick(objects);
      const names = Object.keys(line).filter((name) => name !== "id" && name !== "type" && name !== "v");
      if (names.length === 0) continue;
      const name = random.pick(names);
      switch (random.below(6)) {
        case 0:
          delete line[name];
          break;
        case 1:
          line[name] = { "@": random.pick(objects)["id"] };
          break;
        case 2: {
          // A value that another field has.
          const other = random.pick(objects);
          line[name] = other[random.pick(Object.keys(other))];
          break;
        }
        case 3:
          if (Array.isArray(line[name])) {
            const list = line[name] as unknown[];
            if (random.oneIn(2)) list.push(random.pick(VALUES));
            else list[random.below(list.length + 1)] = { "@": random.pick(objects)["id"] };
            break;
          }
          line[name] = random.pick(VALUES);
          break;
        case 4:
          if (pages.length > 0) pages[random.below(pages.length)] = random.next() & 255;
          break;
        default:
          line[name] = random.pick(VALUES);
      }
    }
  };
}
