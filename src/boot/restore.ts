/**
 * The request `restore`: a sandbox without a container takes over saved ones, with what their commands have opened of the host.
 *
 * An image is a stranger's data: it decides what guests have in their memory and what the kernel's tables say, as the
 * guests themselves do; nothing in it is a path, a number of a descriptor or a process of the host. What it gets of the host
 * are the descriptors that came with the requests, by their order.
 */
import type { SavedPart } from "../core/sandbox.ts";
import { VERSION } from "../generated/version.ts";
import { EBADF, EINVAL, errnoName } from "../kernel/abi/errno.ts";
import type { Container } from "../kernel/container.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { ImageError } from "../kernel/state/encode.ts";
import type { HostSource, Tree } from "../kernel/state/host.ts";
import { makeSpaces, parseRun, type Run } from "../kernel/state/memory.ts";
import { Restore } from "../kernel/state/restore.ts";
// As text: every sandbox loads this file, and few restore anything.
import schemaText from "../kernel/state/schema.json" with { type: "text" };
import type { Schema } from "../kernel/state/schema.ts";
import { CLOCK_REALTIME, readClock } from "../kernel/time/clock.ts";
import { wallClockMoved } from "../kernel/time/wall-clock.ts";
import type { FileSystem } from "../kernel/vfs/inode.ts";
import { closeFd, pread } from "../native/host.ts";
import type { Home } from "../platform/platform.ts";
import { bindsOf, type RestoreParams } from "./add-params.ts";
import { SCHEMA } from "./checkpoint.ts";
import type { ContainerDescriptors } from "./container.ts";
import { Refusal } from "./control.ts";
import type { EarlyFileSystems } from "./early.ts";

const BLOCK = 1 << 20;
/** A line of an image. */
const LINE_MAX = 1 << 26;

/** The lines of a file, from its start. */
function* linesOf(fd: number, part: string): Generator<string> {
  const buffer = Buffer.alloc(BLOCK);
  let rest: Buffer = Buffer.alloc(0);
  for (let at = 0; ; ) {
    const n = pread(fd, buffer, buffer.length, at);
    if (n < 0) throw new ImageError(`${part}: cannot be read: ${errnoName(-n)}`);
    if (n === 0) break;
    at += n;
    const bytes = rest.length === 0 ? buffer.subarray(0, n) : Buffer.concat([rest, buffer.subarray(0, n)]);
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      yield bytes.toString("utf8", from, end);
      from = end + 1;
    }
    rest = Buffer.from(bytes.subarray(from));
    if (rest.length > LINE_MAX) throw new ImageError(`${part}: a line is too long`);
  }
  if (rest.length > 0) throw new ImageError(`${part}: its last line has no end`);
}

/** The lines of objects; what follows them, runs of pages, is put into `runs`. */
function* objectsOf(lines: Iterable<string>, runs: Run[]): Generator<string> {
  for (const line of lines) {
    const run = parseRun(line);
    if (run !== null) runs.push(run);
    else if (runs.length > 0) throw new ImageError("objects.jsonl: an object after the pages");
    else yield line;
  }
}

/** A saved container whose command has come, with what it has opened in the place of what the container had. */
export interface Arrival {
  readonly params: RestoreParams;
  readonly descriptors: ContainerDescriptors;
}

/** What the commands have opened. */
class Given implements HostSource {
  readonly warnings: string[] = [];
  private readonly stdio = new Map<Arrival, number[]>();
  private readonly arrivals = new Map<string, Arrival>();

  constructor(
    private readonly kernel: Kernel,
    /** As the manifest lists their containers. */
    arrivals: readonly Arrival[],
    readonly pages: number,
    private readonly early: EarlyFileSystems,
  ) {
    for (const arrival of arrivals) this.arrivals.set(savedPart(arrival.params).id, arrival);
  }

  tree({ container, which }: Tree): number {
    const arrival = this.arrivals.get(container);
    // What stands in the image for a number may be the name of what every list has.
    if (arrival === undefined || (which !== "root" && !Number.isInteger(which))) return -EINVAL;
    const mount = which === "root" ? "root" : bindsOf(arrival.params.spec)[which];
    const fd = mount === undefined ? -1 : arrival.descriptors.takeTree(mount);
    return fd < 0 ? -EBADF : fd;
  }
  inherited(container: string, fd: number): number {
    const arrival = this.arrivals.get(container);
    if (arrival === undefined || !Number.isInteger(fd)) return -EBADF;
    const stdio = this.stdio.get(arrival) ?? arrival.descriptors.takeStdio();
    this.stdio.set(arrival, stdio);
    const given = stdio[fd] ?? -1;
    if (given < 0) return -EBADF;
    stdio[fd] = -1;
    return given;
  }
  fileSystem(type: string, source: string, options: readonly string[]): FileSystem | undefined {
    return this.early.takeSame(type, source, options);
  }
  /** That of the first container is the sandbox' own, unless it has cgroups apart from those. */
  home(container: string): Home | undefined {
    const arrival = this.arrivals.get(container);
    if (arrival === undefined) return undefined;
    const procs = arrival.descriptors.takeCgroups();
    if (arrival.params.part === 0 && procs.length === 0) return undefined;
    const home = this.kernel.platform.createHome(procs);
    if (typeof home !== "number") return home;
    throw new Error(`cannot start what runs the programs of container ${arrival.params.id}: ${errnoName(-home)}`);
  }
  /** Lets go of the standard descriptors that nobody took. */
  close(): void {
    for (const fds of this.stdio.values()) for (const fd of fds) if (fd >= 0) closeFd(fd);
    this.stdio.clear();
  }
  warn(text: string): void {
    this.warnings.push(this.named(text));
  }
  changed(text: string): void {
    for (const { params } of this.arrivals.values())
      if (!params.allowChanged)
        throw new ImageError(`host: ${this.named(text)} (--allow-changed goes on with it as it is)`);
    this.warn(text);
  }
  /** The kernel knows volumes by their numbers, people by their places: "mount 0/log of c1: …" is "/var/log of c1: …". */
  private named(text: string): string {
    return text.replace(/^mount (\d+)(.*) of ([\w+.-]+): /, (all, which: string, path: string, id: string) => {
      const arrival = this.arrivals.get(id);
      const mount = arrival === undefined ? undefined : bindsOf(arrival.params.spec)[Number(which)];
      return mount === undefined ? all : `${mount.destination}${path} of ${id}: `;
    });
  }
}

