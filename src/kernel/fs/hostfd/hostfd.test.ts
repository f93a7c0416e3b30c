import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd, pipe2, readFd, socketpair, writeFd } from "../../../native/host.ts";
import { EAGAIN, EPIPE, ESPIPE } from "../../abi/errno.ts";
import { BLOCKED } from "../../syscall.ts";
import { lseek } from "../../syscalls/lseek.ts";
import { poll } from "../../syscalls/poll.ts";
import { pread64, read } from "../../syscalls/read.ts";
import { write } from "../../syscalls/write.ts";
import { MEMORY, TaskKit } from "../../testing/task-kit.ts";
import { openHostFd } from "./node.ts";

const folder = mkdtempSync(join(tmpdir(), "hostfd-"));
afterAll(() => rmSync(folder, { recursive: true }));
const BUFFER = MEMORY + 4096;
const text = (bytes: string) => Buffer.from(bytes);

function install(kit: TaskKit, fd: number): number {
  return kit.task.files.install(openHostFd(kit.kernel, fd), false, 100);
}
function hostPipe(): [number, number] {
  const ends = new Int32Array(2);
  pipe2(ends, 0o2000000);
  return [ends[0]!, ends[1]!];
}

describe("inherited pipes", () => {
  test("a reader waits without the host's descriptor being non-blocking", () => {
    const kit = new TaskKit();
    const [r, w] = hostPipe();
    const fd = install(kit, r);
    const reader = kit.thread();
    expect(kit.callAs(reader, read, fd, BUFFER, 100)).toBe(BLOCKED);
    writeFd(w, text("hello"), 5);
    kit.kernel.poller.dispatch();
    expect(kit.again(reader, read)).toBe(5);
    expect(kit.get(BUFFER, 5)).toBe("hello");
    closeFd(w);
    expect(kit.call(read, fd, BUFFER, 100)).toBe(0);
  });

  test("a writer of more than fits goes on as the other side reads", () => {
    const kit = new TaskKit();
    const [r, w] = hostPipe();
    const fd = install(kit, w);
    const bytes = Uint8Array.from({ length: 200000 }, (_, i) => (i * 7) & 255);
    kit.put(BUFFER, bytes);
    const writer = kit.thread();
    let result: number | undefined = kit.callAs(writer, write, fd, BUFFER, bytes.length);
    expect(result).toBe(BLOCKED);
    const got: number[] = [];
    const chunk = new Uint8Array(9000);
    while (got.length < bytes.length) {
      const n = readFd(r, chunk, chunk.length);
      got.push(...chunk.subarray(0, n));
      kit.kernel.poller.dispatch();
      result = kit.again(writer, write) ?? result;
    }
    expect(result).toBe(bytes.length);
    expect(Buffer.from(got).equals(Buffer.from(bytes))).toBe(true);
    closeFd(r);
    expect(kit.call(write, fd, BUFFER, 1)).toBe(-EPIPE);
    expect(kit.task.signals.pending.set.has(13)).toBe(true);
  });

  test("poll sees what the host sees", () => {
    const kit = new TaskKit();
    const [r, w] = hostPipe();
    const fd = install(kit, r);
    kit.put32(MEMORY, fd, 1);
    expect(kit.call(poll, MEMORY, 1, 0)).toBe(0);
    expect(kit.call(poll, MEMORY, 1, -1)).toBe(BLOCKED);
    writeFd(w, text("x"), 1);
    kit.kernel.poller.dispatch();
    expect(kit.again(kit.task, poll)).toBe(1);
    expect(kit.call(lseek, fd, 0, 1)).toBe(-ESPIPE);
    closeFd(w);
  });
});

test("an inherited socket is read without waiting", () => {
  const kit = new TaskKit();
  const ends = new Int32Array(2);
  socketpair(1, ends);
  const fd = install(kit, ends[0]!);
  kit.task.files.get(fd)!.flags |= 0o4000;
  expect(kit.call(read, fd, BUFFER, 10)).toBe(-EAGAIN);
  writeFd(ends[1]!, text("abc"), 3);
  expect(kit.call(read, fd, BUFFER, 10)).toBe(3);
  closeFd(ends[1]!);
});

test("an inherited file shares its position with the host", () => {
  const kit = new TaskKit();
  const path = join(folder, "f");
  writeFileSync(path, "0123456789");
  const host = openSync(path, "r+");
  const inherited = openSync(`/proc/self/fd/${host}`, "r+");
  const fd = install(kit, inherited);
  expect(kit.call(read, fd, BUFFER, 3)).toBe(3);
  const next = new Uint8Array(2);
  expect(readFd(inherited, next, 2)).toBe(2);
  expect(Buffer.from(next).toString()).toBe("34");
  expect(kit.call(lseek, fd, 0, 1)).toBe(5);
  expect(kit.call(pread64, fd, BUFFER, 4, 6)).toBe(4);
  expect(kit.get(BUFFER, 4)).toBe("6789");
  writeSync(inherited, "AB");
  kit.put(BUFFER, "CD");
  expect(kit.call(write, fd, BUFFER, 2)).toBe(2);
  expect(readFileSync(path, "utf8")).toBe("01234ABCD9");
});
