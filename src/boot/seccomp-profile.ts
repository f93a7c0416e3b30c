/**
 * The seccomp profile of an OCI spec as a classic BPF program for the guest: what runc makes of it through libseccomp.
 *
 * Source: OCI config-linux.md "Seccomp", seccomp_rule_add(3), runc's behaviour, which was compared by random profiles:
 * - several entries for one call are alternatives, an entry without conditions decides alone;
 * - the conditions of one entry must all hold; but where two of them are about the same argument, each of the entry's
 *   conditions is an alternative of its own;
 * - under a default that refuses, a call whose number is above all that the profile names gives ENOSYS: its author did
 *   not know it, and programs then go on without it;
 * - x32 calls end the thread, unless the profile lists that architecture: then they are taken for the 64-bit ones.
 * Guests make x86-64 calls only (int 0x80 gives ENOSYS), so other architectures of the profile have nothing to say. The
 * flags change nothing: there is one thread, no log of the host, and speculation is the host's.
 */
import type { Spec } from "../core/spec/schema.ts";
import { SYSCALL_NUMBERS } from "../kernel/abi/syscall-numbers.ts";
import { checkProgram, SECCOMP_MODE_FILTER, type Seccomp, SeccompFilter } from "../kernel/task/seccomp.ts";

type Profile = NonNullable<NonNullable<Spec["linux"]>["seccomp"]>;
type Rule = NonNullable<Profile["syscalls"]>[number];

const EPERM = 1;
const ENOSYS = 38;
/** The bit that tells x32 calls. */
const X32 = 0x40000000;
const LD_ABS = 0x20;
const JA = 0x05;
const JEQ = 0x15;
const JGT = 0x25;
const JGE = 0x35;
const AND = 0x54;
const RET = 0x06;
const ARGS_OFFSET = 16;

/** Where a condition goes on: the next condition, or the next rule. */
type Target = "next" | "pass" | "fail";
interface Step {
  code: number;
  k: number;
  yes: Target;
  no: Target;
}

const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: 0,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};

function action(name: string, errno: number | undefined): number {
  const value = ACTIONS[name];
  if (value === undefined) throw new Error(`linux.seccomp: action ${name} is not supported`);
  const takesData = name === "SCMP_ACT_ERRNO" || name === "SCMP_ACT_TRACE";
  return takesData ? (value | ((errno ?? EPERM) & 0xffff)) >>> 0 : value;
}

const low = (value: bigint): number => Number(value & 0xffffffffn);
const high = (value: bigint): number => Number(value >> 32n);

/** Compares one 64-bit argument in two halves. */
function condition(arg: NonNullable<Rule["args"]>[number]): Step[] {
  const at = ARGS_OFFSET + 8 * arg.index;
  const load = (offset: number): Step => ({ code: LD_ABS, k: offset, yes: "next", no: "next" });
  const test = (code: number, k: number, yes: Target, no: Target): Step => ({ code, k, yes, no });
  const value = BigInt(arg.value);
  const h = high(value);
  const l = low(value);
  switch (arg.op) {
    case "SCMP_CMP_EQ":
      return [load(at + 4), test(JEQ, h, "next", "fail"), load(at), test(JEQ, l, "pass", "fail")];
    case "SCMP_CMP_NE":
      return [load(at + 4), test(JEQ, h, "next", "pass"), load(at), test(JEQ, l, "fail", "pass")];
    case "SCMP_CMP_GT":
    case "SCMP_CMP_GE": {
      const code = arg.op === "SCMP_CMP_GT" ? JGT : JGE;
      return [
        load(at + 4),
        test(JGT, h, "pass", "next"),
        test(JEQ, h, "next", "fail"),
        load(at),
        test(code, l, "pass", "fail"),
      ];
    }
    case "SCMP_CMP_LT":
    case "SCMP_CMP_LE": {
      const code = arg.op === "SCMP_CMP_LT" ? JGE : JGT;
      return [
        load(at + 4),
        test(JGT, h, "fail", "next"),
        test(JEQ, h, "next", "pass"),
        load(at),
        test(code, l, "fail", "pass"),
      ];
    }
    case "SCMP_CMP_MASKED_EQ": {
      // Bits outside of the mask do not count, on either side.
      const want = BigInt(arg.valueTwo ?? 0) & value;
      return [
        load(at + 4),
        test(AND, h, "next", "next"),
        test(JEQ, high(want), "next", "fail"),
        load(at),
        test(AND, l, "next", "next"),
        test(JEQ, low(want), "pass", "fail"),
      ];
    }
    default:
      throw new Error(`linux.seccomp: operator ${arg.op} is not supported`);
  }
}

