/**
 * The table of system calls for the guest programs of the fuzzer: written as C from the kernel's own declarations, so
 * that a new call is fuzzed as soon as it is declared.
 *
 * The names of bits and values are not told by an argument type; its printer is asked what it calls each number.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { syscallDeclarations } from "../../src/generated/syscalls.ts";
import type { ArgType } from "../../src/kernel/syscall.ts";

/** Kinds of src/kernel/args.ts and net/args.ts → pools of guest/pools.h. What is not listed is fuzzed as a number. */
const POOLS: Readonly<Record<string, string>> = {
  fd: "A_FD",
  flags: "A_FLAGS",
  enum: "A_ENUM",
  string: "A_PATH",
  addr: "A_ADDR",
  inStruct: "A_ADDR",
  outStruct: "A_ADDR",
  inBuffer: "A_ADDR",
  outBuffer: "A_ADDR",
  inAddress: "A_ADDR",
  outAddress: "A_ADDR",
  inOption: "A_ADDR",
  outOption: "A_ADDR",
  lengthPointer: "A_ADDR",
  descriptorPair: "A_ADDR",
  size: "A_SIZE",
  long: "A_SIZE",
  mode: "A_MODE",
  pid: "A_PID",
  uid: "A_UID",
  signal: "A_SIGNAL",
  socketType: "A_SOCKTYPE",
  optionName: "A_SMALL",
};

/** What an address points to, by the argument's name; the pool gives such a structure more often than others. */
const STRUCTURES: Readonly<Record<string, string>> = {
  iov: "S_IOV",
  lvec: "S_IOV",
  rvec: "S_IOV",
  msg: "S_MSG",
  msgvec: "S_MSG",
  timeout: "S_TIME",
  req: "S_TIME",
  tp: "S_TIME",
  tv: "S_TIME",
  times: "S_TIME",
  argv: "S_ARGV",
  envp: "S_ARGV",
  fds: "S_POLL",
  cl_args: "S_CLONE",
  how: "S_HOW",
  act: "S_ACTION",
  ss: "S_STACK",
  set: "S_SET",
  mask: "S_SET",
  sigmask: "S_SET",
  readfds: "S_SET",
  writefds: "S_SET",
  exceptfds: "S_SET",
  event: "S_EPOLL",
  sevp: "S_SIGEVENT",
  new_value: "S_ITIMER",
  rlim: "S_LIMIT",
  new_limit: "S_LIMIT",
  addr: "S_SOCKADDR",
  addrlen: "S_LENGTH",
  optlen: "S_LENGTH",
  optval: "S_LENGTH",
  uinfo: "S_SIGINFO",
  info: "S_SIGINFO",
  off_in: "S_LENGTH",
  off_out: "S_LENGTH",
  args: "S_BPF",
  hdrp: "S_CAPHEAD",
  waiters: "S_WAITV",
  arg: "S_LENGTH",
  attr: "S_SCHED",
};

/** Sizes of structures that are asked for exactly. */
const EXACT: Readonly<Record<string, number>> = {
  sigsetsize: 8,
  sizemask: 8,
  "clone3.size": 88,
  "openat2.size": 24,
  "set_robust_list.len": 24,
};

/** The descriptors that a call is meant for, by the beginning of its name; it gets one of them more often. */
const FOR: readonly (readonly [RegExp, string])[] = [
  [/^(accept|bind|listen|connect|getsock|getpeer|send(to|msg|mmsg)|recv|shutdown|setsockopt|getsockopt)/, "D_SOCKET"],
  [/^epoll_/, "D_EPOLL"],
  [/^timerfd_/, "D_TIMER"],
  [/^inotify_/, "D_INOTIFY"],
  [/^(getdents|fchdir)/, "D_DIR"],
  [/^pidfd_/, "D_PIDFD"],
  [/^signalfd/, "D_SIGNAL"],
  [/^(splice|tee|vmsplice)/, "D_PIPE"],
  [/^(ftruncate|fallocate|pread|pwrite|preadv|pwritev|lseek|copy_file_range|fadvise|readahead|sync_file)/, "D_FILE"],
  [/^ioctl/, "D_TTY"],
];

/** Calls that end a thread or take its descriptors or rights away: made less often, so that others come after them. */
const RARE = new Set(
  `exit exit_group close_range execve execveat seccomp pause rt_sigsuspend chroot setuid setgid setreuid setregid
  setresuid setresgid setfsuid capset setrlimit munmap rt_sigreturn vhangup kill mount umount2 unshare setns fork vfork
  clone clone3 prctl`
    .trim()
    .split(/\s+/),
);

