/** `runts wait ID`: prints how a container ended, as JSON. gVisor has this command; runc has none. */
import { command } from "../command.ts";
import { flag } from "../flags.ts";
import { exitCodeOf } from "../signals.ts";

export default command({
  name: "wait",
  summary: "wait until a container ends",
  args: "<container-id>",
  description: "Prints {id, exitStatus}: the exit code, or 128 and the number of the signal.",
  flags: { pid: flag.integer({ value: "PID", help: "wait for this process, numbered as in the container" }) },
  async run(context, { pid }, [id]) {
    const containers = await context.containers();
    const status = await containers.wait(id!, pid);
    context.out(`${JSON.stringify({ id: containers.store.resolve(id!), exitStatus: exitCodeOf(status) })}\n`);
  },
});
