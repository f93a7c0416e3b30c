import { describe, expect, test } from "bun:test";
import { EAGAIN, EFAULT, EPIPE } from "../abi/errno.ts";
import { BLOCKED } from "../syscall.ts";
import { close } from "../syscalls/close.ts";
import { pipe2 } from "../syscalls/pipe.ts";
import { poll } from "../syscalls/poll.ts";
import { read } from "../syscalls/read.ts";
import { write, writev } from "../syscalls/write.ts";
import { BAD, MEMORY, TaskKit } from "../testing/task-kit.ts";

const O_NONBLOCK = 0o4000;
const O_DIRECT = 0o40000;
const BUFFER = MEMORY + 0x10000;

function withPipe(flags: number): { kit: TaskKit; r: number; w: number } {
  const kit = new TaskKit();
  expect(kit.call(pipe2, MEMORY, flags)).toBe(0);
  return { kit, r: kit.get32(MEMORY), w: kit.get32(MEMORY + 4) };
}
function fill(kit: TaskKit, w: number, chunk: number): number {
  let total = 0;
  for (;;) {
    const n = kit.call(write, w, BUFFER, chunk);
    if (n < 0) {
      expect(n).toBe(-EAGAIN);
      return total;
    }
    total += n;
  }
}

describe("pipe(7)", () => {
  // What a host pipe of 64 KiB takes before EAGAIN.
  for (const [chunk, total] of [
    [1, 65536],
    [1000, 64000],
    [4096, 65536],
    [4097, 45066],
    [3000, 48000],
    [100000, 65536],
  ] as const)
    test(`takes ${total} bytes in writes of ${chunk}`, () => {
      const { kit, w } = withPipe(O_NONBLOCK);
      expect(fill(kit, w, chunk)).toBe(total);
    });

  test("keeps order through wrapping, growth and odd sizes", () => {
    const { kit, r, w } = withPipe(O_NONBLOCK);
    let sent = 0;
    let got = 0;
    let seed = 7;
    const next = (n: number): number => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return (seed >>> 8) % n;
    };
    for (let round = 0; round < 2000; round++) {
      if (next(2) === 0) {
        const want = 1 + next(9000);
        kit.put(
          BUFFER,
          Uint8Array.from({ length: want }, (_, i) => ((sent + i) * 7) & 255),
        );
        const n = kit.call(write, w, BUFFER, want);
        if (n > 0) sent += n;
        else expect(n).toBe(-EAGAIN);
      } else {
        const n = kit.call(read, r, BUFFER, 1 + next(12000));
        if (n < 0) {
          expect(n).toBe(-EAGAIN);
          expect(got).toBe(sent);
          continue;
        }
        const bytes = kit.bytes(BUFFER, n);
        for (let i = 0; i < n; i++) if (bytes[i] !== (((got + i) * 7) & 255)) throw new Error(`wrong byte ${got + i}`);
        got += n;
      }
    }
    expect(got).toBeGreaterThan(1e6);
  });

  test("a reader waits for a writer, and for the end of file", () => {
    const { kit, r, w } = withPipe(0);
    const reader = kit.thread();
    expect(kit.callAs(reader, read, r, BUFFER, 10)).toBe(BLOCKED);
    expect(kit.again(reader, read)).toBeUndefined();
    kit.put(MEMORY + 64, "hello");
    expect(kit.call(write, w, MEMORY + 64, 5)).toBe(5);
    expect(kit.again(reader, read)).toBe(5);
    expect(kit.get(BUFFER, 5)).toBe("hello");
    expect(kit.callAs(reader, read, r, BUFFER, 10)).toBe(BLOCKED);
    expect(kit.call(close, w)).toBe(0);
    expect(kit.again(reader, read)).toBe(0);
  });

  test("a blocked writer goes on where it was, and returns the whole count", () => {
    const { kit, r, w } = withPipe(0);
    const writer = kit.thread();
    const bytes = Uint8Array.from({ length: 150000 }, (_, i) => (i >> 5) & 255);
    kit.put(BUFFER, bytes);
    expect(kit.callAs(writer, write, w, BUFFER, bytes.length)).toBe(BLOCKED);
    const out: number[] = [];
    let result: number | undefined;
    for (let i = 0; i < 100 && out.length < bytes.length; i++) {
      const n = kit.call(read, r, MEMORY + 0x100000, 50000);
      out.push(...kit.bytes(MEMORY + 0x100000, n));
      result = kit.again(writer, write) ?? result;
    }
    expect(result).toBe(bytes.length);
    expect(Buffer.from(out).equals(Buffer.from(bytes))).toBe(true);
  });

  test("only one of several readers is woken, and hands on what it leaves", () => {
    const { kit, r, w } = withPipe(0);
    const first = kit.thread();
    const second = kit.thread();
    expect(kit.callAs(first, read, r, BUFFER, 2)).toBe(BLOCKED);
    expect(kit.callAs(second, read, r, BUFFER + 16, 2)).toBe(BLOCKED);
    kit.call(write, w, MEMORY, 4);
    expect(kit.again(second, read)).toBeUndefined();
    expect(kit.again(first, read)).toBe(2);
    expect(kit.again(second, read)).toBe(2);
  });

  test("writing without readers is EPIPE with SIGPIPE", () => {
    const { kit, r, w } = withPipe(0);
    kit.call(close, r);
    expect(kit.call(write, w, BUFFER, 1)).toBe(-EPIPE);
    expect(kit.task.signals.pending.set.has(13)).toBe(true);
  });

  test("a bad pointer takes nothing from the pipe", () => {
    const { kit, r, w } = withPipe(O_NONBLOCK);
    kit.call(write, w, BUFFER, 3);
    expect(kit.call(read, r, BAD, 3)).toBe(-EFAULT);
    expect(kit.call(read, r, BUFFER, 10)).toBe(3);
    expect(kit.call(write, w, BAD, 3)).toBe(-EFAULT);
    kit.put64(MEMORY + 256, BUFFER, 2, BAD, 5);
    expect(kit.call(writev, w, MEMORY + 256, 2)).toBe(2);
  });

  test("O_DIRECT keeps packets apart and drops what does not fit", () => {
    const { kit, r, w } = withPipe(O_NONBLOCK | O_DIRECT);
    kit.put(BUFFER, "abcdefgh");
    kit.call(write, w, BUFFER, 5);
    kit.call(write, w, BUFFER + 5, 3);
    expect(kit.call(read, r, BUFFER + 64, 2)).toBe(2);
    expect(kit.call(read, r, BUFFER + 64, 100)).toBe(3);
    expect(kit.get(BUFFER + 64, 3)).toBe("fgh");
  });

  test("poll sees data, room, hang-up and error", () => {
    const { kit, r, w } = withPipe(O_NONBLOCK);
    const both = (): [number, number] => {
      kit.put32(MEMORY, r, 1, w, 4);
      kit.call(poll, MEMORY, 2, 0);
      return [kit.get32(MEMORY + 4) >>> 16, kit.get32(MEMORY + 12) >>> 16];
    };
    expect(both()).toEqual([0, 4]);
    kit.call(write, w, BUFFER, 1);
    expect(both()).toEqual([1, 4]);
    kit.call(write, w, BUFFER, 100000);
    expect(both()).toEqual([1, 0]);
    kit.call(close, r);
    expect(both()).toEqual([32, 8]);
  });
});
