/**
 * The tests of processes, signals, futexes and filters once more, with the kernel saved and restored every few turns: their
 * guests must not notice.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { GuestWorld } from "../testing/scripted-guest.ts";

beforeAll(() => {
  GuestWorld.moveEvery = 3;
  GuestWorld.moves = 0;
});
afterAll(() => {
  GuestWorld.moveEvery = 0;
});

// Modules of their own: those of the same files are other files' tests.
for (const file of ["futex/futex", "signal/signal", "task/process", "task/seccomp"])
  await import(`../${file}.test.ts?moved`);

test("kernels were restored in the middle of it", () => {
  expect(GuestWorld.moves).toBeGreaterThan(200);
});
