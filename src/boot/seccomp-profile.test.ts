import { describe, expect, test } from "bun:test";
import { SYSCALL_NUMBERS } from "../kernel/abi/syscall-numbers.ts";
import { runProgram } from "../kernel/task/seccomp.ts";
import { compileProfile } from "./seccomp-profile.ts";

const X86_64 = 0xc000003e;
const ALLOW = 0x7fff0000;
const KILL = 0;
const ERRNO = 0x00050000;
const EPERM = ERRNO + 1;
const ENOSYS = ERRNO + 38;

type Profile = Parameters<typeof compileProfile>[0];
type Rule = NonNullable<Profile["syscalls"]>[number];

/** What the profile answers to a call by name or number. */
function ask(profile: Profile, call: keyof typeof SYSCALL_NUMBERS | number, ...args: (number | bigint)[]): number {
  const data = new Uint32Array(16);
  data[0] = typeof call === "number" ? call : SYSCALL_NUMBERS[call];
  data[1] = X86_64;
  for (const [i, arg] of args.entries()) {
    data[4 + 2 * i] = Number(BigInt(arg) & 0xffffffffn);
    data[5 + 2 * i] = Number(BigInt(arg) >> 32n);
  }
  return runProgram(compileProfile(profile), data) >>> 0;
}
/** Everything is refused but what the rules say. */
const only = (...syscalls: Rule[]): Profile => ({ defaultAction: "SCMP_ACT_ERRNO", syscalls });
const allow = (name: string, ...args: NonNullable<Rule["args"]>): Rule => ({
  names: [name],
  action: "SCMP_ACT_ALLOW",
  args,
});
const arg = (index: number, op: string, value: number | string, valueTwo?: number | string) => ({
  index,
  op: `SCMP_CMP_${op}`,
  value,
  ...(valueTwo === undefined ? {} : { valueTwo }),
});

