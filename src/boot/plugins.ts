/**
 * The sandbox half of plugins: `KernelApi` on the kernel's own tables.
 *
 * Order: the halves are loaded and their `sandbox` functions run before the jail closes, so that they can open what they
 * need of the host; mounts of the first container with their types are made then, too. Control methods join the server later.
 *
 * Invariants: what a plugin throws is its own failure (kernel/fs/plugin/guard.ts): the sandbox lives on. Interceptors
 * fail closed: a call whose interceptor failed before `next` is not carried out.
 * Known gap: an answer that is outstanding is a promise, which no checkpoint can save.
 */

import type {
  CallingTask,
  CharacterDevice,
  FileSystemFactory,
  InterceptedCall,
  KernelApi,
  NetworkHook,
  FileSystem as PluginFileSystem,
  Interceptor as PluginInterceptor,
} from "../core/plugin.ts";
import { type BuiltIn, loadSandboxHalves } from "../core/plugin-loader.ts";
import type { SandboxOptions } from "../core/sandbox.ts";
import type { Spec } from "../core/spec/schema.ts";
import { decodeName } from "../kernel/abi/bytes.ts";
import { EAGAIN, EFAULT, EIO, ELOOP, ENOENT } from "../kernel/abi/errno.ts";
import { makedev, S_IFLNK } from "../kernel/abi/stat.ts";
import { PluginDeviceFile, type PluginDriver } from "../kernel/fs/plugin/device.ts";
import { PluginGuard } from "../kernel/fs/plugin/guard.ts";
import { PluginFs } from "../kernel/fs/plugin/plugin-fs.ts";
import type { Interceptor, Kernel } from "../kernel/kernel.ts";
import { Decision, type NetworkAttempt, type NetworkEvent, NetworkHooks } from "../kernel/net/hooks.ts";
import { formatIp } from "../kernel/net/inet/ip.ts";
import { BLOCKED } from "../kernel/syscall.ts";
import type { Task } from "../kernel/task/task.ts";
import { pathString, resolve, resolveParent } from "../kernel/vfs/namei.ts";
import { LOOKUP_FOLLOW } from "../kernel/vfs/walk.ts";
import { WaitQueue } from "../kernel/wait-queue.ts";
import type { Answer, ControlServer, Method } from "./control.ts";
import { Platforms } from "./platforms.ts";

const AT_FDCWD = -100;
/** Links to nothing that are followed for `resolve`. */
const LINKS_MAX = 40;
/** Promises of interceptors that have not settled, at most: more calls get EAGAIN. */
const ANSWERS_MAX = 4096;
/** Results below are the kernel's own business: blocked, restarted, returned already. */
const LOWEST_ERRNO = -4095;

export type PluginHalf = Awaited<ReturnType<typeof loadSandboxHalves>>[number];

/** Loads those that are named; with no plugins, nothing at all happens. */
export async function loadPluginHalves(
  plugins: SandboxOptions["plugins"],
  builtIns: readonly BuiltIn[],
): Promise<readonly PluginHalf[]> {
  return plugins.length === 0 ? [] : loadSandboxHalves(plugins, builtIns);
}

/** The sandbox halves of one sandbox. */
export class SandboxPlugins {
  private readonly methods = new Map<string, { plugin: string; method: Method }>();
  private readonly types = new Set<string>();
  readonly platforms = new Platforms();
  private readonly containerEvents: Record<"container" | "container-end", ((container: object) => void)[]> = {
    container: [],
    "container-end": [],
  };

  constructor(
    private readonly kernel: Kernel,
    plugins: SandboxOptions["plugins"],
    halves: readonly PluginHalf[],
  ) {
    if (plugins.some(({ path }) => path !== null)) {
      // What a plugin leaves unhandled must not end the sandbox.
      process.on("unhandledRejection", (error) =>
        kernel.log.error(`a plugin's promise was rejected: ${String(error)}`),
      );
      process.on("uncaughtException", (error) => kernel.log.error(`a plugin's callback failed: ${String(error)}`));
    }
    for (const half of halves) half.setUp(this.apiFor(half.name));
  }

  /** Is it a plugin's? Its mounts of the spec are made before the jail closes. */
  hasFileSystem(type: string | undefined): boolean {
    return type !== undefined && this.types.has(type);
  }

  /** A container is being added. */
  containerAdded(container: { id: string; spec: Spec }): void {
    for (const tell of this.containerEvents.container) tell(container);
  }
  /** It is gone. */
  containerEnded(container: { id: string }): void {
    for (const tell of this.containerEvents["container-end"]) tell(container);
  }

