/** What the processor has that programs may rely on, as CPUID tells it to them: the same for every platform. */
import { CPUID_WORDS, cpuid, xsaveComponent } from "../native/snapshot.ts";
import type { CpuFeatures } from "./platform.ts";

/** Names of bits, by the word of sn_cpuid (src/native/snapshot.c). Source: Linux' arch/x86/include/asm/cpufeatures.h. */
const NAMES: readonly (readonly [word: number, names: Readonly<Record<number, string>>])[] = [
  // Leaf 1, ECX.
  [
    2,
    {
      0: "pni",
      1: "pclmulqdq",
      9: "ssse3",
      12: "fma",
      13: "cx16",
      19: "sse4_1",
      20: "sse4_2",
      22: "movbe",
      23: "popcnt",
      25: "aes",
      26: "xsave",
      28: "avx",
      29: "f16c",
      30: "rdrand",
    },
  ],
  // Leaf 1, EDX.
  [3, { 8: "cx8", 15: "cmov", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2" }],
  // Leaf 7.0, EBX.
  [
    5,
    {
      0: "fsgsbase",
      3: "bmi1",
      5: "avx2",
      8: "bmi2",
      9: "erms",
      11: "rtm",
      16: "avx512f",
      17: "avx512dq",
      18: "rdseed",
      19: "adx",
      21: "avx512ifma",
      23: "clflushopt",
      24: "clwb",
      28: "avx512cd",
      29: "sha_ni",
      30: "avx512bw",
      31: "avx512vl",
    },
  ],
  // Leaf 7.0, ECX.
  [
    6,
    {
      1: "avx512vbmi",
      5: "waitpkg",
      6: "avx512_vbmi2",
      8: "gfni",
      9: "vaes",
      10: "vpclmulqdq",
      11: "avx512_vnni",
      12: "avx512_bitalg",
      14: "avx512_vpopcntdq",
      22: "rdpid",
      27: "movdiri",
      28: "movdir64b",
    },
  ],
  // Leaf 7.0, EDX.
  [
    7,
    {
      2: "avx512_4vnniw",
      3: "avx512_4fmaps",
      4: "fsrm",
      8: "avx512_vp2intersect",
      14: "serialize",
      23: "avx512_fp16",
    },
  ],
  // Leaf 7.1, EAX.
  [8, { 4: "avx_vnni", 5: "avx512_bf16", 10: "fzrm", 11: "fsrs", 12: "fsrc", 23: "avx_ifma" }],
  // Leaf 0x80000001, ECX and EDX.
  [14, { 0: "lahf_lm", 5: "abm", 6: "sse4a", 8: "3dnowprefetch", 11: "xop", 16: "fma4", 21: "tbm" }],
  [15, { 22: "mmxext", 27: "rdtscp", 30: "3dnowext", 31: "3dnow" }],
  // Leaf 0xd.1, EAX.
  [16, { 0: "xsaveopt", 1: "xsavec", 2: "xgetbv1" }],
];
const XCR0 = 17;
/** The data of AMX's tiles: programs have to ask the kernel for them, and ours gives them to none. */
const TILES = 1 << 18;

let found: CpuFeatures | null = null;

export function cpuFeatures(): CpuFeatures {
  if (found !== null) return found;
  const bits = new Uint32Array(CPUID_WORDS);
  cpuid(bits);
  const words: string[] = [];
  for (const [word, names] of NAMES)
    for (const [bit, name] of Object.entries(names)) if ((bits[word]! >>> Number(bit)) & 1) words.push(name);
  // Components of the upper word do not exist yet: exact as a number.
  const xfeatures = ((bits[XCR0]! & ~TILES) >>> 0) + (bits[XCR0 + 1]! & 0x1fffff) * 4294967296;
  const areas: number[] = [];
  const place = new Uint32Array(2);
  for (let component = 2; component < 53; component++)
    if (Math.floor(xfeatures / 2 ** component) % 2 === 1 && xsaveComponent(component, place) === 0)
      areas.push(component, place[0]!, place[1]!);
  found = { xfeatures, words: words.sort(), areas };
  return found;
}
