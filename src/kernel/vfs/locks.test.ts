import { describe, expect, test } from "bun:test";
import { EAGAIN, EDEADLK, EINVAL } from "../abi/errno.ts";
import { PidSpace } from "../task/pid-space.ts";
import { FdTable } from "./fd-table.ts";
import { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EOF, LockTable, type LockWaits, lockRange, type RecordLock } from "./locks.ts";

const pids = new PidSpace(null as never, 0);
let lastPid = 100;
class Owner {
  readonly table = new FdTable();
  readonly pid = ++lastPid;
  lock(type: number, start: number, end: number): RecordLock {
    return { owner: this.table, type, start, end, pid: this.pid, pids };
  }
}
const shown = (locks: LockTable): string =>
  locks.records.map((l) => `${l.pid}:${l.type === F_WRLCK ? "w" : "r"}${l.start}-${l.end}`).join(" ");

describe("record locks", () => {
  test("of one owner split, change type and merge", () => {
    const locks = new LockTable();
    const a = new Owner();
    const at = (text: string) => text.replaceAll("A", String(a.pid));
    expect(locks.set(a.lock(F_WRLCK, 0, 99))).toBe(0);
    expect(locks.set(a.lock(F_UNLCK, 30, 39))).toBe(0);
    expect(shown(locks)).toBe(at("A:w0-29 A:w40-99"));
    expect(locks.set(a.lock(F_RDLCK, 20, 59))).toBe(0);
    expect(shown(locks)).toBe(at("A:w0-19 A:r20-59 A:w60-99"));
    expect(locks.set(a.lock(F_RDLCK, 60, LOCK_EOF))).toBe(0);
    expect(shown(locks)).toBe(at("A:w0-19 A:r20-Infinity"));
    expect(locks.set(a.lock(F_WRLCK, 20, LOCK_EOF))).toBe(0);
    expect(shown(locks)).toBe(at("A:w0-Infinity"));
    expect(locks.set(a.lock(F_UNLCK, 0, LOCK_EOF))).toBe(0);
    expect(shown(locks)).toBe("");
  });

  test("of others stand in the way unless both read", () => {
    const locks = new LockTable();
    const [a, b] = [new Owner(), new Owner()];
    locks.set(a.lock(F_RDLCK, 10, 19));
    expect(locks.set(b.lock(F_RDLCK, 0, 100))).toBe(0);
    expect(locks.set(b.lock(F_WRLCK, 15, 15))).toBe(-EAGAIN);
    expect(locks.conflict(b.lock(F_WRLCK, 0, 100))?.pid).toBe(a.pid);
    expect(locks.conflict(b.lock(F_WRLCK, 20, 100))).toBeNull();
    locks.releasePosix(a.table, new Map());
    expect(locks.set(b.lock(F_WRLCK, 15, 15))).toBe(0);
  });

  test("a circle of waiters is a deadlock, over several files too", () => {
    const [first, second] = [new LockTable(), new LockTable()];
    const [a, b, c] = [new Owner(), new Owner(), new Owner()];
    const waits: LockWaits = new Map();
    first.set(a.lock(F_WRLCK, 0, 0));
    first.set(b.lock(F_WRLCK, 1, 1));
    second.set(c.lock(F_WRLCK, 0, 0));
    expect(first.beginWait(a.lock(F_WRLCK, 1, 1), waits)).toBe(0);
    expect(second.beginWait(b.lock(F_WRLCK, 0, 0), waits)).toBe(0);
    expect(first.beginWait(c.lock(F_WRLCK, 0, 0), waits)).toBe(-EDEADLK);
    second.endWait(b.table, waits);
    expect(first.beginWait(c.lock(F_WRLCK, 0, 0), waits)).toBe(0);
    first.endWait(a.table, waits);
    first.endWait(c.table, waits);
  });

  const ranges: { base: number; start: number; length: number; is: unknown }[] = [
    { base: 0, start: 5, length: 10, is: { start: 5, end: 14 } },
    { base: 100, start: -5, length: 0, is: { start: 95, end: LOCK_EOF } },
    { base: 0, start: 10, length: -4, is: { start: 6, end: 9 } },
    { base: 0, start: 10, length: -11, is: -EINVAL },
    { base: 3, start: -4, length: 1, is: -EINVAL },
  ];
  for (const { base, start, length, is } of ranges)
    test(`l_start ${start}, l_len ${length} from ${base}`, () =>
      expect(lockRange(base, start, length)).toEqual(is as never));
});
