/** `runts delete ID…`: removes containers that have ended (or were never started), with --force any. */
import { command } from "../command.ts";
import { describe, RuntimeError } from "../errors.ts";
import { flag } from "../flags.ts";

export default command({
  name: "delete",
  summary: "delete containers",
  args: "<container-id> [...container-id]",
  flags: { force: flag.boolean({ short: "f", help: "kill the container first if it runs; none is no error" }) },
  async run(context, { force }, ids) {
    const containers = await context.containers();
    const errors: unknown[] = [];
    // Each one gets its turn, whatever became of those before.
    for (const id of ids) {
      try {
        if (!(await containers.delete(id, force))) context.log.debug(`there is no container ${id}`);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 0) return 0;
    if (ids.length > 1) for (const error of errors.slice(0, -1)) context.log.error(text(error));
    throw errors.at(-1);
  },
});

function text(error: unknown): string {
  return error instanceof RuntimeError && error.id !== undefined ? `${error.id}: ${describe(error)}` : describe(error);
}
