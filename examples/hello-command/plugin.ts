/** A command with a flag: `runts hello --shout you`. Only a host half: no sandbox ever loads it. */
import { definePlugin, flag } from "runts";

export default definePlugin({
  name: "hello-command",
  description: "greets, and says how many containers there are",
  host(host) {
    host.command({
      name: "hello",
      summary: "greet somebody",
      args: "[name]",
      examples: ["runts --config examples/config.toml hello --shout you"],
      flags: { shout: flag.boolean({ short: "s", help: "in capital letters" }) },
      async run(context, { shout }, [name = "world"]) {
        const count = (await context.containers()).list().length;
        const text = `hello, ${name}: ${count} container${count === 1 ? "" : "s"}`;
        context.out(`${shout ? text.toUpperCase() : text}\n`);
      },
    });
  },
});
