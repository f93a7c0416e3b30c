/** `runts list`: a table, JSON, or the ids alone. */
import { command } from "../command.ts";
import { describe } from "../errors.ts";
import { flag } from "../flags.ts";
import { columns, formatSchema } from "./format.ts";
import { runcState } from "./state.ts";

export default command({
  name: "list",
  summary: "list containers",
  flags: {
    format: flag.string({ value: "FORMAT", short: "f", default: "table", help: "table or json", schema: formatSchema }),
    quiet: flag.boolean({ short: "q", help: "ids only" }),
  },
  async run(context, flags) {
    const containers = await context.containers();
    if (flags.quiet) {
      for (const id of containers.store.ids()) context.out(`${id}\n`);
      return 0;
    }
    const entries = containers.list();
    // One that cannot be read does not hide the others.
    for (const { id, error } of entries) if (error !== null) context.log.warn(`${id}: ${describe(error)}`);
    const found = entries.flatMap(({ container }) => (container === null ? [] : [container]));
    if (flags.format === "json") {
      context.out(`${JSON.stringify(found.map(runcState))}\n`);
      return 0;
    }
    // Where all have sandboxes of their own the table is runc's.
    const pods = found.some((each) => each.sandboxId !== each.id);
    context.out(
      columns([
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", ...(pods ? ["SANDBOX"] : [])],
        ...found.map((each) => [
          each.id,
          String(each.pid),
          each.status,
          each.bundle,
          each.metadata.created,
          each.metadata.owner,
          ...(pods ? [each.sandboxId] : []),
        ]),
      ]),
    );
    return 0;
  },
});
