/**
 * The whole public plugin API. A plugin is a value with two halves: `host` runs in the short-lived command, `sandbox` in
 * the sandbox process before the first guest instruction. Importing a plugin does nothing; the registry checks its name,
 * API version, requirements and options, and then calls the half that its process is.
 *
 * Third parties import all this from "runts"; see docs/plugins.md.
 */
import type { GenericSchema, InferOutput } from "valibot";
import type { Platform } from "../platform/platform.ts";
import type { CommandDeclaration, LazyCommand, SimpleAction } from "./command.ts";
import type { Flag, Flags } from "./flags.ts";
import type { OpenedImage, SaveRequest } from "./image.ts";
import type { Log } from "./log.ts";
import type { ContainerOptions, SandboxHandle, SandboxOptions } from "./sandbox.ts";
import type { Spec } from "./spec/schema.ts";

/** The API version that this build speaks; a plugin that names another one is refused. */
export const API_VERSION = 1;

export interface Plugin<O = unknown> {
  /** Lower case letters, digits and dashes; also the name of its options in the configuration file. */
  readonly name: string;
  readonly apiVersion?: number;
  /** One line for `runts plugins`. */
  readonly description?: string;
  /** Names of plugins that must be there, and are set up first. */
  readonly requires?: readonly string[];
  /** Checks `[plugin.NAME]` of the configuration file. Absent: the plugin takes no options. */
  readonly options?: GenericSchema<unknown, O>;
  host?(host: HostApi, options: O): void | Promise<void>;
  sandbox?(kernel: KernelApi, options: O): void;
  /** Instead of `sandbox`: a module that has it, for what commands need not load. */
  sandboxModule?(): Promise<{ sandbox(kernel: KernelApi, options: O): void }>;
}

/** Gives the two halves the type of the options. */
export function definePlugin<S extends GenericSchema>(
  plugin: Omit<Plugin<InferOutput<S>>, "options"> & { readonly options: S },
): Plugin<InferOutput<S>>;
export function definePlugin(plugin: Plugin<undefined>): Plugin<undefined>;
export function definePlugin(plugin: object): Plugin {
  return plugin as Plugin;
}

// ---- The host half ----

/** A container as hooks see it. */
export interface ContainerView {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  readonly status: ContainerStatus;
  /** The OCI state, as `runts state` prints it and OCI hooks read it. */
  readonly state: OciState;
  /** Host pid of the sandbox process; 0 when there is none. */
  readonly sandboxPid: number;
  /** Id of the container whose sandbox it lives in: its own, or that of the first container of its pod. */
  readonly sandboxId: string;
  /** Somebody deletes the container by force and waits for who is still working on it. Looked up anew each time. */
  readonly unwanted: boolean;
}
export type ContainerStatus = "creating" | "created" | "running" | "paused" | "stopped";
export interface OciState {
  ociVersion: string;
  id: string;
  status: ContainerStatus;
  pid?: number;
  bundle: string;
  annotations?: Record<string, string>;
}

/** An answer to `sandbox:find`. */
export interface FoundSandbox {
  /** Id of the sandbox, which is that of the container that it was made for. */
  readonly id: string;
  /**
   * Namespaces that the container shares, where that is not as its spec's linux.namespaces say: the id of a container of
   * that sandbox, or null for one of its own. The network is shared always.
   */
  readonly share?: Partial<ContainerOptions["share"]>;
}

