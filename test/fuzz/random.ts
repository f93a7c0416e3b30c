/** Random numbers that depend on a seed alone, and ways to spoil an input with them. */
export class Random {
  private state: bigint;
  constructor(seed: number, index: number) {
    this.state = (BigInt(seed) * 0x9e3779b97f4a7c15n) ^ (BigInt(index + 1) * 0xbf58476d1ce4e5b9n);
  }
  next(): number {
    this.state = (this.state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
    let z = this.state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
    return Number((z ^ (z >> 31n)) >> 32n);
  }
  below(n: number): number {
    return this.next() % n;
  }
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Changes some bytes, mostly in the first `within`; now and then cuts, repeats or appends. */
  spoil(bytes: Uint8Array, within = bytes.length): Uint8Array {
    let made = Uint8Array.from(bytes);
    for (let k = 1 + this.below(6); k > 0 && made.length > 0; k--) {
      const at = this.below(Math.min(within, made.length));
      switch (this.below(6)) {
        case 0:
          made[at] = this.next() & 255;
          break;
        case 1:
          made[at] = made[at]! ^ (1 << this.below(8));
          break;
        case 2: {
          const view = new DataView(made.buffer);
          if (at + 8 <= made.length)
            view.setBigUint64(
              at & ~7,
              this.pick([0n, 1n, 0xffffffffffffffffn, 0x7fffffffffffffffn, 1n << 53n, 1n << 47n, 4096n]),
              true,
            );
          break;
        }
        case 3:
          made.fill(this.pick([0, 255]), at, Math.min(made.length, at + 1 + this.below(16)));
          break;
        case 4:
          if (this.oneIn(4)) made = made.slice(0, at);
          break;
        default:
          if (this.oneIn(4))
            made = Uint8Array.from([
              ...made.subarray(0, at),
              ...made.subarray(at >> 1, (at >> 1) + 64),
              ...made.subarray(at),
            ]);
      }
    }
    return made;
  }

  private static readonly scalars: readonly unknown[] = [
    null,
    true,
    false,
    0,
    -1,
    1,
    0.5,
    1e308,
    -0,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    2 ** 63,
    2 ** 64,
    "",
    "a",
    "/",
    "..",
    "__proto__",
    "constructor",
    "toString",
    "\u0000",
    "\ud800",
    "a".repeat(5000),
    "/proc",
    "0:0",
    "-1",
    "1e9",
    [],
    {},
    [[]],
    [null],
    { "": 0 },
    [1, 2, 3],
  ];
  scalar(): unknown {
    return this.pick(Random.scalars);
  }

  /** A JSON value with some of its parts changed, left out, repeated, or put where they do not belong. */
  spoilJson(value: unknown, rate = 12): unknown {
    if (this.oneIn(rate * 3)) return this.scalar();
    if (Array.isArray(value)) {
      const made = value.filter(() => !this.oneIn(rate)).map((v) => this.spoilJson(v, rate));
      if (made.length > 0 && this.oneIn(rate)) made.push(this.pick(made));
      if (this.oneIn(rate)) made.push(this.scalar());
      return made;
    }
    if (typeof value === "object" && value !== null) {
      const made: Record<string, unknown> = {};
      for (const [key, v] of Object.entries(value)) {
        if (this.oneIn(rate)) continue;
        const name = this.oneIn(rate * 4) ? this.pick(["__proto__", "constructor", "x", "", key.toUpperCase()]) : key;
        Object.defineProperty(made, name, {
          value: this.spoilJson(v, rate),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
      return made;
    }
    if (typeof value === "number" && this.oneIn(rate))
      return this.pick([0, -1, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 64, 0.1]);
    if (typeof value === "string" && this.oneIn(rate)) {
      const at = this.below(value.length + 1);
      return (
        value.slice(0, at) + this.pick(["", "\u0000", "/", "..", "\ud800", ":", "=", "é", "%s", " "]) + value.slice(at)
      );
    }
    return value;
  }
}
