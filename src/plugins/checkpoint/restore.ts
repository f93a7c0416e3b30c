/** `runts restore ID`: a container that goes on from an image: as `run`, with runc's flags of restore. */

import { type CommandContext, command } from "../../core/command.ts";
import { bundleFlags, preservedFds } from "../../core/commands/bundle-flags.ts";
import { runAttached, runDetached } from "../../core/commands/run.ts";
import { type FlagValues, flag } from "../../core/flags.ts";
import { openForRestore } from "../../core/image.ts";
import { criuFlags, imageDirectory, refuseLazyPages } from "./criu-flags.ts";

const { bundle: _, ...sharedFlags } = bundleFlags;
const flags = {
  ...criuFlags,
  ...sharedFlags,
  bundle: flag.string({
    value: "DIR",
    short: "b",
    default: "",
    help: "directory of the bundle (default: the one that the container was made with)",
  }),
  allowChanged: flag.boolean({ help: "go on even if files of the host have changed that the programs had open" }),
  detach: flag.boolean({ short: "d", help: "return when the programs go on" }),
  keep: flag.boolean({ help: "do not delete the container when it has ended" }),
  workPath: flag.string({ value: "DIR", help: "where packed pages are unpacked (default: in memory)" }),
  noSubreaper: flag.boolean({ help: "accepted, without effect", hidden: true }),
  lsmProfile: flag.string({ help: "accepted, without effect", hidden: true }),
  lsmMountContext: flag.string({ help: "accepted, without effect", hidden: true }),
};

export default command({
  name: "restore",
  summary: "make a container from an image, and let it go on",
  args: "<container-id>",
  description: `
Attached (the default), the programs have this command's input and output and get
its signals, as with \`run\`. Processes, mounts and limits inside are the image's;
where the root and the volumes come from, hooks and cgroups are the bundle's.`,
  examples: ["runts restore --image-path /var/images/warm --bundle /b --detach c2"],
  flags,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, [id]: string[]): Promise<number> {
  refuseLazyPages(values.lazyPages);
  const containers = await context.containers();
  const directory = imageDirectory(values.imagePath);
  const { image, part, bundle, spec } = await openForRestore(context, directory, {
    id: id!,
    bundle: values.bundle || null,
    workPath: values.workPath,
  });
  const options = {
    id: id!,
    bundle,
    spec,
    pidFile: values.pidFile,
    consoleSocket: values.consoleSocket,
    preserveFds: preservedFds(values.preserveFds),
    restoring: { image, part, allowChanged: values.allowChanged, as: "restored" as const },
  };
  try {
    if (!values.detach) return await runAttached(context, containers, options, values.keep);
    await runDetached(containers, options);
    return 0;
  } finally {
    image.close();
  }
}