  /** Adds the plugins' requests. Throws when a name is taken. */
  addMethods(server: ControlServer): void {
    for (const [name, { plugin, method }] of this.methods) {
      if (server.methods.has(name)) throw new Error(`plugin "${plugin}": there is a request "${name}" already`);
      server.methods.set(name, method);
    }
  }

  private apiFor(plugin: string): KernelApi {
    const { kernel, types, platforms, containerEvents } = this;
    const guard = new PluginGuard(plugin, kernel.log);
    const prefixed = (level: "debug" | "info" | "warn" | "error") => (message: string) =>
      kernel.log[level](`plugin "${plugin}": ${message}`);
    const methods = this.methods;
    return {
      log: { debug: prefixed("debug"), info: prefixed("info"), warn: prefixed("warn"), error: prefixed("error") },
      internals: kernel,
      intercept(name, interceptor) {
        kernel.intercept(name, wrap(kernel, name, interceptor as unknown as PluginInterceptor, guard));
      },
      onConnect: (hook) => addNetworkHook(kernel, "connect", hook, guard),
      onAccept: (hook) => addNetworkHook(kernel, "accept", hook, guard),
      onBind: (hook) => addNetworkHook(kernel, "bind", hook, guard),
      onSend: (hook) => addNetworkHook(kernel, "send", hook, guard),
      filesystem(type, factory) {
        if (kernel.fileSystemTypes.has(type)) throw new Error(`there is a file system type "${type}" already`);
        types.add(type);
        kernel.fileSystemTypes.set(type, {
          make: (_kernel, source, own) => makeFileSystem(kernel, type, factory, source, own, guard),
        });
      },
      device(name, { major, minor, mode = 0o666 }, device) {
        addDevice(kernel, name, major, minor, mode, device, guard);
      },
      platform(name, maker) {
        platforms.add(name, maker);
      },
      on(event: string, handler: (what: never) => void) {
        if (event === "container" || event === "container-end")
          containerEvents[event].push((container) =>
            guard.effect(`handler of ${event}`, () => handler(container as never)),
          );
        else observe(kernel, event, handler, guard);
      },
      control(method, handler, options = {}) {
        if (methods.has(method)) throw new Error(`there is a request "${method}" already`);
        methods.set(method, {
          plugin,
          method: (params, fds, answer) => serve(kernel, handler(params, fds), answer, options.idle ?? false),
        });
      },
    };
  }
}

// ---- Interceptors ----

/** The task as plugins see it. */
class TaskView implements CallingTask {
  constructor(private readonly task: Task) {}
  get pid(): number {
    return this.task.process.pid;
  }
  get tid(): number {
    return this.task.tid;
  }
  get comm(): string {
    return this.task.comm;
  }
  get uid(): number {
    return this.task.cred.euid;
  }
  get gid(): number {
    return this.task.cred.egid;
  }
  get container(): string {
    return this.task.container.id;
  }
  /** Its memory can be reached while its call is being served, and not from a callback at some other time. */
  private get served(): boolean {
    return this.task.kernel.current === this.task;
  }
  resolve(dirfd: number, path: string): string | number {
    const { task } = this;
    if (!this.served) return -EAGAIN;
    for (let links = 0, name = path; links < LINKS_MAX; links++) {
      const place = resolve(task, links === 0 ? dirfd : AT_FDCWD, name, LOOKUP_FOLLOW);
      if (typeof place !== "number") return pathString(task, place);
      if (place !== -ENOENT) return place;
      const parent = resolveParent(task, links === 0 ? dirfd : AT_FDCWD, name);
      if (typeof parent === "number") return parent;
      const above = pathString(task, parent.parent);
      const here = above === "/" ? `/${parent.name}` : `${above}/${parent.name}`;
      // A link that leads to nothing yet: what is created through it is its target.
      const itself = resolve(task, AT_FDCWD, here, 0);
      if (typeof itself === "number" || itself.dentry.inode.type !== S_IFLNK) return here;
      const target = itself.dentry.inode.readlink(task);
      if (typeof target === "number") return target;
      name = target.startsWith("/") ? target : `${above}/${target}`;
    }
    return -ELOOP;
  }
  read(address: number, into: Uint8Array): number {
    if (!this.served) return -EFAULT;
    const n = this.task.mm.copyIn(address, into, 0, into.length);
    return n <= 0 && into.length > 0 ? -EFAULT : n;
  }
  write(address: number, from: Uint8Array): number {
    if (!this.served) return -EFAULT;
    const { mm } = this.task;
    const n = mm.copyOut(address, from, 0, from.length);
    // The call itself may be about to read there.
    mm.space.flush?.();
    mm.space.forgetPrefetched?.();
    return n <= 0 && from.length > 0 ? -EFAULT : n;
  }
}
const views = new WeakMap<Task, TaskView>();
function viewOf(task: Task): TaskView {
  let view = views.get(task);
  if (view === undefined) {
    view = new TaskView(task);
    views.set(task, view);
  }
  return view;
}