/** What a hook can be told about, in the order in which a container meets them. */
export interface HostEvents {
  /** The state directory exists, nothing runs. `spec` may still be changed. A failure ends the create. */
  "container:creating": (event: { container: ContainerView; spec: Spec }) => void;
  /**
   * Which sandbox a container joins; the first hook that returns one decides, else it gets one of its own. `lookUp` finds
   * other containers by their exact id; null: there is none. That the sandbox is there, runs, and is of the platform that
   * is asked for, is seen to afterwards, whoever has named it.
   */
  "sandbox:find": (event: {
    container: ContainerView;
    lookUp: (id: string) => ContainerView | null;
  }) => FoundSandbox | undefined;
  /** What a new sandbox is made by; may be changed. */
  "sandbox:launching": (event: { container: ContainerView; options: SandboxOptions }) => void;
  /** What the sandbox will be told of the container, whether it is its first one or not; may be changed. */
  "container:adding": (event: { container: ContainerView; options: ContainerOptions }) => void;
  /** The sandbox and its namespaces exist. Place of the OCI hooks prestart and createRuntime (runtime namespace). */
  "container:create-runtime": (event: { container: ContainerView }) => void;
  /** Place of the OCI hook createContainer (container namespace). */
  "container:create-container": (event: { container: ContainerView }) => void;
  /** The container is created and saved. */
  "container:created": (event: { container: ContainerView }) => void;
  /** Before the program is executed. Place of the OCI hook startContainer, which runs in the sandbox. */
  "container:starting": (event: { container: ContainerView; sandbox: SandboxHandle }) => void;
  /** The program runs. Place of the OCI hook poststart. */
  "container:started": (event: { container: ContainerView }) => void;
  "container:paused": (event: { container: ContainerView }) => void;
  "container:resumed": (event: { container: ContainerView }) => void;
  /** The container was saved to an image; it is stopped now, unless it was to go on. */
  "container:checkpointed": (event: { container: ContainerView; directory: string }) => void;
  /**
   * `runts do` is about to start its program, or to let it go on from an image. `id` is what the sandbox knows the container
   * by; there are no other events for it. `sandbox` takes requests until the program has ended. `person`: null without a
   * terminal.
   */
  "do:starting": (event: { id: string; sandbox: SandboxHandle; person: Person | null }) => void;
  /** In place of starting and started: the container goes on from an image. */
  "container:restored": (event: { container: ContainerView }) => void;
  /** Opens an image directory, to restore from. The first hook that returns one decides. */
  "image:open": (event: { directory: string; workPath: string | undefined }) => OpenedImage | undefined;
  /** Saves a sandbox to an image directory. The first hook that returns something has done it. */
  "image:save": (event: SaveRequest) => true | undefined;
  /** Another process was started in the container. */
  "container:exec": (event: { container: ContainerView; args: readonly string[]; pid: number }) => void;
  /** The container was deleted: its processes are gone, its state directory too. Place of the OCI hook poststop. */
  "container:deleted": (event: { container: ContainerView }) => void;
}

/** A person at the terminal of a command. */
export interface Person {
  /**
   * Shows the text and reads a line, while what is typed does not reach the program; null when there is none within
   * `ms`, on Ctrl-C, and when the terminal is gone. One question at a time: further ones wait for their turn.
   */
  ask(text: string, ms: number): Promise<string | null>;
}

type MaybePromise<T> = T | Promise<T>;
/** A handler of an event; may be asynchronous. */
export type HostHook<E extends keyof HostEvents> = (
  ...args: Parameters<HostEvents[E]>
) => MaybePromise<ReturnType<HostEvents[E]>>;

export interface HookOptions {
  /** "pre" runs before hooks without an order, "post" after them. */
  order?: "pre" | "post";
}

/** A way to run guest code, as `--platform` offers it. The sandbox half registers what runs it: `KernelApi.platform`. */
export interface PlatformDeclaration {
  readonly name: string;
  readonly summary: string;
  /** What this host lacks for it, or null when it can run here. Must be cheap. */
  missing(): string | null;
}

export interface HostApi {
  readonly log: Log;
  /**
   * The words that run a command of this program, with the configuration file and state directory of the one that runs
   * now: for hooks that start one. Not to be called while plugins are set up.
   */
  commandLine(...words: string[]): string[];
  /** A command as the built-in ones are declared, or one that is loaded when it is used. */
  command<F extends Flags>(declaration: CommandDeclaration<F>): void;
  command(declaration: LazyCommand): void;
  /** The short form: `host.command("audit <id>", "Print …", (context, [id]) => …)`. */
  command(usage: string, summary: string, action: SimpleAction): void;
  /** A global flag; its value is in `context.globals`. */
  flag(name: string, declaration: Flag): void;
  on<E extends keyof HostEvents>(event: E, hook: HostHook<E>, options?: HookOptions): void;
  platform(declaration: PlatformDeclaration): void;
}

// ---- The sandbox half: the kernel implements these ----

/** Who made a system call, and the memory that its pointers mean. */
export interface CallingTask {
  readonly pid: number;
  readonly tid: number;
  /** The thread's name. */
  readonly comm: string;
  readonly uid: number;
  readonly gid: number;
  /** Id of the container that it belongs to. */
  readonly container: string;
  /**
   * The absolute path, links followed, of what a path argument names for this task; of a last component that does not
   * exist, where it would be. -errno when that cannot be said. While the call is served, nothing can change it.
   */
  resolve(dirfd: number, path: string): string | number;
  /** Both return the bytes moved, or -EFAULT; also -EFAULT after the first `await`, when the call is not being served. */
  read(address: number, into: Uint8Array): number;
  write(address: number, from: Uint8Array): number;
}
/**
 * The arguments of the calls that plugins ask for most, by the names of the kernel's declarations. Every other call has
 * its arguments too, typed `unknown`: numbers, or strings for paths.
 */
