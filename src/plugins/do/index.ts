/** `runts do` as a plugin: disable it, and the command is gone. */
import { definePlugin } from "../../core/plugin.ts";

export default definePlugin({
  name: "do",
  description: "run a single program without a bundle",
  host(host) {
    host.command({
      name: "do",
      summary: "run a program of this host in a sandbox of its own",
      load: async () => (await import("../../core/commands/do.ts")).default,
    });
  },
});
