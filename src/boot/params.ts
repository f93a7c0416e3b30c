/**
 * What requests may carry. Commands have checked what they send; this names what is wrong with what anybody else sends, and
 * keeps it from failing half way.
 */
import type { ControlMethods } from "../core/sandbox.ts";
import { EINVAL } from "../kernel/abi/errno.ts";
import { type AddMethods, bindsOf, DESCRIPTORS_MAX } from "./add-params.ts";
import { Refusal } from "./control.ts";

const SIGNAL_MAX = 64;
const ID_MAX = 1024;

export type Methods = ControlMethods & AddMethods;

/** Undefined: the value is as it should be; otherwise what it should be. */
type Check = (value: unknown) => string | undefined;
type Fields<P> = { [F in keyof P]-?: Check };

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isStrings = (value: unknown): boolean => Array.isArray(value) && value.every((each) => typeof each === "string");

const string: Check = (value) => (typeof value === "string" ? undefined : "a text");
const id: Check = (value) =>
  typeof value === "string" && value !== "" && value.length <= ID_MAX ? undefined : "a container's id";
const boolean: Check = (value) => (typeof value === "boolean" ? undefined : "true or false");
const pid: Check = (value) => (Number.isInteger(value) && (value as number) > 0 ? undefined : "a process' number");
const signal: Check = (value) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= SIGNAL_MAX
    ? undefined
    : "a signal's number";
const count: Check = (value) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= DESCRIPTORS_MAX ? undefined : "a count";
const port: Check = (value) =>
  Number.isInteger(value) && (value as number) > 0 && (value as number) <= 65535 ? undefined : "a port";
const object: Check = (value) => (isObject(value) ? undefined : "an object");
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null ? undefined : check(value);
const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value) ? undefined : values.map((each) => JSON.stringify(each)).join(" or ");
/** An object with these fields and no others. */
const fields =
  (checks: Record<string, Check>): Check =>
  (value) => {
    if (!isObject(value)) return "an object";
    const problem = firstProblem(checks, value);
    return problem === null ? undefined : `an object in which ${problem}`;
  };

/** An OCI process, as far as the start of one relies on it. */
const process: Check = (value) =>
  isObject(value) &&
  isStrings(value["args"]) &&
  isStrings(value["env"] ?? []) &&
  typeof value["cwd"] === "string" &&
  isObject(value["user"]) &&
  Number.isInteger(value["user"]["uid"]) &&
  Number.isInteger(value["user"]["gid"])
    ? undefined
    : "a process";
const isMount = (value: unknown): boolean =>
  isObject(value) && typeof value["destination"] === "string" && isStrings(value["options"] ?? []);
/** A spec, as far as adding a container relies on its shape; what is in it has been checked by the command. */
const spec: Check = (value) => {
  if (!isObject(value)) return "a spec";
  const { mounts = [], linux = {}, root = {}, process: own } = value;
  if (!Array.isArray(mounts) || !mounts.every(isMount)) return "a spec: its mounts are none";
  if (!isObject(linux)) return "a spec: its linux section is none";
  if (!isObject(root)) return "a spec: its root is none";
  return own === undefined || process(own) === undefined ? undefined : "a spec: its process is none";
};

const hook: Check = (value) =>
  isObject(value) &&
  typeof value["path"] === "string" &&
  isStrings(value["args"] ?? []) &&
  isStrings(value["env"] ?? [])
    ? undefined
    : "a hook";

const number: Check = (value) => (Number.isFinite(value) ? undefined : "a number");
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every((each) => check(each) === undefined) ? undefined : "a list";
const numbers: Check = (value) =>
  isObject(value) && Object.values(value).every(Number.isInteger) ? undefined : "numbers";
/** As far as the sandbox relies on it; the rest is for people. */
const manifest: Check = (value) => {
  if (!isObject(value)) return "an object";
  const { arch, clock, cpu, containers, spaces } = value;
  const problem = firstProblem(
    {
      arch: string,
      clock: fields({ monotonicNs: number, boottimeNs: number, realtimeNs: number }),
      cpu: fields({ xfeatures: number, words: listOf(string), areas: listOf(number) }),
      containers: listOf(fields({ id, trees: count, stdio: count, ended: numbers })),
      spaces: count,
    },
    { arch, clock, cpu, containers, spaces },
  );
  return problem === null ? undefined : `an object in which ${problem}`;
};

const add: Fields<Methods["add"]["params"]> = {
  id,
  bundle: orNull(string),
  spec,
  overlay: oneOf("none", "memory"),
  terminal: boolean,
  share: fields({ pid: orNull(id), ipc: orNull(id), uts: orNull(id) }),
  descriptors: fields({
    binds: count,
    state: boolean,
    cgroups: count,
    stdio: count,
    waiter: boolean,
    network: optional(oneOf(0, 1)),
  }),
};
const restoredAs: Check = (value) =>
  typeof value === "string" && /^(restored|branched \d{1,9})$/.test(value) ? undefined : "what it is restored as";

const PARAMS: { [M in keyof Methods]: Fields<Methods[M]["params"]> } = {
  start: { id },
  wait: { id, pid: optional(pid) },
  exec: { id, process, terminal: boolean, notify: boolean, ignorePaused: boolean },
  hook: { id, hook, state: string },
  signal: { id, signal, pid: optional(pid), all: optional(boolean), foreground: optional(boolean) },
  pause: { id },
  resume: { id },
  processes: { id },
  stats: { id },
  update: { id, resources: object },
  forward: { id, port },
  ping: {},
  destroy: { id },
  commit: { id },
  checkpoint: { id, leaveRunning: boolean },
  checkpointed: { id, keep: boolean, errno: optional(count) },
  checkpointPages: { id, from: count },
  checkpointWanted: { id },
  descriptors: {},
  add,
  restore: { ...add, manifest, part: count, allowChanged: boolean, as: restoredAs },
};

function firstProblem(checks: Record<string, Check>, value: Record<string, unknown>): string | null {
  for (const name of Object.keys(value)) if (!Object.hasOwn(checks, name)) return `"${name.slice(0, 64)}" is not known`;
  for (const [name, check] of Object.entries(checks)) {
    const wanted = check(value[name]);
    if (wanted !== undefined) return `"${name}" is not ${wanted}`;
  }
  return null;
}

/** Throws a Refusal that names what is wrong. */
export function checkParams(method: keyof Methods, params: unknown): void {
  const problem = isObject(params) ? firstProblem(PARAMS[method], params) : "the parameters are no object";
  if (problem !== null) throw new Refusal(`${method}: ${problem}`, EINVAL);
}

/** Do the descriptors of an `add` go with its spec, and are they as many as came? */
export function checkDescriptors(
  { spec, descriptors, terminal }: Methods["add"]["params"],
  came: number,
  wanted: number,
) {
  const binds = bindsOf(spec).length;
  if (descriptors.binds !== binds)
    throw new Refusal(`add: descriptors for ${descriptors.binds} bind mounts, the spec has ${binds}`, EINVAL);
  if (came !== wanted) throw new Refusal(`add: ${came} descriptors came, ${wanted} were announced`, EINVAL);
  if (terminal && descriptors.stdio < 1) throw new Refusal("add: a terminal without a descriptor", EINVAL);
}
