import { expect, test } from "bun:test";
import { EPERM } from "../abi/errno.ts";
import { prctl } from "../syscalls/prctl.ts";
import { TaskKit } from "../testing/task-kit.ts";
import { ALL_CAPS, makeCredentials } from "./credentials.ts";

const PR_SET_SECUREBITS = 28;

// Since Linux 6.14, which not every host has: compared with one that has.
test("securebits that programs restrict themselves by need no capability", () => {
  const kit = new TaskKit();
  const { task } = kit;
  const set = (bits: number) => kit.call(prctl, PR_SET_SECUREBITS, bits);
  task.cred = makeCredentials(5, 5, [], ALL_CAPS);
  expect([set(0), set(0x1), set(0x100), set(0x100), set(0x101), set(0xf00)]).toEqual([
    -EPERM,
    -EPERM,
    0,
    -EPERM,
    -EPERM,
    0,
  ]);
  expect([set(0), set(0xe00), set(0x1f00)]).toEqual([-EPERM, -EPERM, -EPERM]);
  expect(task.cred.securebits).toBe(0xf00);
});
