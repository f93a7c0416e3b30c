import { describe, expect, test } from "bun:test";
import { EAGAIN, EDEADLK, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH, ETIMEDOUT } from "../abi/errno.ts";
import { type Guest, GuestWorld, MEM, type Script } from "../testing/scripted-guest.ts";

const A = MEM.free;
const B = MEM.free + 8;
const PRIVATE = 128;
const WAIT = 0 | PRIVATE;
const WAKE = 1 | PRIVATE;
const REQUEUE = 3 | PRIVATE;
const CMP_REQUEUE = 4 | PRIVATE;
const WAKE_OP = 5 | PRIVATE;
const LOCK_PI = 6 | PRIVATE;
const UNLOCK_PI = 7 | PRIVATE;
const TRYLOCK_PI = 8 | PRIVATE;
const WAIT_BITSET = 9 | PRIVATE;
const WAKE_BITSET = 10 | PRIVATE;

let tidWord = 0;
function* waiter(g: Guest, name: string, seen: unknown[], op: number, addr: number, val3 = 0) {
  const before = blocked(g);
  yield* g.thread(
    function* (t) {
      seen.push([name, yield* t.sys("futex", addr, op, 0, 0, 0, val3)]);
      yield* t.exit(0);
    },
    MEM.free + 0x1000 + 4 * tidWord++,
  );
  yield* g.spin(() => blocked(g) > before);
}
const blocked = (g: Guest): number => g.task.process.tasks.filter((task) => task.runState === 1).length;

/** Runs a script; what it pushed to `out`, and what its threads pushed to `woken`, apart: their order is the scheduler's. */
function run(body: Body): [unknown[], unknown[]] {
  const seen: unknown[] = [];
  const woken: unknown[] = [];
  const world = new GuestWorld();
  world.run((g) => body(g, seen, woken));
  expect(world.kernel.futexes.privates.size + world.kernel.futexes.shared.size).toBe(0);
  expect(world.kernel.futexes.owned.size).toBe(0);
  return [seen, woken];
}
type Body = (g: Guest, out: unknown[], woken: unknown[]) => ReturnType<Script>;

describe("futex", () => {
  test("arguments", () => {
    const seen = run(function* (g, out) {
      const call = (...args: number[]) => g.sys("futex", ...args);
      out.push(yield* call(A, WAIT, 1, 0), yield* call(A + 1, WAIT, 0, 0), yield* call(8, WAIT, 0, 0));
      out.push(yield* call(A, WAIT_BITSET, 0, 0, 0, 0), yield* call(A, WAKE_BITSET, 1, 0, 0, 0));
      out.push(yield* call(A, WAIT | 256, 0, 0), yield* call(A, 77, 0, 0), yield* call(A, WAIT, 0, 8));
      g.put64(B, 0, 1_000_000_000);
      out.push(yield* call(A, WAIT, 0, B));
      g.put64(B, 0, 1_000_000);
      out.push(yield* call(A, WAIT, 0, B), yield* call(A, CMP_REQUEUE, -1, 1, B, 0));
      out.push(yield* call(A, CMP_REQUEUE, 1, 1, B, 9));
    });
    expect(seen[0]).toEqual([
      -EAGAIN,
      -EINVAL,
      -EFAULT,
      -EINVAL,
      -EINVAL,
      -ENOSYS,
      -ENOSYS,
      -EFAULT,
      -EINVAL,
      -ETIMEDOUT,
      -EINVAL,
      -EAGAIN,
    ]);
  });

  test("wakes in order, as many as asked for", () => {
    const seen = run(function* (g, out, woken) {
      for (const name of ["a", "b", "c", "d"]) yield* waiter(g, name, woken, WAIT, A);
      out.push(yield* g.sys("futex", A, WAKE, 0));
      yield* g.spin(() => woken.length >= 1);
      out.push(yield* g.sys("futex", A, WAKE, 2));
      yield* g.spin(() => woken.length >= 3);
      // A shared wake does not reach private waiters.
      out.push(yield* g.sys("futex", A, 1, 99), yield* g.sys("futex", A, WAKE, 99));
      yield* g.spin(() => woken.length >= 4);
    });
    expect(seen).toEqual([
      [1, 2, 0, 1],
      [
        ["a", 0],
        ["b", 0],
        ["c", 0],
        ["d", 0],
      ],
    ]);
  });

  test("bitsets", () => {
    const seen = run(function* (g, out, woken) {
      yield* waiter(g, "1", woken, WAIT_BITSET, A, 1);
      yield* waiter(g, "2", woken, WAIT_BITSET, A, 0x80000000);
      out.push(yield* g.sys("futex", A, WAKE_BITSET, 99, 0, 0, 0x80000000));
      yield* g.spin(() => woken.length >= 1);
      out.push(yield* g.sys("futex", A, WAKE_BITSET, 99, 0, 0, 0xffffffff));
      yield* g.spin(() => woken.length >= 2);
    });
    expect(seen).toEqual([
      [1, 1],
      [
        ["2", 0],
        ["1", 0],
      ],
    ]);
  });

  test("requeue moves waiters", () => {
    const seen = run(function* (g, out, woken) {
      for (const name of ["a", "b", "c", "d"]) yield* waiter(g, name, woken, WAIT, A);
      out.push(yield* g.sys("futex", A, CMP_REQUEUE, 1, 2, B, 0));
      yield* g.spin(() => woken.length >= 1);
      out.push(yield* g.sys("futex", A, WAKE, 99));
      yield* g.spin(() => woken.length >= 2);
      out.push(yield* g.sys("futex", B, REQUEUE, 0, 1, A, 0), yield* g.sys("futex", B, WAKE, 99));
      yield* g.spin(() => woken.length >= 3);
      out.push(yield* g.sys("futex", A, WAKE, 99));
      yield* g.spin(() => woken.length >= 4);
    });
    expect(seen).toEqual([
      [3, 1, 1, 1, 1],
      [
        ["a", 0],
        ["d", 0],
        ["c", 0],
        ["b", 0],
      ],
    ]);
  });

  test("WAKE_OP changes the second word and wakes on both", () => {
    const seen = run(function* (g, out, woken) {
      yield* waiter(g, "a", woken, WAIT, A);
      yield* waiter(g, "b", woken, WAIT, B);
      g.put32(B, 5);
      // B += 3; its old value 5 is not > 5: only A is woken.
      out.push(yield* g.sys("futex", A, WAKE_OP, 1, 1, B, (1 << 28) | (4 << 24) | (3 << 12) | 5), g.u32(B));
      yield* g.spin(() => woken.length >= 1);
      // B |= 1 << 4; old value 8 >= -1.
      out.push(yield* g.sys("futex", A, WAKE_OP, 1, 1, B, 0xa0000000 | (5 << 24) | (4 << 12) | 0xfff), g.u32(B));
      yield* g.spin(() => woken.length >= 2);
      out.push(yield* g.sys("futex", A, WAKE_OP, 1, 1, B, (5 << 28) | (4 << 24)));
    });
    expect(seen).toEqual([
      [1, 8, 1, 24, -ENOSYS],
      [
        ["a", 0],
        ["b", 0],
      ],
    ]);
  });

  test("futex_waitv tells which", () => {
    const seen = run(function* (g, out, woken) {
      const vector = MEM.free + 0x100;
      g.put64(vector, 0, A, 2 | PRIVATE, 0, B, 2 | PRIVATE);
      out.push(yield* g.sys("futex_waitv", vector, 2, 1, 0, 0), yield* g.sys("futex_waitv", vector, 0, 0, 0, 0));
      g.put32(B, 1);
      out.push(yield* g.sys("futex_waitv", vector, 2, 0, 0, 0));
      g.put32(B, 0);
      yield* g.thread(function* (t) {
        woken.push(["v", yield* t.sys("futex_waitv", vector, 2, 0, 0, 0)]);
        yield* t.exit(0);
      }, MEM.free + 0x800);
      yield* g.spin(() => blocked(g) > 0);
      out.push(yield* g.sys("futex", B, WAKE, 9));
      yield* g.spin(() => woken.length >= 1);
    });
    expect(seen).toEqual([[-EINVAL, -EINVAL, -EAGAIN, 1], [["v", 1]]]);
  });
});