/** What one interceptor's promise will say. */
class Pending {
  /** Undefined until then. */
  outcome: number | "continue" | undefined;
  readonly queue = new WaitQueue();
}
/** What is kept of a call that is run again: which interceptors have been asked, and what they said. */
class Interception {
  readonly pending = new Map<Interceptor, Pending>();
  readonly seen = new Set<Interceptor>();
}

/** Puts a plugin's interceptor into the form that the kernel calls. */
function wrap(kernel: Kernel, name: string, interceptor: PluginInterceptor, guard: PluginGuard): Interceptor {
  const what = `interceptor of ${name}`;
  const intercept: Interceptor = (task, call, next) => {
    const earlier = task.interception instanceof Interception ? task.interception : null;
    const pending = earlier?.pending.get(intercept);
    if (pending !== undefined) {
      if (pending.outcome === undefined) return task.block(pending.queue);
      return pending.outcome === "continue" ? next() : pending.outcome;
    }
    let done: number | undefined;
    let over = false;
    let bug: { error: unknown } | null = null;
    const given = call as InterceptedCall & { task: CallingTask; syscall: string; again: boolean };
    given.task = viewOf(task);
    given.syscall = name;
    given.again = earlier?.seen.has(intercept) ?? false;
    const goOn = (): number => {
      if (over) throw new Error("next() was called after the interceptor had answered");
      try {
        done ??= next();
      } catch (error) {
        // Not the plugin's: the kernel's own net is to see it.
        bug = { error };
        throw error;
      }
      return done;
    };
    let result: unknown;
    try {
      result = interceptor(given, goOn);
    } catch (error) {
      if (bug === null)
        guard.report(what, error, done === undefined ? "the call gets EIO" : "the call had been carried out");
      result = done ?? -EIO;
    }
    over = true;
    if (bug !== null) throw (bug as { error: unknown }).error;
    if (done !== undefined && done < LOWEST_ERRNO) {
      // It waits, or has returned in its own way: nobody can say anything else. A promise's failure is still told.
      if (result instanceof Promise) watch(result, what, guard);
      if (done === BLOCKED) remember(task).seen.add(intercept);
      return done;
    }
    if (result instanceof Promise) return park(kernel, task, intercept, result, done, what, guard);
    return checked(result, done, what, guard);
  };
  return intercept;
}

function remember(task: Task): Interception {
  if (!(task.interception instanceof Interception)) task.interception = new Interception();
  return task.interception as Interception;
}

function checked(result: unknown, done: number | undefined, what: string, guard: PluginGuard): number {
  if (typeof result === "number" && Number.isSafeInteger(result) && result >= LOWEST_ERRNO) return result;
  guard.report(
    what,
    new Error(`returned ${String(result)}, expected a number >= 0 or -errno`),
    done === undefined ? "the call gets EIO" : "the call had been carried out",
  );
  return done ?? -EIO;
}

function watch(promise: Promise<unknown>, what: string, guard: PluginGuard): void {
  promise.catch((error: unknown) => guard.report(what, error, "the call had been carried out"));
}

/** The task waits for the promise; nobody else does. */
function park(
  kernel: Kernel,
  task: Task,
  interceptor: Interceptor,
  promise: Promise<unknown>,
  done: number | undefined,
  what: string,
  guard: PluginGuard,
): number {
  if (kernel.asyncWork >= ANSWERS_MAX) {
    promise.catch(() => {});
    guard.report(what, new Error(`${ANSWERS_MAX} answers are outstanding`), "the call gets EAGAIN");
    return -EAGAIN;
  }
  const pending = new Pending();
  remember(task).pending.set(interceptor, pending);
  kernel.beginAsync();
  const settle = (outcome: number | "continue") => {
    pending.outcome = outcome;
    kernel.endAsync();
    pending.queue.wake();
  };
  promise.then(
    (value) => settle(value === "continue" && done === undefined ? "continue" : checked(value, done, what, guard)),
    (error: unknown) => {
      guard.report(what, error, done === undefined ? "the call gets EIO" : "the call had been carried out");
      settle(done ?? -EIO);
    },
  );
  return task.block(pending.queue);
}

// ---- The network ----

