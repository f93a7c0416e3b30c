import { describe, expect, test } from "bun:test";
import { EBADF, EEXIST, EINVAL, ELOOP, ENOENT } from "../abi/errno.ts";
import { BLOCKED } from "../syscall.ts";
import { close } from "../syscalls/close.ts";
import { dup } from "../syscalls/dup.ts";
import { epoll_create1, epoll_ctl, epoll_wait } from "../syscalls/epoll.ts";
import { eventfd2 } from "../syscalls/eventfd.ts";
import { read } from "../syscalls/read.ts";
import { write } from "../syscalls/write.ts";
import { MEMORY, TaskKit } from "../testing/task-kit.ts";
import { EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT } from "./epoll.ts";

const EPOLLIN = 1;
const ADD = 1;
const DEL = 2;
const MOD = 3;
const EVENT = MEMORY;
const OUT = MEMORY + 4096;
const WORD = MEMORY + 8192;

class Watch {
  readonly kit = new TaskKit();
  readonly ep = this.kit.call(epoll_create1, 0);
  eventfd(value: number): number {
    return this.kit.call(eventfd2, value, 0o4000);
  }
  ctl(op: number, fd: number, events: number, tag = fd, ep = this.ep): number {
    this.kit.put32(EVENT, events, tag, 0);
    return this.kit.call(epoll_ctl, ep, op, fd, EVENT);
  }
  /** Tags of what is ready, or a negative errno. */
  wait(max = 8): number[] | number {
    const n = this.kit.call(epoll_wait, this.ep, OUT, max, 0);
    return n < 0 ? n : Array.from({ length: n }, (_, i) => this.kit.get32(OUT + 12 * i + 4));
  }
  add(fd: number): void {
    this.kit.put64(WORD, 1);
    this.kit.call(write, fd, WORD, 8);
  }
  take(fd: number): void {
    this.kit.call(read, fd, WORD, 8);
  }
}

describe("epoll(7)", () => {
  test("level-triggered items stay as long as they are ready", () => {
    const watch = new Watch();
    const e = watch.eventfd(1);
    watch.ctl(ADD, e, EPOLLIN);
    expect(watch.wait()).toEqual([e]);
    expect(watch.wait()).toEqual([e]);
    watch.take(e);
    expect(watch.wait()).toEqual([]);
  });

  test("edge-triggered items come once for each change", () => {
    const watch = new Watch();
    const e = watch.eventfd(1);
    watch.ctl(ADD, e, EPOLLIN | EPOLLET);
    expect(watch.wait()).toEqual([e]);
    expect(watch.wait()).toEqual([]);
    watch.add(e);
    expect(watch.wait()).toEqual([e]);
    expect(watch.wait()).toEqual([]);
  });

  test("one-shot items are off until modified", () => {
    const watch = new Watch();
    const e = watch.eventfd(1);
    watch.ctl(ADD, e, EPOLLIN | EPOLLONESHOT);
    expect(watch.wait()).toEqual([e]);
    watch.add(e);
    expect(watch.wait()).toEqual([]);
    expect(watch.ctl(MOD, e, EPOLLIN | EPOLLONESHOT)).toBe(0);
    expect(watch.wait()).toEqual([e]);
  });

  test("ready items take turns when there is room for one only", () => {
    const watch = new Watch();
    const all = [watch.eventfd(1), watch.eventfd(1), watch.eventfd(1)];
    for (const e of all) watch.ctl(ADD, e, EPOLLIN);
    const seen = [0, 1, 2, 3, 4, 5].map(() => (watch.wait(1) as number[])[0]);
    expect(seen).toEqual([...all, ...all] as number[]);
  });

  test("a waiter sleeps and is woken; of two only one", () => {
    const watch = new Watch();
    const e = watch.eventfd(0);
    watch.ctl(ADD, e, EPOLLIN | EPOLLET);
    const [a, b] = [watch.kit.thread(), watch.kit.thread()];
    expect(watch.kit.callAs(a, epoll_wait, watch.ep, OUT, 8, -1)).toBe(BLOCKED);
    expect(watch.kit.callAs(b, epoll_wait, watch.ep, OUT, 8, -1)).toBe(BLOCKED);
    watch.add(e);
    expect(watch.kit.again(a, epoll_wait)).toBe(1);
    expect(watch.kit.again(b, epoll_wait)).toBeUndefined();
  });

  test("EPOLLEXCLUSIVE wakes one set, the one where somebody waits", () => {
    const watch = new Watch();
    const e = watch.eventfd(0);
    const other = watch.kit.call(epoll_create1, 0);
    expect(watch.ctl(ADD, e, EPOLLIN | EPOLLEXCLUSIVE)).toBe(0);
    expect(watch.ctl(ADD, e, EPOLLIN | EPOLLEXCLUSIVE, 1, other)).toBe(0);
    const waiter = watch.kit.thread();
    expect(watch.kit.callAs(waiter, epoll_wait, other, OUT, 8, -1)).toBe(BLOCKED);
    watch.add(e);
    expect(watch.kit.again(waiter, epoll_wait)).toBe(1);
    expect(watch.ctl(MOD, e, EPOLLIN)).toBe(-EINVAL);
  });

  test("an item goes with its file, not with its descriptor", () => {
    const watch = new Watch();
    const e = watch.eventfd(1);
    const d = watch.kit.call(dup, e);
    watch.ctl(ADD, e, EPOLLIN);
    watch.kit.call(close, e);
    expect(watch.wait()).toEqual([e]);
    expect(watch.ctl(DEL, e, 0)).toBe(-EBADF);
    watch.kit.call(close, d);
    expect(watch.wait()).toEqual([]);
  });

  test("sets do not watch each other in circles", () => {
    const watch = new Watch();
    const other = watch.kit.call(epoll_create1, 0);
    expect(watch.ctl(ADD, other, EPOLLIN)).toBe(0);
    expect(watch.ctl(ADD, watch.ep, EPOLLIN, 1, other)).toBe(-ELOOP);
    expect(watch.ctl(ADD, watch.ep, EPOLLIN)).toBe(-EINVAL);
  });

  test("refuses what is there, or is not", () => {
    const watch = new Watch();
    const e = watch.eventfd(0);
    expect(watch.ctl(MOD, e, EPOLLIN)).toBe(-ENOENT);
    expect(watch.ctl(DEL, e, EPOLLIN)).toBe(-ENOENT);
    expect(watch.ctl(ADD, e, EPOLLIN)).toBe(0);
    expect(watch.ctl(ADD, e, EPOLLIN)).toBe(-EEXIST);
    expect(watch.ctl(ADD, 99, EPOLLIN)).toBe(-EBADF);
    expect(watch.wait(0)).toBe(-EINVAL);
  });
});
