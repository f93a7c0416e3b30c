/** `runts checkpoint ID`: saves a container to an image directory, and ends it unless it shall go on. */
import { mkdirSync, writeSync } from "node:fs";
import { type CommandContext, command } from "../../core/command.ts";
import type { Container } from "../../core/container/container.ts";
import { RuntimeError } from "../../core/errors.ts";
import { type FlagValues, flag, usage } from "../../core/flags.ts";
import { type SavedContainer, saveImage } from "../../core/image.ts";
import { criuFlags, imageDirectory, refuseLazyPages } from "./criu-flags.ts";

const flags = {
  ...criuFlags,
  leaveRunning: flag.boolean({ help: "let the container go on when it has been saved" }),
  compression: flag.string({
    value: "none|zstd",
    default: "none",
    help: "pack the pages; others are mapped as they are when the image is restored",
    schema: (v) => v.picklist(["none", "zstd"], "must be none or zstd"),
  }),
  replace: flag.boolean({ help: "replace the image of another container, too" }),
  workPath: flag.string({
    value: "DIR",
    help: "accepted, without effect: nothing is left beside the image",
    hidden: true,
  }),
  parentPath: flag.string({ help: "accepted, without effect: every image is complete", hidden: true }),
  preDump: flag.boolean({ help: "accepted: writes nothing, and the container goes on", hidden: true }),
  pageServer: flag.string({ help: "not supported", hidden: true }),
  statusFd: flag.integer({ help: "a descriptor that gets a zero byte when the image is there", hidden: true }),
  tcpSkipInFlight: flag.boolean({ help: "accepted, without effect", hidden: true }),
  networkLock: flag.string({ help: "accepted, without effect", hidden: true }),
};

export default command({
  name: "checkpoint",
  summary: "save a running container to an image",
  args: "<container-id>",
  description: `
The image is a directory with all that the container's programs are: memory, open
files, sockets, timers. \`runts restore\` lets them go on from there, here or on
another host. It is as private as what the programs have in their memory.

An image of the same container that is there already is replaced when the new one
is whole. Of runc's flags those that are CRIU's alone are taken and have no effect.`,
  examples: ["runts checkpoint --image-path /var/images/warm --leave-running c1"],
  flags,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, [text]: string[]): Promise<void> {
  refuseLazyPages(values.lazyPages);
  if (values.pageServer !== undefined)
    throw new RuntimeError("unsupported", "--page-server: images are written to a directory only");
  const containers = await context.containers();
  const directory = imageDirectory(values.imagePath);
  if (values.preDump) {
    preDump(context, containers.get(text!).id, directory);
    return;
  }
  await containers.checkpoint(text!, {
    leaveRunning: values.leaveRunning,
    directory,
    save: (container, sandbox) =>
      saveImage(context, {
        container: savedContainer(container),
        other: (id) => savedContainer(containers.get(id)),
        sandbox,
        directory,
        leaveRunning: values.leaveRunning,
        compression: values.compression as "none" | "zstd",
        replace: values.replace,
      }),
  });
  if (values.statusFd !== undefined) tell(values.statusFd);
}

const savedContainer = ({ id, bundle, spec, metadata }: Container): SavedContainer => ({
  id,
  bundle,
  spec,
  overlay: metadata.overlay ?? "none",
});

/** Callers do it to have less to write when the container stands still. It never stands still for long here. */
function preDump(context: CommandContext, id: string, directory: string): void {
  context.log.warn(`--pre-dump: nothing of ${id} is written before its checkpoint, which has everything`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

function tell(fd: number): void {
  try {
    writeSync(fd, Uint8Array.of(0));
  } catch {
    throw usage("runts checkpoint", `flag --status-fd: descriptor ${fd} cannot be written to`);
  }
}
