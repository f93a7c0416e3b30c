/** `runts kill ID [SIGNAL]`: by name or number, TERM when none is given. */
import { command } from "../command.ts";
import { flag } from "../flags.ts";
import { parseSignal } from "../signals.ts";

export default command({
  name: "kill",
  summary: "send a signal to a container",
  args: "<container-id> [signal]",
  description: `
The signal is a name, with or without SIG, or a number; TERM if none is given.
It goes to the container's first process, or to those that a flag tells.`,
  flags: {
    all: flag.boolean({ short: "a", help: "to every process of the container" }),
    pid: flag.integer({ value: "PID", help: "to this process, numbered as in the container" }),
  },
  async run(context, { all, pid }, [id, signal]) {
    const containers = await context.containers();
    // A container that is not there comes before a signal that is none: callers look for the former.
    containers.get(id!);
    await containers.kill(id!, parseSignal(signal ?? "TERM"), { all, ...(pid === undefined ? {} : { pid }) });
  },
});
