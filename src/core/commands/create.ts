/** `runts create ID`: everything up to, but without, the user's program. */
import { command } from "../command.ts";
import { flag } from "../flags.ts";
import { bundleFlags, preservedFds } from "./bundle-flags.ts";

export default command({
  name: "create",
  summary: "make a container, without starting it",
  args: "<container-id>",
  description: `
The bundle is a directory with a config.json (see \`runts spec\`) and usually the
root file system. \`runts start\` lets the program run.`,
  flags: {
    ...bundleFlags,
    imagePath: flag.string({ value: "DIR", help: "go on from an image (of `runts checkpoint`) in place of beginning" }),
    allowChanged: flag.boolean({ help: "with --image-path: even if files of the host have changed" }),
    detach: flag.boolean({ help: "accepted: create always detaches", hidden: true }),
  },
  async run(context, flags, [id]) {
    const containers = await context.containers();
    const options = {
      id: id!,
      bundle: flags.bundle || ".",
      pidFile: flags.pidFile,
      consoleSocket: flags.consoleSocket,
      preserveFds: preservedFds(flags.preserveFds),
      detached: true,
    };
    if (flags.imagePath === undefined) {
      const { sandbox } = await containers.create(options);
      sandbox.close();
      return;
    }
    const { openForRestore } = await import("../image.ts");
    const where = { id: id!, bundle: flags.bundle || null };
    const { image, part, bundle, spec } = await openForRestore(context, flags.imagePath, where);
    try {
      const restoring = { image, part, allowChanged: flags.allowChanged, as: "restored" as const };
      const { sandbox } = await containers.create({ ...options, bundle, spec, restoring });
      sandbox.close();
    } finally {
      image.close();
    }
  },
});