/** What the image says of the container that a request is about. */
export function savedPart({ manifest, part }: RestoreParams): SavedPart {
  const found = manifest.containers[part];
  if (found === undefined)
    throw new Refusal(
      `restore: the image has ${manifest.containers.length} containers, none with number ${part}`,
      EINVAL,
    );
  return found;
}

/** Is it an image for this sandbox, and a container of it? Throws a Refusal with the reason. */
export function checkRestore(kernel: Kernel, params: RestoreParams): void {
  const wrong = (text: string) => new Refusal(`restore: ${text}`, EINVAL);
  const { manifest, spec } = params;
  const { containers, cpu, arch, schema } = manifest;
  if (schema > SCHEMA)
    throw wrong(`the image is of a newer version of runts (${manifest.kernel}); this one is ${VERSION}`);
  if (arch !== "x86-64") throw wrong(`the image is of another architecture: ${arch}`);
  const part = savedPart(params);
  if (containers.some(({ id }, i) => containers.findIndex((other) => other.id === id) !== i))
    throw wrong("two containers of the image have the same id");
  const trees = 1 + bindsOf(spec).length;
  if (part.trees !== trees)
    throw wrong(`the saved container "${part.id}" has ${part.trees} host trees, the bundle ${trees}`);
  const here = kernel.platform.cpuFeatures();
  if ((cpu.xfeatures & ~here.xfeatures) !== 0)
    throw wrong(
      `the processor lacks extended state that the image has (XCR0 ${cpu.xfeatures.toString(16)}, here ${here.xfeatures.toString(16)})`,
    );
  const missing = cpu.words.filter((word) => !here.words.includes(word));
  if (missing.length > 0) throw wrong(`the processor lacks what the image's programs may use: ${missing.join(", ")}`);
}

/** An image, open for reading. */
export interface ImageDescriptors {
  objects: number;
  pages: number;
  /** Of each address space, in order. */
  memory: readonly number[];
}

/**
 * The saved containers, their threads held until they are thawed. `arrivals`: one for each of the manifest's, in its order.
 * Whatever fails ends the sandbox: what has been filled in part is of no use.
 */
export function restoreKernel(
  kernel: Kernel,
  arrivals: readonly Arrival[],
  image: ImageDescriptors,
  early: EarlyFileSystems,
): { containers: Container[]; warnings: readonly string[] } {
  const given = new Given(kernel, arrivals, image.pages, early);
  const empty = { ...kernel };
  try {
    const restore = new Restore(kernel, given, JSON.parse(schemaText as unknown as string) as Schema);
    const runs: Run[] = [];
    restore.load(objectsOf(linesOf(image.objects, "objects.jsonl"), runs));
    if (kernel.containers.size !== arrivals.length)
      throw new ImageError(`objects: ${kernel.containers.size} containers, the manifest has ${arrivals.length}`);
    const containers = arrivals.map(({ params }) => {
      const { id } = savedPart(params);
      const container = kernel.containers.get(id);
      if (container === undefined || container.first === null || container.first.zombie)
        throw new ImageError(`objects: the container "${id}" of the manifest is not among them, or has ended`);
      container.frozen = true;
      return container;
    });
    const { clock } = arrivals[0]!.params.manifest;
    const { sec, nsec } = readClock(CLOCK_REALTIME);
    // Dates have gone on while the image lay there, the other clocks have not.
    wallClockMoved(kernel, sec * 1e9 + nsec - clock.realtimeNs - (kernel.now() - clock.monotonicNs));
    makeSpaces(restore, runs, image.memory, arrivals[0]!.params.manifest.cpu);
    for (const [i, { params }] of arrivals.entries()) containers[i]!.rename(params.id);
    return { containers, warnings: given.warnings };
  } catch (error) {
    // It goes on for as long as it takes to say so: with timers and tables of its own, not with some of the image's.
    Object.assign(kernel, empty);
    throw error;
  } finally {
    given.close();
  }
}