/** The numbers that a printer has a name for. */
function known(type: ArgType<unknown>): number[] {
  const say = (value: number): string | undefined => {
    try {
      return type.format?.(value, undefined as never, {}, 0);
    } catch {
      return undefined;
    }
  };
  const found: number[] = [];
  if (type.kind === "flags") {
    for (let bit = 0; bit < 32; bit++) {
      const text = say((1 << bit) >>> 0);
      if (text !== undefined && !text.includes("0x")) found.push((1 << bit) >>> 0);
    }
    return found;
  }
  for (const base of [0, 0x1000, 0x5400, 0x8900, 0x541b, 0x59616d61, 0xfffffff0])
    for (let i = 0; i < 512; i++) {
      const text = say((base + i) | 0);
      if (text !== undefined && text !== String((base + i) | 0)) found.push((base + i) >>> 0);
    }
  return [...new Set(found)];
}

/** ioctl's requests and setns' flags are no named values; these are worth trying, beside any number. */
const EXTRA: Readonly<Record<string, number[]>> = {
  "ioctl.request": [
    0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5409, 0x540a, 0x540b, 0x540e, 0x540f, 0x5410, 0x5411, 0x5412, 0x5413,
    0x5414, 0x541b, 0x541d, 0x5420, 0x5421, 0x5422, 0x5423, 0x5424, 0x5429, 0x5441, 0x5450, 0x5451, 0x5452, 0x8901,
    0x8903, 0x8905, 0x8910, 0x8912, 0x8913, 0x8914, 0x8915, 0x8919, 0x891b, 0x8921, 0x8927, 0x8933, 0x8946, 0x80045430,
    0x40045431, 0x80045438, 0x80086601, 0x6601, 0x6602,
  ],
  "prctl.option": Array.from({ length: 70 }, (_, i) => i),
  "fcntl.cmd": [
    ...Array.from({ length: 18 }, (_, i) => i),
    36,
    37,
    38,
    ...Array.from({ length: 16 }, (_, i) => 1024 + i),
  ],
  "clone.flags": Array.from({ length: 32 }, (_, i) => (1 << i) >>> 0),
};

export function tableText(): string {
  const lines = ["/* Made by test/fuzz/table.ts from the kernel's declarations. */"];
  const rows: string[] = [];
  for (const call of syscallDeclarations) {
    const args: string[] = [];
    call.argNames.forEach((arg, i) => {
      const type = call.args[arg] as ArgType<unknown>;
      const values = EXTRA[`${call.name}.${arg}`] ?? (["flags", "enum"].includes(type.kind) ? known(type) : []);
      let list = "0, 0";
      if (values.length > 0) {
        lines.push(`static const uint32_t v_${call.name}_${i}[] = { ${values.map((n) => `${n}u`).join(", ")} };`);
        list = `v_${call.name}_${i}, ${values.length}`;
      }
      const pool = EXTRA[`${call.name}.${arg}`] && type.kind !== "flags" ? "A_ENUM" : (POOLS[type.kind] ?? "A_INT");
      const hint =
        arg === "filesystemtype" ? "S_FSTYPE" : call.name.includes("xattr") && arg === "name" ? "S_XATTR" : "";
      const self = call.name.startsWith("execve") && arg === "path" ? "S_SELF" : "";
      const exact = EXACT[`${call.name}.${arg}`] ?? EXACT[arg];
      const descriptors = arg.includes("dirfd")
        ? "D_DIR"
        : (FOR.find(([name]) => name.test(call.name))?.[1] ?? "D_ANY");
      const structure = hint || self || (type.kind === "fd" ? descriptors : (STRUCTURES[arg] ?? "S_ANY"));
      if (exact !== undefined) {
        lines.push(`static const uint32_t v_${call.name}_${i}[] = { ${exact}u };`);
        list = `v_${call.name}_${i}, 1`;
      }
      args.push(`{ ${exact === undefined ? pool : "A_EXACT"}, ${structure}, ${list} }`);
    });
    const rare = RARE.has(call.name) ? 1 : 0;
    rows.push(`\t{ ${call.nr}, "${call.name}", ${rare}, ${args.length}, { ${args.join(", ") || "{ 0 }"} } },`);
  }
  return [...lines, "static const struct call_type calls[] = {", ...rows, "};", ""].join("\n");
}

export function writeTable(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, tableText());
}
