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
    detach: flag.boolean({ help: "accepted: create always detaches", hidden: true }),
  },
  async run(context, flags, [id]) {
    const containers = await context.containers();
    const { sandbox } = await containers.create({
      id: id!,
      bundle: flags.bundle || ".",
      pidFile: flags.pidFile,
      consoleSocket: flags.consoleSocket,
      preserveFds: preservedFds(flags.preserveFds),
      detached: true,
    });
    sandbox.close();
  },
});
