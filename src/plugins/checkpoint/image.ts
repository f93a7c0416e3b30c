/** `runts image ACTION DIR`: looks at images, without running anything of them. */
import { closeSync, openSync, writeSync } from "node:fs";
import { isatty } from "node:tty";
import { type CommandContext, command } from "../../core/command.ts";
import { describe, RuntimeError } from "../../core/errors.ts";
import { type FlagValues, flag, usage } from "../../core/flags.ts";
import { ProgressLine } from "./progress.ts";
import { Image, strangers } from "./read.ts";

const ACTIONS = { inspect: 1, check: 1, reseal: 1, diff: 2, export: 1 } as const;
type Action = keyof typeof ACTIONS;

const flags = {
  format: flag.string({
    value: "text|json",
    short: "f",
    default: "text",
    help: "form of what inspect and diff print",
    schema: (v) => v.picklist(["text", "json"], "must be text or json"),
  }),
  output: flag.string({
    value: "FILE",
    short: "o",
    help: "where export writes the archive (default: standard output)",
  }),
};

export default command({
  name: "image",
  summary: "look at images of containers, check and compare them",
  args: "<action> <...directory>",
  description: `
Actions:
  inspect DIR  processes, memory by kind, open files, sockets, size by part
  check DIR    reads all of it; status 0 if a restore would take it
  diff A B     what is in B and not in A, and the other way round
  export DIR   a tar archive: the parts (image/), files in memory (files/)
  reseal DIR   makes the checksums right after somebody has edited an image`,
  examples: ["runts image inspect /var/images/warm", "runts image export -o warm.tar /var/images/warm"],
  flags,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, [action, ...directories]: string[]) {
  if (!Object.hasOwn(ACTIONS, action!))
    throw usage("runts image", `unknown action "${action}" (there are: ${Object.keys(ACTIONS).join(", ")})`);
  const wanted = ACTIONS[action as Action];
  if (directories.length !== wanted)
    throw usage("runts image", `"${action}" takes ${wanted === 1 ? "one directory" : "two directories"}`);
  if (action === "check") return check(context, directories[0]!);
  if (action === "reseal") {
    const { reseal } = await import("./reseal.ts");
    await reseal(directories[0]!);
    return 0;
  }
  const images: Image[] = [];
  const line = new ProgressLine("reading");
  try {
    for (const each of directories) images.push(Image.open(each, { progress: (n, total) => line.at(n, total) }));
    await act(context, action as Action, values, images);
  } finally {
    for (const image of images) image.close();
  }
  return 0;
}

async function act(
  context: CommandContext,
  action: Action,
  { format, output }: FlagValues<typeof flags>,
  [image, other]: Image[],
): Promise<void> {
  const json = (value: object) => context.out(`${JSON.stringify(value, null, 2)}\n`);
  if (action === "inspect") {
    const { inspectJson, inspectText } = await import("./inspect.ts");
    if (format === "json") json(inspectJson(image!));
    else context.out(inspectText(image!));
  } else if (action === "diff") {
    const { diff, diffText } = await import("./diff.ts");
    const found = await diff(image!, other!);
    if (format === "json") json(found);
    else context.out(diffText(found));
  } else await exportTo(image!, output);
}

async function exportTo(image: Image, output: string | undefined): Promise<void> {
  if (output === undefined && isatty(1)) throw usage("runts image", "an archive is not for a terminal: see --output");
  const { exportImage } = await import("./export.ts");
  const fd = output === undefined ? 1 : openSync(output, "w", 0o600);
  try {
    for await (const bytes of exportImage(image))
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  } finally {
    if (output !== undefined) closeSync(fd);
  }
}

/** All that is wrong, a line each. */
async function check({ out, log }: CommandContext, directory: string): Promise<number> {
  const line = new ProgressLine("checking");
  const problems: string[] = [];
  try {
    const image = Image.open(directory, { progress: (n, total) => line.at(n, total) });
    try {
      const { countTypes } = await import("./objects.ts");
      const attempt = async (look: () => unknown) => {
        try {
          await look();
        } catch (error) {
          if (!(error instanceof RuntimeError)) throw error;
          problems.push(describe(error));
        }
      };
      await attempt(() => countTypes(image.objects));
      for (const part of [image.pagesPart, ...image.memoryParts])
        await attempt(() => image.withPart(part, async () => {}));
      const { checkCpu, cpuFlags } = await import("../../core/image.ts");
      try {
        checkCpu(image.manifest, await cpuFlags());
      } catch (error) {
        log.warn(describe(error));
      }
    } finally {
      image.close();
    }
    for (const name of strangers(directory)) log.warn(`${name} is no part of the image`);
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    problems.push(describe(error));
  }
  line.end();
  for (const problem of problems) log.error(problem);
  if (problems.length > 0) return 1;
  out(`${directory}: the image is whole\n`);
  return 0;
}