describe("a seccomp profile, as runc and libseccomp read it", () => {
  test("conditions on different arguments must all hold", () => {
    const profile = only(allow("socket", arg(0, "EQ", 1), arg(1, "NE", 2)));
    expect(ask(profile, "socket", 1, 1)).toBe(ALLOW);
    expect(ask(profile, "socket", 1, 2)).toBe(EPERM);
    expect(ask(profile, "socket", 2, 1)).toBe(EPERM);
  });

  test("two conditions on one argument make each condition of the entry an alternative", () => {
    const profile = only(allow("personality", arg(0, "EQ", 0), arg(0, "EQ", 8), arg(1, "EQ", 5)));
    expect(ask(profile, "personality", 0)).toBe(ALLOW);
    expect(ask(profile, "personality", 8)).toBe(ALLOW);
    expect(ask(profile, "personality", 1, 5)).toBe(ALLOW);
    expect(ask(profile, "personality", 1, 4)).toBe(EPERM);
  });

  test("several entries for one call are alternatives, one without conditions decides", () => {
    const some = only(allow("personality", arg(0, "EQ", 0)), allow("personality", arg(0, "EQ", 8)));
    expect([0, 8, 4].map((n) => ask(some, "personality", n))).toEqual([ALLOW, ALLOW, EPERM]);
    const deny: Rule = { names: ["personality"], action: "SCMP_ACT_KILL" };
    const all = only(allow("personality", arg(0, "EQ", 0)), deny, allow("personality", arg(0, "EQ", 8)));
    expect([0, 8, 4].map((n) => ask(all, "personality", n))).toEqual([KILL, KILL, KILL]);
  });

  const big = "18446744073709551614";
  const comparisons: [string, string | number, (number | bigint)[], (number | bigint)[]][] = [
    ["EQ", big, [BigInt(big)], [BigInt(big) - 1n, 0xfffffffe, 0]],
    ["NE", big, [0xfffffffe, 0], [BigInt(big)]],
    ["LT", "4294967297", [0, 4294967296], [4294967297, BigInt(big)]],
    ["LE", "4294967297", [0, 4294967297], [4294967298, BigInt(big)]],
    ["GT", "4294967297", [4294967298, BigInt(big)], [0, 4294967297]],
    ["GE", "4294967297", [4294967297, BigInt(big)], [0, 2, 4294967296]],
  ];
  for (const [op, value, yes, no] of comparisons)
    test(`SCMP_CMP_${op} compares 64 bits`, () => {
      const profile = only(allow("personality", arg(0, op, value)));
      for (const each of yes) expect([each, ask(profile, "personality", each)]).toEqual([each, ALLOW]);
      for (const each of no) expect([each, ask(profile, "personality", each)]).toEqual([each, EPERM]);
    });

  test("SCMP_CMP_MASKED_EQ: the mask first; bits of the value outside of it do not count", () => {
    // The rule for clone of Docker's profile: no namespaces.
    const clone = only(allow("clone", arg(0, "MASKED_EQ", 2114060288, 0)));
    expect(ask(clone, "clone", 0x11)).toBe(ALLOW);
    expect(ask(clone, "clone", 0x10000011)).toBe(EPERM);
    const high = only(allow("personality", arg(0, "MASKED_EQ", "18446744069414584320", "4294967299")));
    expect(ask(high, "personality", 0x1_0000_0007n)).toBe(ALLOW);
    expect(ask(high, "personality", 7)).toBe(EPERM);
  });

  test("a call above all that the profile names gives ENOSYS where the default refuses", () => {
    const profile = only(allow("read"), allow("openat2"), { names: ["mkdir"], action: "SCMP_ACT_KILL" });
    expect(ask(profile, "openat2")).toBe(ALLOW);
    expect(ask(profile, "pidfd_getfd")).toBe(ENOSYS);
    expect(ask(profile, 5000)).toBe(ENOSYS);
    expect(ask(profile, "write")).toBe(EPERM);
    for (const defaultAction of ["SCMP_ACT_KILL", "SCMP_ACT_TRAP"])
      expect(ask({ ...profile, defaultAction }, 5000)).toBe(ENOSYS);
    // A profile that allows by default has nothing to say, one with ENOSYS says it itself.
    for (const defaultAction of ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
      expect(ask({ ...profile, defaultAction }, 5000)).toBeGreaterThanOrEqual(0x7ffc0000);
    expect(ask({ ...profile, defaultErrnoRet: 38 }, 5000)).toBe(ENOSYS);
    expect(ask({ ...profile, defaultErrnoRet: 5 }, 5000)).toBe(ENOSYS);
    expect(ask({ ...profile, defaultErrnoRet: 5 }, "write")).toBe(ERRNO + 5);
  });

  test("what names mean nothing: unknown ones, and those of every object", () => {
    const profile = only(allow("no_such_call"), allow("constructor"), allow("read"));
    expect(ask(profile, "read")).toBe(ALLOW);
    expect(ask(profile, 1)).toBe(ENOSYS);
  });

  test("errnoRet, 0 and absent ones too", () => {
    const deny = (errnoRet?: number): Profile => ({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", ...(errnoRet === undefined ? {} : { errnoRet }) }],
    });
    expect([undefined, 0, 4095].map((n) => ask(deny(n), "mkdir"))).toEqual([EPERM, ERRNO, ERRNO + 4095]);
  });

  test("x32 calls end the thread, or are taken for the 64-bit ones when the profile lists them", () => {
    const profile = only(allow("read"), allow("openat2"));
    expect(ask(profile, 0x40000000)).toBe(KILL);
    expect(ask({ ...profile, defaultAction: "SCMP_ACT_ALLOW" }, 0x40000001)).toBe(KILL);
    expect(ask(profile, 0xffffffff)).toBe(EPERM);
    const x32 = { ...profile, architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] };
    expect(ask(x32, 0x40000000)).toBe(ALLOW);
    expect(ask(x32, 0x40000001)).toBe(EPERM);
    expect(ask(x32, 0x40005000)).toBe(ENOSYS);
  });
});
