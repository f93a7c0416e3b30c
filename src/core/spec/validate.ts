/**
 * What the values of a spec mean, beyond their types: the MUSTs of runtime-spec that can be decided without a kernel.
 *
 * Returns the first problem with its path, or null; what the spec says to log goes to `warnings`. An error here comes
 * before create does anything.
 */
import { isAbsolute } from "node:path";
import { SPEC_VERSION } from "../version.ts";
import { allCapabilities } from "./capabilities.ts";
import { validateCri } from "./cri.ts";
import type { Capabilities, Hooks, Linux, Process, Seccomp, Spec } from "./schema.ts";

export const RLIMITS = [
  "RLIMIT_CPU",
  "RLIMIT_FSIZE",
  "RLIMIT_DATA",
  "RLIMIT_STACK",
  "RLIMIT_CORE",
  "RLIMIT_RSS",
  "RLIMIT_NPROC",
  "RLIMIT_NOFILE",
  "RLIMIT_MEMLOCK",
  "RLIMIT_AS",
  "RLIMIT_LOCKS",
  "RLIMIT_SIGPENDING",
  "RLIMIT_MSGQUEUE",
  "RLIMIT_NICE",
  "RLIMIT_RTPRIO",
  "RLIMIT_RTTIME",
] as const;

export const NAMESPACES = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time"] as const;
export const SECCOMP_ACTIONS = [
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_TRAP",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY",
] as const;
export const SECCOMP_OPERATORS = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;
export const SECCOMP_ARCHITECTURES = [
  "SCMP_ARCH_X86",
  "SCMP_ARCH_X86_64",
  "SCMP_ARCH_X32",
  "SCMP_ARCH_ARM",
  "SCMP_ARCH_AARCH64",
  "SCMP_ARCH_MIPS",
  "SCMP_ARCH_MIPS64",
  "SCMP_ARCH_MIPS64N32",
  "SCMP_ARCH_MIPSEL",
  "SCMP_ARCH_MIPSEL64",
  "SCMP_ARCH_MIPSEL64N32",
  "SCMP_ARCH_PPC",
  "SCMP_ARCH_PPC64",
  "SCMP_ARCH_PPC64LE",
  "SCMP_ARCH_S390",
  "SCMP_ARCH_S390X",
  "SCMP_ARCH_PARISC",
  "SCMP_ARCH_PARISC64",
  "SCMP_ARCH_RISCV64",
  "SCMP_ARCH_LOONGARCH64",
  "SCMP_ARCH_M68K",
  "SCMP_ARCH_SH",
  "SCMP_ARCH_SHEB",
] as const;
const PROPAGATIONS = ["", "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];
/** Sysctls that are not the host's: those of namespaces, as runc has them. */
const SYSCTLS = new Set([
  "kernel.domainname",
  "kernel.hostname",
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

const known = (list: readonly string[], value: string): boolean => list.includes(value);

export function validateSpec(spec: Spec, warnings: string[]): string | null {
  return (
    validateVersion(spec.ociVersion, warnings) ??
    (spec.root === undefined ? "root: is missing" : null) ??
    (spec.root?.path === "" ? "root.path: must not be empty" : null) ??
    (spec.process === undefined ? "process: is missing" : validateProcess(spec.process, "process.", warnings)) ??
    validateMounts(spec, warnings) ??
    (spec.hooks === undefined ? null : validateHooks(spec.hooks)) ??
    validateAnnotations(spec) ??
    (spec.linux === undefined ? null : validateLinux(spec.linux, warnings))
  );
}

function validateVersion(version: string, warnings: string[]): string | null {
  const match = /^(\d+)\.(\d+)\.(\d+)([-+].*)?$/.exec(version);
  if (match === null) return `ociVersion: expected a version like ${SPEC_VERSION}, got "${version}"`;
  const [major, minor] = SPEC_VERSION.split(".").map(Number);
  if (Number(match[1]) !== major) return `ociVersion: ${version} is not supported, this is ${SPEC_VERSION}`;
  if (Number(match[2]) > minor!) warnings.push(`ociVersion ${version} is newer than ${SPEC_VERSION}`);
  return null;
}

/** `at` is the prefix of the paths in messages: "process." or "". */
export function validateProcess(process: Process, at: string, warnings: string[]): string | null {
  if (process.args === undefined || process.args.length === 0) return `${at}args: must not be empty`;
  if (process.cwd === "") return `${at}cwd: must not be empty`;
  if (!isAbsolute(process.cwd)) return `${at}cwd: must be an absolute path`;
  const strings: [string, readonly string[]][] = [
    ["args", process.args],
    ["env", process.env ?? []],
    ["cwd", [process.cwd]],
  ];
  for (const [name, list] of strings)
    for (const [i, text] of list.entries())
      if (text.includes("\0")) return `${at}${name}.${i}: must not contain a NUL byte`;
  const seen = new Set<string>();
  for (const [i, { type, soft, hard }] of (process.rlimits ?? []).entries()) {
    if (!known(RLIMITS, type)) return `${at}rlimits.${i}.type: unknown limit "${type}"`;
    if (seen.has(type)) return `${at}rlimits.${i}.type: ${type} is given twice`;
    seen.add(type);
    if (soft > hard) return `${at}rlimits.${i}: soft ${soft} is above hard ${hard}`;
  }
  const { oomScoreAdj } = process;
  if (oomScoreAdj !== undefined && (oomScoreAdj < -1000 || oomScoreAdj > 1000))
    return `${at}oomScoreAdj: expected -1000 to 1000, got ${oomScoreAdj}`;
  if (process.user.umask !== undefined && process.user.umask > 0o777) return `${at}user.umask: expected at most 0777`;
  if (process.capabilities !== undefined) dropUnknownCapabilities(process.capabilities, at, warnings);
  if (process.apparmorProfile) warnings.push(`${at}apparmorProfile does not apply to a user-space kernel`);
  if (process.selinuxLabel) warnings.push(`${at}selinuxLabel does not apply to a user-space kernel`);
  if (process.scheduler !== undefined) warnings.push(`${at}scheduler is not supported and has no effect`);
  if (process.ioPriority !== undefined) warnings.push(`${at}ioPriority is not supported and has no effect`);
  if (process.execCPUAffinity !== undefined) warnings.push(`${at}execCPUAffinity is not supported and has no effect`);
  return null;
}

/** The spec wants a warning for a capability that the kernel does not know. */
function dropUnknownCapabilities(capabilities: Capabilities, at: string, warnings: string[]): void {
  const unknown = new Set<string>();
  for (const set of ["bounding", "effective", "inheritable", "permitted", "ambient"] as const) {
    capabilities[set] = capabilities[set]?.filter((name) => {
      const fine = known(allCapabilities, name);
      if (!fine) unknown.add(name);
      return fine;
    });
  }
  if (unknown.size > 0) warnings.push(`${at}capabilities: ignoring unknown ${[...unknown].join(", ")}`);
}

function validateMounts(spec: Spec, warnings: string[]): string | null {
  for (const [i, mount] of (spec.mounts ?? []).entries()) {
    if (mount.destination === "") return `mounts.${i}.destination: must not be empty`;
    if (!isAbsolute(mount.destination)) {
      warnings.push(`mounts.${i}.destination: "${mount.destination}" is not absolute, taken from /`);
      mount.destination = `/${mount.destination}`;
    }
    const options = mount.options ?? [];
    const bind = mount.type === "bind" || options.includes("bind") || options.includes("rbind");
    if (bind && !mount.source) return `mounts.${i}.source: is missing (a bind mount needs one)`;
    if (!bind && !mount.type && !options.includes("remount")) return `mounts.${i}.type: is missing`;
    if ((mount.uidMappings?.length ?? 0) > 0 || (mount.gidMappings?.length ?? 0) > 0)
      return `mounts.${i}: id-mapped mounts are not supported`;
  }
  return null;
}

function validateHooks(hooks: Hooks): string | null {
  for (const [kind, list] of Object.entries(hooks)) {
    for (const [i, hook] of (list ?? []).entries()) {
      if (!isAbsolute(hook.path)) return `hooks.${kind}.${i}.path: must be an absolute path`;
      if (hook.timeout !== undefined && hook.timeout <= 0)
        return `hooks.${kind}.${i}.timeout: must be greater than zero`;
    }
  }
  return null;
}

function validateAnnotations(spec: Spec): string | null {
  const annotations = spec.annotations ?? {};
  return Object.hasOwn(annotations, "") ? "annotations: a key must not be empty" : validateCri(annotations);
}

function validateLinux(linux: Linux, warnings: string[]): string | null {
  const namespaces = new Set<string>();
  for (const [i, { type, path }] of (linux.namespaces ?? []).entries()) {
    if (!known(NAMESPACES, type)) return `linux.namespaces.${i}.type: unknown namespace "${type}"`;
    if (namespaces.has(type)) return `linux.namespaces.${i}.type: ${type} is given twice`;
    namespaces.add(type);
    if (path !== undefined && path !== "") {
      if (!isAbsolute(path)) return `linux.namespaces.${i}.path: must be an absolute path`;
      // Of others it is said when it is known whether the container joins another one's sandbox.
      if (type === "mount" || type === "cgroup" || type === "time")
        warnings.push(`linux.namespaces.${i}: a guest kernel cannot join the host's ${type} namespace, it has its own`);
    }
  }
  if ((linux.uidMappings?.length ?? 0) > 0 && !namespaces.has("user"))
    return "linux.uidMappings: given without a user namespace";
  if ((linux.gidMappings?.length ?? 0) > 0 && !namespaces.has("user"))
    return "linux.gidMappings: given without a user namespace";
  for (const name of Object.keys(linux.sysctl ?? {})) {
    const plain = name.replaceAll("/", ".");
    if (!SYSCTLS.has(plain) && !plain.startsWith("net.") && !plain.startsWith("fs.mqueue."))
      return `linux.sysctl: "${name}" is not in a separate kernel namespace`;
  }
  for (const [i, device] of (linux.devices ?? []).entries()) {
    if (!known(["c", "b", "u", "p"], device.type))
      return `linux.devices.${i}.type: expected "c", "b", "u" or "p", got "${device.type}"`;
    if (!isAbsolute(device.path)) return `linux.devices.${i}.path: must be an absolute path`;
    if (device.type !== "p" && (device.major === undefined || device.minor === undefined))
      return `linux.devices.${i}: needs major and minor`;
  }
  for (const name of ["maskedPaths", "readonlyPaths"] as const)
    for (const [i, path] of (linux[name] ?? []).entries())
      if (!isAbsolute(path)) return `linux.${name}.${i}: must be an absolute path`;
  if (!known(PROPAGATIONS, linux.rootfsPropagation ?? ""))
    return `linux.rootfsPropagation: "${linux.rootfsPropagation}" is not supported`;
  if (linux.mountLabel) warnings.push("linux.mountLabel does not apply to a user-space kernel");
  if (linux.intelRdt !== undefined) return "linux.intelRdt: is not supported";
  if (linux.personality !== undefined && linux.personality.domain !== "LINUX")
    return `linux.personality.domain: "${linux.personality.domain}" is not supported`;
  if (Object.keys(linux.netDevices ?? {}).length > 0) return "linux.netDevices: is not supported";
  if (Object.keys(linux.timeOffsets ?? {}).length > 0)
    warnings.push("linux.timeOffsets is not supported and has no effect");
  return linux.seccomp === undefined ? null : validateSeccomp(linux.seccomp);
}

const SECCOMP_FLAGS = [
  "SECCOMP_FILTER_FLAG_TSYNC",
  "SECCOMP_FILTER_FLAG_LOG",
  "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
const ERRNO_MAX = 4095;

function validateSeccomp(seccomp: Seccomp): string | null {
  const at = "linux.seccomp";
  for (const [i, name] of (seccomp.flags ?? []).entries())
    if (!known(SECCOMP_FLAGS, name)) return `${at}.flags.${i}: unknown "${name}"`;
  if (seccomp.listenerPath) return `${at}.listenerPath: is not supported, nobody would be asked`;
  if (seccomp.listenerMetadata) return `${at}.listenerMetadata: given without a listenerPath`;
  if (seccomp.defaultErrnoRet !== undefined && seccomp.defaultErrnoRet > ERRNO_MAX)
    return `${at}.defaultErrnoRet: expected at most ${ERRNO_MAX}, got ${seccomp.defaultErrnoRet}`;
  if (!known(SECCOMP_ACTIONS, seccomp.defaultAction)) return `${at}.defaultAction: unknown "${seccomp.defaultAction}"`;
  for (const [i, name] of (seccomp.architectures ?? []).entries())
    if (!known(SECCOMP_ARCHITECTURES, name)) return `${at}.architectures.${i}: unknown "${name}"`;
  for (const [i, rule] of (seccomp.syscalls ?? []).entries()) {
    if (!known(SECCOMP_ACTIONS, rule.action)) return `${at}.syscalls.${i}.action: unknown "${rule.action}"`;
    if (rule.names.includes("")) return `${at}.syscalls.${i}.names: must not contain an empty name`;
    if (rule.errnoRet !== undefined && rule.errnoRet > ERRNO_MAX)
      return `${at}.syscalls.${i}.errnoRet: expected at most ${ERRNO_MAX}, got ${rule.errnoRet}`;
    if (rule.names.length === 0) return `${at}.syscalls.${i}.names: must not be empty`;
    for (const [j, arg] of (rule.args ?? []).entries()) {
      if (!known(SECCOMP_OPERATORS, arg.op)) return `${at}.syscalls.${i}.args.${j}.op: unknown "${arg.op}"`;
      if (arg.index > 5) return `${at}.syscalls.${i}.args.${j}.index: expected 0 to 5, got ${arg.index}`;
    }
  }
  if (
    seccomp.defaultAction === "SCMP_ACT_NOTIFY" ||
    seccomp.syscalls?.some((each) => each.action === "SCMP_ACT_NOTIFY")
  )
    return `${at}: SCMP_ACT_NOTIFY is not supported`;
  return null;
}
