/** `runts plugins`: what is loaded, from where, with what it adds; and what could not be. */
import { command } from "../command.ts";
import { dashed, flag } from "../flags.ts";
import { formatSchema } from "./format.ts";

export default command({
  name: "plugins",
  summary: "list the plugins",
  flags: {
    format: flag.string({ value: "FORMAT", short: "f", default: "table", help: "table or json", schema: formatSchema }),
  },
  run(context, { format }) {
    const { plugins, failures } = context.plugins;
    if (format === "json") {
      context.out(`${JSON.stringify({ plugins, failures }, null, 2)}\n`);
      return;
    }
    for (const plugin of plugins) {
      const adds = [
        ["commands", plugin.commands],
        ["flags", plugin.flags.map((name) => `--${dashed(name)}`)],
        ["platforms", plugin.platforms],
        ["events", plugin.events],
        ["in the sandbox", plugin.hasSandboxHalf ? ["yes"] : []],
      ] as const;
      context.out(`${plugin.name}${plugin.description === "" ? "" : `: ${plugin.description}`}\n`);
      context.out(`  from: ${plugin.path ?? "built in"}\n`);
      for (const [what, names] of adds) if (names.length > 0) context.out(`  ${what}: ${names.join(", ")}\n`);
    }
    for (const { name, path, reason } of failures)
      context.out(`${name}: NOT LOADED\n  from: ${path ?? "built in"}\n  reason: ${reason}\n`);
  },
});