function addNetworkHook(kernel: Kernel, event: NetworkEvent, hook: NetworkHook, guard: PluginGuard): void {
  const what = `${event} hook`;
  const failed = (error: unknown): number => {
    guard.report(what, error, "the call gets EIO");
    return -EIO;
  };
  const verdict = (value: unknown): number => {
    if (value === "continue") return 0;
    if (typeof value === "number" && Number.isSafeInteger(value) && value < 0 && value >= LOWEST_ERRNO) return value;
    return failed(new Error(`returned ${String(value)}, expected "continue" or -errno`));
  };
  kernel.networkHooks ??= new NetworkHooks(kernel);
  kernel.networkHooks.add(event, (attempt) => {
    let result: unknown;
    try {
      result = hook(attemptView(attempt));
    } catch (error) {
      return failed(error);
    }
    if (!(result instanceof Promise)) return verdict(result);
    if (kernel.asyncWork >= ANSWERS_MAX) {
      result.catch(() => {});
      guard.report(what, new Error(`${ANSWERS_MAX} answers are outstanding`), "the call gets EAGAIN");
      return -EAGAIN;
    }
    const decision = new Decision();
    kernel.beginAsync();
    const settle = (outcome: number) => {
      kernel.endAsync();
      decision.settle(outcome);
    };
    result.then(
      (value) => settle(verdict(value)),
      (error: unknown) => settle(failed(error)),
    );
    return decision;
  });
}

/** As plugins see it. */
function attemptView({ task, ip, port, protocol, inside, names }: NetworkAttempt): Parameters<NetworkHook>[0] {
  return {
    task: viewOf(task),
    family: typeof ip === "number" ? 4 : 6,
    address: formatIp(ip),
    port,
    protocol,
    inside,
    names,
  };
}

// ---- The rest ----

function makeFileSystem(
  kernel: Kernel,
  type: string,
  factory: FileSystemFactory,
  source: string,
  options: readonly string[],
  guard: PluginGuard,
): PluginFs | number {
  const isFileSystem = (value: unknown): value is PluginFileSystem =>
    typeof value === "object" &&
    value !== null &&
    ["attributes", "list", "read"].every((name) => typeof (value as Record<string, unknown>)[name] === "function");
  const own = guard.value(`file system ${type}, mount of ${source}`, () => factory(source, options), isFileSystem);
  return typeof own === "number" ? own : PluginFs.make(kernel, type, own, guard, { source, options });
}

function addDevice(
  kernel: Kernel,
  name: string,
  major: number,
  minor: number,
  mode: number,
  device: CharacterDevice,
  guard: PluginGuard,
): void {
  const { devices } = kernel;
  if (!/^[\w.+-]{1,64}$/.test(name) || name.startsWith(".")) throw new Error(`device "${name}": not a name in /dev`);
  if (!Number.isInteger(major) || major < 0 || major > 4095 || !Number.isInteger(minor) || minor < 0 || minor > 1048575)
    throw new Error(`device ${name}: bad numbers ${major}:${minor}`);
  if (devices.named.some((each) => each.name === name)) throw new Error(`there is a device "${name}" already`);
  if (devices.opener(makedev(major, minor), false) !== undefined)
    throw new Error(`device ${name}: ${major}:${minor} is taken`);
  devices.registerChar(major, minor, (path, flags) => new PluginDeviceFile(flags, path, name, device, guard));
  const driver: PluginDriver = { device, guard };
  devices.named.push({ name, major, minor, mode: mode & 0o777, driver });
}

function observe(kernel: Kernel, event: string, handler: (process: never) => void, guard: PluginGuard): void {
  const tell = (process: { pid: number; container: string; args?: readonly string[]; status?: number }) =>
    guard.effect(`handler of ${event}`, () => handler(process as never));
  if (event === "exec")
    kernel.execObservers.push(({ process: { pid, container } }, argv) =>
      tell({ pid, container: container.id, args: argv.map((each) => decodeName(each, 0, each.length)) }),
    );
  else if (event === "exit")
    kernel.processCleanups.push(({ pid, container, exitStatus: status }) =>
      tell({ pid, container: container.id, status }),
    );
  else throw new Error(`there is no event "${event}"`);
}

/** Answers a control request with what the handler returned, now or when its promise settles. */
function serve(kernel: Kernel, result: unknown, answer: Answer, idle: boolean): unknown {
  if (!(result instanceof Promise)) return result ?? {};
  if (!idle) kernel.beginAsync();
  result.then(
    (value) => {
      if (!idle) kernel.endAsync();
      answer.resolve(value ?? {});
    },
    (error: unknown) => {
      if (!idle) kernel.endAsync();
      answer.reject(error);
    },
  );
  return undefined;
}
