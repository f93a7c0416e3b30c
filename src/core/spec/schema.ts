/**
 * The OCI config.json for Linux, as valibot schemas; the types of the whole project come out of them.
 *
 * Source: OCI runtime-spec 1.3 (config.md, config-linux.md). Invariant: unknown properties are dropped, not refused; a
 * property of the wrong type is an error. What a value means (is that capability known?) is not decided here, see
 * validate.ts. `null` counts as absent (callers written in Go emit it), which check.ts sees to before these run.
 * Gaps: the parts for other systems than Linux are not described. 64-bit numbers above 2^53 lose their low bits but in
 * seccomp's arguments (limits that large mean "none").
 */
import * as v from "valibot";

const str = v.string();
const strings = v.array(str);
const bool = v.boolean();
const int = v.pipe(v.number(), v.integer());
const uint = v.pipe(v.number(), v.integer(), v.minValue(0));
/** 64 bits of which all count: above 2^53 the digits, as load.ts leaves them. */
const u64 = v.union([
  v.pipe(uint, v.safeInteger()),
  v.pipe(
    str,
    v.regex(/^\d{1,20}$/, "expected an integer"),
    // The checks before it have been made, not obeyed.
    v.check((digits) => /^\d+$/.test(digits) && BigInt(digits) < 1n << 64n, "expected less than 2^64"),
  ),
]);
const stringMap = v.record(str, str);
const opt = <S extends v.GenericSchema>(schema: S) => v.optional(schema);

export const consoleSizeSchema = v.object({ height: uint, width: uint });

export const rlimitSchema = v.object({ type: str, soft: uint, hard: uint });

export const capabilitiesSchema = v.object({
  bounding: opt(strings),
  effective: opt(strings),
  inheritable: opt(strings),
  permitted: opt(strings),
  ambient: opt(strings),
});

export const userSchema = v.object({
  uid: v.optional(uint, 0),
  gid: v.optional(uint, 0),
  umask: opt(uint),
  additionalGids: opt(v.array(uint)),
  username: opt(str),
});

export const processSchema = v.object({
  terminal: opt(bool),
  consoleSize: opt(consoleSizeSchema),
  user: v.optional(userSchema, { uid: 0, gid: 0 }),
  args: opt(strings),
  env: opt(strings),
  cwd: str,
  capabilities: opt(capabilitiesSchema),
  rlimits: opt(v.array(rlimitSchema)),
  noNewPrivileges: opt(bool),
  apparmorProfile: opt(str),
  selinuxLabel: opt(str),
  oomScoreAdj: opt(int),
  scheduler: opt(
    v.object({
      policy: str,
      nice: opt(int),
      priority: opt(int),
      flags: opt(strings),
      runtime: opt(uint),
      deadline: opt(uint),
      period: opt(uint),
    }),
  ),
  ioPriority: opt(v.object({ class: str, priority: opt(int) })),
  execCPUAffinity: opt(v.object({ initial: opt(str), final: opt(str) })),
});

export const rootSchema = v.object({ path: str, readonly: opt(bool) });

export const idMappingSchema = v.object({ containerID: uint, hostID: uint, size: uint });

export const mountSchema = v.object({
  destination: str,
  type: opt(str),
  source: opt(str),
  options: opt(strings),
  uidMappings: opt(v.array(idMappingSchema)),
  gidMappings: opt(v.array(idMappingSchema)),
});

export const hookSchema = v.object({
  path: str,
  args: opt(strings),
  env: opt(strings),
  timeout: opt(int),
});

export const hooksSchema = v.object({
  prestart: opt(v.array(hookSchema)),
  createRuntime: opt(v.array(hookSchema)),
  createContainer: opt(v.array(hookSchema)),
  startContainer: opt(v.array(hookSchema)),
  poststart: opt(v.array(hookSchema)),
  poststop: opt(v.array(hookSchema)),
});

export const deviceSchema = v.object({
  type: str,
  path: str,
  major: opt(int),
  minor: opt(int),
  fileMode: opt(uint),
  uid: opt(uint),
  gid: opt(uint),
});

const deviceRuleSchema = v.object({
  allow: v.optional(bool, false),
  type: opt(str),
  major: opt(int),
  minor: opt(int),
  access: opt(str),
});

const throttleSchema = v.object({ major: int, minor: int, rate: uint });

