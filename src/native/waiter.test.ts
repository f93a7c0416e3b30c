/** The process that leads the session of a guest's terminal on the host. */
import { expect, test } from "bun:test";
import { closeSync, readSync, writeSync } from "node:fs";
import { waitChild } from "./host.ts";
import { hostCalls } from "./host-calls.ts";

test("a waiter passes on what the terminal makes of ^C and of a new size, and exits with the byte that it is sent", () => {
  const pair = new Int32Array(2);
  const pty = new Int32Array(2);
  expect(hostCalls.socketPair(pair)).toBe(0);
  expect(hostCalls.openpty(pty)).toBe(0);
  const [its, ours] = [pair[0]!, pair[1]!];
  const [master, slave] = [pty[0]!, pty[1]!];
  const pid = hostCalls.spawnWaiter(its, slave, 0);
  expect(pid).toBeGreaterThan(0);
  closeSync(its);
  const said = () => {
    const byte = new Uint8Array(1);
    return readSync(ours, byte) === 1 ? byte[0] : -1;
  };
  writeSync(master, "\x03");
  expect(said()).toBe(2);
  hostCalls.setWindowSize(master, 12, 34);
  expect(said()).toBe(28);
  closeSync(slave);
  // The terminal's end is not the container's.
  closeSync(master);
  writeSync(ours, Uint8Array.of(42));
  const status = new Int32Array(2);
  expect(waitChild(pid, 0, status)).toBe(1);
  expect(status[1]! >> 8).toBe(42);
  closeSync(ours);
});