/** The instructions of one rule: all its conditions, then its action. */
function ruleCode(rule: Rule): number[][] {
  const conditions = (rule.args ?? []).map(condition);
  const total = conditions.reduce((n, steps) => n + steps.length, 0);
  const code: number[][] = [];
  let done = 0;
  for (const steps of conditions) {
    const end = done + steps.length;
    for (const step of steps) {
      const here = code.length;
      // Behind the action is the next rule.
      const distance = (target: Target): number =>
        target === "next" ? 0 : (target === "pass" ? end : total + 1) - here - 1;
      code.push([step.code, distance(step.yes), distance(step.no), step.k]);
    }
    done = end;
  }
  code.push([RET, 0, 0, action(rule.action, rule.errnoRet)]);
  return code;
}

/** An entry whose conditions share an argument, as the entries that it stands for. */
function alternatives(rule: Rule): Rule[] {
  const args = rule.args ?? [];
  if (new Set(args.map(({ index }) => index)).size === args.length) return [rule];
  return args.map((arg) => ({ ...rule, args: [arg] }));
}

/** The answers to the calls that the profile names, by number. */
function rulesByNumber(profile: Profile, fallback: number): Map<number, Rule[]> {
  const byNumber = new Map<number, Rule[]>();
  for (const rule of profile.syscalls ?? []) {
    if (action(rule.action, rule.errnoRet) === fallback) continue;
    for (const nr of numbersOf(rule)) {
      const rules = byNumber.get(nr) ?? [];
      const last = rules.at(-1);
      // After one without conditions nothing else matters.
      if (last !== undefined && (last.args ?? []).length === 0) continue;
      if ((rule.args ?? []).length === 0) byNumber.set(nr, [rule]);
      else byNumber.set(nr, [...rules, ...alternatives(rule)]);
    }
  }
  return byNumber;
}

function numbersOf(rule: Rule): number[] {
  const known = SYSCALL_NUMBERS as Readonly<Record<string, number>>;
  return rule.names.flatMap((name) => (Object.hasOwn(known, name) ? [known[name]!] : []));
}

/** The largest number that the profile names, when calls above it are to give ENOSYS; null when they are not. */
function lastKnown(profile: Profile): number | null {
  if (["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].includes(profile.defaultAction)) return null;
  if (profile.defaultErrnoRet === ENOSYS) return null;
  const all = (profile.syscalls ?? []).flatMap(numbersOf);
  return all.length === 0 ? null : Math.max(...all);
}

/** The program of a profile, four words an instruction. */
export function compileProfile(profile: Profile): Uint32Array {
  const fallback = action(profile.defaultAction, profile.defaultErrnoRet);
  const code: number[][] = [[LD_ABS, 0, 0, 0]];
  // -1 is not an x32 call: it is none.
  if (profile.architectures?.includes("SCMP_ARCH_X32")) code.push([JEQ, 1, 0, 0xffffffff], [AND, 0, 0, ~X32 >>> 0]);
  else {
    const kill = action("SCMP_ACT_KILL_THREAD", undefined);
    code.push([JGE, 0, 3, X32], [JEQ, 0, 1, 0xffffffff], [RET, 0, 0, fallback], [RET, 0, 0, kill]);
  }
  const last = lastKnown(profile);
  if (last !== null) code.push([JGT, 0, 1, last], [RET, 0, 0, action("SCMP_ACT_ERRNO", ENOSYS)]);
  for (const [nr, rules] of rulesByNumber(profile, fallback)) {
    const body = rules.flatMap(ruleCode);
    // What falls through all rules gets the default.
    body.push([RET, 0, 0, fallback]);
    if (body.length <= 255) code.push([JEQ, 0, body.length, nr]);
    else code.push([JEQ, 1, 0, nr], [JA, 0, 0, body.length]);
    code.push(...body);
  }
  code.push([RET, 0, 0, fallback]);
  const program = Uint32Array.from(code.flat());
  if (!checkProgram(program)) throw new Error("linux.seccomp: the profile makes no valid program");
  return program;
}

/** What the first process, and all that it forks, starts with; null without a profile. */
export function seccompOf(spec: Spec): Seccomp | null {
  const profile = spec.linux?.seccomp;
  if (profile === undefined || profile === null) return null;
  return { mode: SECCOMP_MODE_FILTER, filter: new SeccompFilter(compileProfile(profile), null) };
}