export const resourcesSchema = v.object({
  devices: opt(v.array(deviceRuleSchema)),
  memory: opt(
    v.object({
      limit: opt(int),
      reservation: opt(int),
      swap: opt(int),
      kernel: opt(int),
      kernelTCP: opt(int),
      swappiness: opt(uint),
      disableOOMKiller: opt(bool),
      useHierarchy: opt(bool),
      checkBeforeUpdate: opt(bool),
    }),
  ),
  cpu: opt(
    v.object({
      shares: opt(uint),
      quota: opt(int),
      burst: opt(uint),
      period: opt(uint),
      realtimeRuntime: opt(int),
      realtimePeriod: opt(uint),
      cpus: opt(str),
      mems: opt(str),
      idle: opt(int),
    }),
  ),
  pids: opt(v.object({ limit: opt(int) })),
  blockIO: opt(
    v.object({
      weight: opt(uint),
      leafWeight: opt(uint),
      weightDevice: opt(v.array(v.object({ major: int, minor: int, weight: opt(uint), leafWeight: opt(uint) }))),
      throttleReadBpsDevice: opt(v.array(throttleSchema)),
      throttleWriteBpsDevice: opt(v.array(throttleSchema)),
      throttleReadIOPSDevice: opt(v.array(throttleSchema)),
      throttleWriteIOPSDevice: opt(v.array(throttleSchema)),
    }),
  ),
  hugepageLimits: opt(v.array(v.object({ pageSize: str, limit: uint }))),
  network: opt(v.object({ classID: opt(uint), priorities: opt(v.array(v.object({ name: str, priority: uint }))) })),
  rdma: opt(v.record(str, v.object({ hcaHandles: opt(uint), hcaObjects: opt(uint) }))),
  unified: opt(stringMap),
});

export const namespaceSchema = v.object({ type: str, path: opt(str) });

export const seccompSchema = v.object({
  defaultAction: str,
  defaultErrnoRet: opt(uint),
  architectures: opt(strings),
  flags: opt(strings),
  listenerPath: opt(str),
  listenerMetadata: opt(str),
  syscalls: opt(
    v.array(
      v.object({
        names: strings,
        action: str,
        errnoRet: opt(uint),
        args: opt(v.array(v.object({ index: uint, value: u64, valueTwo: opt(u64), op: str }))),
      }),
    ),
  ),
});

export const linuxSchema = v.object({
  uidMappings: opt(v.array(idMappingSchema)),
  gidMappings: opt(v.array(idMappingSchema)),
  sysctl: opt(stringMap),
  resources: opt(resourcesSchema),
  cgroupsPath: opt(str),
  namespaces: opt(v.array(namespaceSchema)),
  devices: opt(v.array(deviceSchema)),
  netDevices: opt(v.record(str, v.object({ name: opt(str) }))),
  seccomp: opt(seccompSchema),
  rootfsPropagation: opt(str),
  maskedPaths: opt(strings),
  readonlyPaths: opt(strings),
  mountLabel: opt(str),
  intelRdt: opt(v.object({ closID: opt(str), l3CacheSchema: opt(str), memBwSchema: opt(str) })),
  personality: opt(v.object({ domain: str, flags: opt(strings) })),
  timeOffsets: opt(v.record(str, v.object({ secs: opt(int), nanosecs: opt(uint) }))),
});

export const specSchema = v.object({
  ociVersion: str,
  process: opt(processSchema),
  root: opt(rootSchema),
  hostname: opt(str),
  domainname: opt(str),
  mounts: opt(v.array(mountSchema)),
  hooks: opt(hooksSchema),
  annotations: opt(stringMap),
  linux: opt(linuxSchema),
});

export type Spec = v.InferOutput<typeof specSchema>;
export type Process = v.InferOutput<typeof processSchema>;
export type User = v.InferOutput<typeof userSchema>;
export type Capabilities = v.InferOutput<typeof capabilitiesSchema>;
export type Rlimit = v.InferOutput<typeof rlimitSchema>;
export type Root = v.InferOutput<typeof rootSchema>;
export type Mount = v.InferOutput<typeof mountSchema>;
export type Hook = v.InferOutput<typeof hookSchema>;
export type Hooks = v.InferOutput<typeof hooksSchema>;
export type Device = v.InferOutput<typeof deviceSchema>;
export type Resources = v.InferOutput<typeof resourcesSchema>;
export type Namespace = v.InferOutput<typeof namespaceSchema>;
export type Seccomp = v.InferOutput<typeof seccompSchema>;
export type Linux = v.InferOutput<typeof linuxSchema>;
