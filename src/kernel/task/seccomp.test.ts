import { describe, expect, test } from "bun:test";
import { EACCES, EINVAL } from "../abi/errno.ts";
import { SYSCALL_NUMBERS } from "../abi/syscall-numbers.ts";
import { type Guest, GuestWorld, MEM } from "../testing/scripted-guest.ts";
import { checkProgram, runProgram } from "./seccomp.ts";

type Insn = [code: number, jt: number, jf: number, k: number];
const program = (...insns: Insn[]): Uint32Array => Uint32Array.from(insns.flat());
const LD_NR: Insn = [0x20, 0, 0, 0];
const ret = (k: number): Insn => [0x06, 0, 0, k];
const ALLOW = 0x7fff0000;
const ERRNO = 0x50000;
const TRAP = 0x30000;

/** A filter that answers one call with `verdict` and allows the others. */
const deny = (nr: number, verdict: number): Insn[] => [LD_NR, [0x15, 0, 1, nr], ret(verdict), ret(ALLOW)];

function* install(g: Guest, insns: Insn[]) {
  const at = MEM.free + 0x100;
  insns.forEach(([code, jt, jf, k], i) => {
    g.put32(at + 8 * i, (code | (jt << 16) | (jf << 24)) >>> 0);
    g.put32(at + 8 * i + 4, k);
  });
  g.put64(MEM.free, insns.length, at);
  return yield* g.sys("seccomp", 1, 0, MEM.free);
}

describe("classic BPF", () => {
  test("programs that could run away, read outside or read what was not written are refused", () => {
    expect(checkProgram(program(ret(ALLOW)))).toBe(true);
    expect(checkProgram(program(LD_NR))).toBe(false);
    expect(checkProgram(program([0x05, 0, 0, 1], ret(0)))).toBe(false);
    expect(checkProgram(program([0x15, 1, 0, 0], ret(0)))).toBe(false);
    expect(checkProgram(program([0x20, 0, 0, 64], ret(0)))).toBe(false);
    expect(checkProgram(program([0x20, 0, 0, 2], ret(0)))).toBe(false);
    expect(checkProgram(program([0x30, 0, 0, 0], ret(0)))).toBe(false);
    expect(checkProgram(program([0x34, 0, 0, 0], ret(0)))).toBe(false);
    expect(checkProgram(program([0x60, 0, 0, 1], ret(0)))).toBe(false);
    expect(checkProgram(program([0x02, 0, 0, 1], [0x60, 0, 0, 1], ret(0)))).toBe(true);
    // Written on one of two paths only.
    expect(checkProgram(program([0x15, 0, 1, 0], [0x02, 0, 0, 1], [0x60, 0, 0, 1], ret(0)))).toBe(false);
  });

  test("arithmetic wraps at 32 bits", () => {
    const data = new Uint32Array(16);
    data[0] = 0xfffffff0;
    const run = (...insns: Insn[]) => runProgram(program(LD_NR, ...insns, [0x16, 0, 0, 0]), data);
    expect(run([0x04, 0, 0, 0x20])).toBe(0x10);
    expect(run([0x14, 0, 0, 0xfffffff1])).toBe(0xffffffff);
    expect(run([0x24, 0, 0, 0x10])).toBe(0xffffff00);
    expect(run([0x34, 0, 0, 16])).toBe(0x0fffffff);
    expect(run([0x64, 0, 0, 4])).toBe(0xffffff00);
    expect(run([0x74, 0, 0, 28])).toBe(0xf);
    expect(run([0x84, 0, 0, 0])).toBe(0x10);
    expect(run([0x07, 0, 0, 0], [0x00, 0, 0, 1], [0xac, 0, 0, 0])).toBe(0xfffffff1);
  });
});

describe("seccomp", () => {
  test("filters answer calls, stack, pass to children; the strictest counts", () => {
    const seen: unknown[] = [];
    const status = new GuestWorld().run(function* (g) {
      seen.push(yield* install(g, [LD_NR]), yield* install(g, deny(SYSCALL_NUMBERS.getppid, ERRNO | 42)));
      seen.push(yield* g.sys("getppid"), yield* g.sys("getpid"));
      yield* install(g, deny(SYSCALL_NUMBERS.getppid, ALLOW));
      seen.push(yield* g.sys("getppid"), yield* g.sys("prctl", 21, 0, 0, 0, 0));
      yield* g.fork(function* (c) {
        seen.push(yield* c.sys("getppid"));
        yield* install(c, deny(SYSCALL_NUMBERS.getsid, 0x80000000));
        yield* c.sys("getsid", 0);
        seen.push("not reached");
      });
      seen.push((yield* g.wait())[1]);
    });
    expect(seen).toEqual([-EINVAL, 0, -42, 1, -42, 2, -42, 31]);
    expect(status).toBe(0);
  });

  test("TRAP raises SIGSYS with the call's number", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(
        31,
        function* (h, signo, info) {
          seen.push(signo, h.u32(info + 4), h.u32(info + 8), h.u32(info + 24), h.u32(info + 28));
          yield* h.sys("getpid");
        },
        4,
      );
      yield* install(g, deny(SYSCALL_NUMBERS.getppid, TRAP | 5));
      seen.push(yield* g.sys("getppid"));
    });
    expect(seen).toEqual([31, 5, 1, SYSCALL_NUMBERS.getppid, 0xc000003e, SYSCALL_NUMBERS.getppid]);
  });

  test("needs no_new_privs or CAP_SYS_ADMIN; strict mode kills", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.fork(function* (c) {
        yield* c.sys("setresuid", 1000, 1000, 1000);
        seen.push(yield* install(c, [ret(ALLOW)]));
        yield* c.sys("prctl", 38, 1, 0, 0, 0);
        seen.push(yield* install(c, [ret(ALLOW)]));
      });
      yield* g.wait();
      yield* g.fork(function* (c) {
        seen.push(yield* c.sys("prctl", 22, 1, 0, 0, 0));
        yield* c.sys("getpid");
      });
      seen.push((yield* g.wait())[1]);
    });
    expect(seen).toEqual([-EACCES, 0, 0, 9]);
  });
});