describe("robust and PI", () => {
  /** A robust list head at `head` with one lock whose word lies 8 bytes after its list entry. */
  function robustList(g: Guest, head: number, entry: number, pending = 0): void {
    g.put64(head, entry, 8, pending);
    g.put64(entry, head);
  }

  test("a dead owner's lock is marked and a waiter woken", () => {
    const seen = run(function* (g, out) {
      const entry = MEM.free + 0x200;
      const word = entry + 8;
      const tid = yield* g.thread(function* (t) {
        robustList(t, MEM.free + 0x300, entry);
        t.put32(word, t.task.tid + 0x80000000);
        out.push(yield* t.sys("set_robust_list", MEM.free + 0x300, 24));
        yield* t.spin(() => blocked(g) > 0);
        yield* t.exit(0);
      }, MEM.free + 0x800);
      yield* g.spin(() => out.length > 0);
      out.push(yield* g.sys("futex", word, 0, tid + 0x80000000, 0, 0, 0), g.u32(word));
    });
    expect(seen[0]).toEqual([0, 0, 0xc0000000]);
  });

  test("a lock being released when its owner dies (op_pending)", () => {
    const seen = run(function* (g, out) {
      const entry = MEM.free + 0x200;
      yield* g.thread(function* (t) {
        robustList(t, MEM.free + 0x300, entry, entry);
        t.put64(MEM.free + 0x300, MEM.free + 0x300);
        yield* t.sys("set_robust_list", MEM.free + 0x300, 24);
        yield* t.spin(() => blocked(g) > 0);
        yield* t.exit(0);
      }, MEM.free + 0x800);
      out.push(yield* g.sys("futex", entry + 8, 0, 0, 0, 0, 0));
    });
    expect(seen[0]).toEqual([0]);
  });

  test("PI locks are handed over, also by the dying", () => {
    const seen = run(function* (g, out, woken) {
      const call = (g2: Guest, op: number) => g2.sys("futex", A, op, 0, 0, 0, 0);
      out.push(yield* call(g, LOCK_PI), yield* call(g, LOCK_PI), yield* call(g, TRYLOCK_PI));
      const tid = yield* g.thread(function* (t) {
        woken.push(["t", yield* call(t, TRYLOCK_PI), yield* call(t, UNLOCK_PI), yield* call(t, LOCK_PI)]);
        yield* t.spin(() => blocked(g) > 0);
        yield* t.exit(0);
      }, MEM.free + 0x800);
      yield* g.spin(() => blocked(g) > 0);
      out.push(g.u32(A) === 0x80000000 + 1);
      out.push(yield* g.sys("futex", A, WAKE, 1));
      out.push(yield* call(g, UNLOCK_PI), (g.u32(A) & 0x3fffffff) === tid);
      out.push(yield* call(g, LOCK_PI), g.u32(A) - 0xc0000000, yield* call(g, UNLOCK_PI));
      g.put32(A, 12345);
      out.push(yield* call(g, LOCK_PI));
    });
    expect(seen).toEqual([
      [0, -EDEADLK, -EDEADLK, true, -EINVAL, 0, true, 0, 1, 0, -ESRCH],
      [["t", -EAGAIN, -EPERM, 0]],
    ]);
  });
});
