/** `runts branch ID NAME…`: copies of a running container, each independent of the others from here on. */
import { closeSync, openSync } from "node:fs";
import { resolve } from "node:path";
import { type CommandContext, command } from "../../core/command.ts";
import { runDetached } from "../../core/commands/run.ts";
import type { Container } from "../../core/container/container.ts";
import { checkId } from "../../core/container/store.ts";
import { MESSAGES, RuntimeError } from "../../core/errors.ts";
import { type FlagValues, flag, usage } from "../../core/flags.ts";
import { branchedSpec, type ImageFiles, type OpenedImage } from "../../core/image.ts";
import type { SandboxManifest } from "../../core/sandbox.ts";
import { requestCheckpoint, type Target } from "./save.ts";
import { seal, temporaryFile } from "./temporary-file.ts";

const COUNT_MAX = 10_000;

const flags = {
  count: flag.integer({
    value: "N",
    help: "make N copies, named NAME-1, NAME-2, …",
    schema: (v) => v.pipe(v.number(), v.minValue(1, "must be at least 1"), v.maxValue(COUNT_MAX)),
  }),
  consoleSocket: flag.string({ value: "SOCKET", help: "unix socket that gets the master of each copy's terminal" }),
  workPath: flag.string({ value: "DIR", help: "keep the common pages in a file there (default: in memory)" }),
};

export default command({
  name: "branch",
  summary: "make copies of a running container, which go on from here",
  args: "<container-id> [...name]",
  description: `
The container goes on as if nothing had happened. Each copy is a container of its
own with the same bundle: it begins with the memory, the open files and the timers
of the original, and shares with the other copies what none of them changes. Its
program can read in /proc/runts/checkpoint which copy it is. Prints the new ids.`,
  examples: ["runts branch agent try-a try-b try-c", "runts branch agent --count 8"],
  flags,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, [text, ...names]: string[]) {
  const containers = await context.containers();
  const original = containers.get(text!);
  const ids = branchIds(original.id, names, values.count);
  for (const id of ids) {
    checkId(id);
    if (containers.store.ids().includes(id)) throw new RuntimeError("already-exists", MESSAGES.alreadyExists, { id });
  }
  const image = await saveCopy(context, original, values.workPath);
  try {
    for (const [i, id] of ids.entries()) {
      await runDetached(containers, {
        id,
        bundle: original.bundle,
        spec: branchedSpec(structuredClone(original.spec), id),
        consoleSocket: values.consoleSocket,
        // What has changed since a moment ago, the original itself may just have written.
        restoring: { image, part: 0, allowChanged: true, as: `branched ${i + 1}` },
      });
      context.out(`${id}\n`);
    }
  } finally {
    image.close();
  }
}

export function branchIds(original: string, names: readonly string[], count: number | undefined): string[] {
  if (count === undefined) {
    if (names.length === 0) throw usage("runts branch", "expected names for the copies, or --count");
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw usage("runts branch", `"${twice}" is named twice`);
    return [...names];
  }
  if (names.length > 1) throw usage("runts branch", "--count goes with one name, which its copies are numbered after");
  return Array.from({ length: count }, (_, i) => `${names[0] ?? original}-${i + 1}`);
}

/** What an image is, without a directory. */
class Copy implements OpenedImage {
  readonly others: OpenedImage["others"] = [];
  constructor(
    readonly container: OpenedImage["container"],
    readonly manifest: SandboxManifest,
    readonly objects: number,
    private readonly pages: number,
    private readonly memory: readonly number[],
  ) {}
  async files(): Promise<ImageFiles> {
    return { pages: this.pages, memory: this.memory };
  }
  close(): void {
    for (const fd of [this.objects, this.pages, ...this.memory]) closeSync(fd);
  }
}

/** Files without names. */
class CopyFiles implements Target {
  /** All, open for writing; objects and pages first. */
  private readonly open: number[] = [];

  readonly objects: number;
  readonly pages: number;

  constructor(private readonly directory: string | undefined) {
    this.objects = this.make("objects");
    this.pages = this.make("pages");
  }

  private make(name: string): number {
    const fd = temporaryFile(`runts-${name}`, this.directory);
    this.open.push(fd);
    return fd;
  }
  memory(count: number): number[] {
    return Array.from({ length: count }, () => this.make("memory"));
  }

  /** The sandboxes get descriptors that they cannot write to: what they share stays as it is. */
  readable(): number[] {
    const readable: number[] = [];
    try {
      for (let fd = this.open.shift(); fd !== undefined; fd = this.open.shift())
        try {
          seal(fd);
          readable.push(openSync(`/proc/self/fd/${fd}`, "r"));
        } finally {
          closeSync(fd);
        }
      return readable;
    } catch (error) {
      for (const fd of readable) closeSync(fd);
      throw error;
    }
  }
  close(): void {
    for (const fd of this.open.splice(0)) closeSync(fd);
  }
}

async function saveCopy(context: CommandContext, original: Container, workPath: string | undefined): Promise<Copy> {
  const containers = await context.containers();
  const files = new CopyFiles(workPath === undefined ? undefined : resolve(workPath));
  try {
    let manifest: SandboxManifest | undefined;
    await containers.checkpoint(original.id, {
      leaveRunning: true,
      alone: true,
      directory: "",
      save: async (_container, sandbox) => {
        manifest = await requestCheckpoint(sandbox, original.id, true, files);
      },
    });
    const { id, bundle, spec, metadata } = original;
    const container = { id, bundle, spec, overlay: metadata.overlay ?? ("none" as const) };
    const [objects, pages, ...memory] = files.readable();
    return new Copy(container, manifest!, objects!, pages!, memory);
  } finally {
    files.close();
  }
}