export interface SyscallArguments {
  openat: { dirfd: number; path: string; flags: number; mode: number };
  open: { path: string; flags: number; mode: number };
  execve: { path: string; argv: number; envp: number };
  mkdir: { path: string; mode: number };
  mkdirat: { dirfd: number; path: string; mode: number };
  unlink: { path: string };
  unlinkat: { dirfd: number; path: string; flags: number };
  connect: { fd: number; addr: number; addrlen: number };
  read: { fd: number; buf: number; count: number };
  write: { fd: number; buf: number; count: number };
}
/** A system call on its way to the kernel. Changing an argument changes what `next` sees. */
export type InterceptedCall<N extends string = string> = {
  readonly syscall: string;
  readonly task: CallingTask;
  /** True when the call had to wait inside the kernel and is run again from its start: asked for the same call before. */
  readonly again: boolean;
} & (N extends keyof SyscallArguments ? SyscallArguments[N] : Record<string, unknown>);
/**
 * Returns the call's result (`>= 0` or `-errno`), usually `next()`.
 *
 * `next` carries the call out; called again it returns the same result. A call that has to wait (a read of an empty pipe)
 * ends this run of the interceptor with a number below -4095, whatever it returns; it is run again (`again`) later.
 * A promise parks the calling thread, and no other, until it settles; a signal gives the waiting up. `next` cannot be
 * called after the first `await`: answer with a number, or with `"continue"` to have the call carried out then.
 * What is thrown or rejected is a line in the log; the call gets -EIO, unless `next` had carried it out: then its result.
 */
export type Interceptor<N extends string = string> = (
  call: InterceptedCall<N>,
  next: () => number,
) => number | Promise<number | "continue">;

/** What a guest is about to do with the network: addresses are read, and cannot be changed by it any more. */
export interface NetworkAttempt {
  /** Who makes the call. */
  readonly task: CallingTask;
  /** 4 or 6; an IPv4 address that is mapped into IPv6 is 4. */
  readonly family: 4 | 6;
  /** "192.0.2.1", "2001:db8::1": where it connects or sends to, who has connected, what it binds. */
  readonly address: string;
  readonly port: number;
  /** "tcp", "udp", "udplite", "icmp"; a number for others. */
  readonly protocol: string;
  /**
   * It stays within the sandbox: the loopback network, another socket of this kernel. Of a bind: to a loopback or another
   * own address. An own address that nobody in the sandbox listens at is not inside where the network reaches outside.
   */
  readonly inside: boolean;
  /**
   * Names for which a name server (port 53) has given the container this address, the latest first. A hint for people: a
   * guest may have asked a server of its own.
   */
  readonly names: readonly string[];
}
/**
 * `"continue"`, or `-errno`. A promise parks the calling thread, and no other, until it settles; a signal gives the waiting
 * up. A connect of a non-blocking stream socket is EINPROGRESS meanwhile, goes on when the promise says so, and tells
 * of a refusal by SO_ERROR. What is thrown, rejected or makes no sense is a line in the log, and EIO.
 */
export type NetworkHook = (attempt: NetworkAttempt) => NetworkVerdict | Promise<NetworkVerdict>;
export type NetworkVerdict = "continue" | number;

/** What `stat` shows of a node of a plugin's file system. */
export interface NodeAttributes {
  kind: "file" | "directory" | "symlink";
  size: number;
  /** Permission bits; 0o644 and 0o755 when absent. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Seconds since the epoch. */
  mtime?: number;
}
/**
 * A file system written by a plugin: paths are absolute inside it ("/" is its root), normalised, without symbolic links
 * in the way. Every function returns a negative errno to fail; one that is absent means EROFS (writers) or ENOTSUP.
 * Results are not cached unless `cacheSeconds` says so.
 */
export interface FileSystem {
  attributes(path: string): NodeAttributes | number;
  /** Names in a directory, without "." and "..". */
  list(path: string): readonly string[] | number;
  /** Bytes of the file from `offset` into `into`; the count, 0 at the end. */
  read(path: string, offset: number, into: Uint8Array): number;
  write?(path: string, offset: number, from: Uint8Array): number;
  truncate?(path: string, size: number): number;
  create?(path: string, mode: number): number;
  makeDirectory?(path: string, mode: number): number;
  remove?(path: string): number;
  /** What `to` named before is replaced. */
  rename?(from: string, to: string): number;
  /** Without it, changes of mode and owner are EPERM, and those of times have no effect. */
  setAttributes?(path: string, changes: Partial<Pick<NodeAttributes, "mode" | "uid" | "gid" | "mtime">>): number;
  readLink?(path: string): string | number;
  /** A descriptor that could write was closed for good, or fsync(2) was called. */
  flush?(path: string): number;
  cacheSeconds?: number;
  /**
   * A restored sandbox has what the factory makes of the same source and options there; open files are found by their paths.
   * false: that would not do, and there is no checkpoint while it is mounted.
   */
  readonly restorable?: boolean;
}
/**
 * Called for each mount with its source and options; a negative errno refuses the mount. For mounts of a
 * sandbox's first container it is called before the jail closes, with the host's files in reach; for those of containers
 * that join later, and for mount(2) of a guest, after it, with none.
 */
export type FileSystemFactory = (source: string, options: readonly string[]) => FileSystem | number;

/** A character device written by a plugin. */
export interface CharacterDevice {
  read?(into: Uint8Array, offset: number): number;
  write?(from: Uint8Array, offset: number): number;
  ioctl?(request: number, argument: number): number;
  /** false: there is no checkpoint while it is open. Otherwise the device of that name goes on with who had it open. */
  readonly restorable?: boolean;
}

/** What a platform is made with. */
export interface PlatformOptions {
  /** An epoll descriptor that says when the kernel has something else to do than wait for guests. */
  readonly pollerFd: number;
  /** Makes another registered platform, to build upon. Throws when there is none of that name. */
  make(name: string): Platform;
}
/** The kernel side of a platform: see src/platform/platform.ts. */
export interface PlatformMaker {
  /** Called once, before the jail closes, if this is the sandbox's platform. What it throws ends the start. */
  create(options: PlatformOptions): Platform;
  /**
   * Names of host system calls that the sandbox process makes for it in its jail, beyond those that the kernel makes anyway
   * (src/boot/seccomp.ts). Those of platforms that it builds upon are theirs to name.
   */
  readonly hostCalls: readonly string[];
}

export interface KernelApi {
  readonly log: Log;
  /** Puts an interceptor around a system call; the last one added is asked first. Other calls cost nothing. */
  intercept<N extends string>(syscall: N, interceptor: Interceptor<N>): void;
  /**
   * Asked before each connect(2) of an internet socket, also of one for datagrams, which sends nothing; before each
   * connection that accept(2) gives, which a refusal closes; before each bind(2); before the first datagram of a socket
   * to each destination, whether it is named or connected. Those of one kind are asked in turn, and the first that refuses
   * decides. They see every attempt, and come before the rules of the network outside (docs/network.md), which have the
   * last word.
   */
  onConnect(hook: NetworkHook): void;
  onAccept(hook: NetworkHook): void;
  onBind(hook: NetworkHook): void;
  onSend(hook: NetworkHook): void;
  /** A file system type that mounts of the spec, and mount(2) of privileged guests, may name. */
  filesystem(type: string, factory: FileSystemFactory): void;
  /** A character device in every container's /dev. */
  device(name: string, numbers: { major: number; minor: number; mode?: number }, device: CharacterDevice): void;
  /** A platform. Its host half makes it known to commands, under the same name (`HostApi.platform`). */
  platform(name: string, maker: PlatformMaker): void;
  /** Called when a process of a container has been executed or has ended. */
  on(event: "exec", handler: (process: { pid: number; container: string; args: readonly string[] }) => void): void;
  on(event: "exit", handler: (process: { pid: number; container: string; status: number }) => void): void;
  /** Called when a container is added, before its file systems are mounted; and when it is gone, or could not be added. */
  on(event: "container", handler: (container: { id: string; spec: Spec }) => void): void;
  on(event: "container-end", handler: (container: { id: string }) => void): void;
  /**
   * A request that `SandboxHandle.request` can make of this sandbox. A thrown error is the answer. While a promise is
   * outstanding the kernel lets the event loop turn all the time; not so with `idle`, for answers that may take for ever:
   * those are given where the loop turns for another reason, so settle them when a hook or interceptor returns a promise.
   */
  control(
    method: string,
    handler: (params: unknown, fds: readonly number[]) => unknown | Promise<unknown>,
    options?: { idle?: boolean },
  ): void;
  /**
   * The kernel itself, for plugins that are part of this source tree (checkpoint). Not a stable interface:
   * its type is the `Kernel` class of src/kernel.
   */
  readonly internals: unknown;
}
