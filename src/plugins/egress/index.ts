/**
 * Asks at the first contact to a new place outside: a person at the terminal of `runts do`, a person who runs
 * `runts egress ID`, or a command. Nobody there, no answer in time: denied.
 *
 * It is on the public interface alone (what third parties import as "runts"). The sandbox half stops the calling thread by
 * the network hooks and keeps open questions; the host half asks for them (`egress.next`, which is answered when there
 * is one), puts them to somebody, remembers, and answers (`egress.answer`).
 *
 * A place is a protocol, an address and a port: names are shown, but a guest can have any name resolved to any address.
 */
import { spawn } from "node:child_process";
import { definePlugin, flag, RuntimeError } from "../../core/runts.ts";
import { attend } from "./attend.ts";
import { options } from "./options.ts";
import { personAtStandardInput } from "./person.ts";

export default definePlugin({
  name: "egress",
  description: "ask a person or a command at the first contact to a place outside",
  options,

  host(host, own) {
    host.on("do:starting", ({ id, sandbox, person }) => {
      // For as long as there is something to be asked.
      void attend({ id, request: (method, params) => sandbox.request(method, params), person, log: host.log }, own);
    });
    // Who creates a container ends; somebody must stay who asks.
    host.on("container:created", ({ container }) => {
      if (container.id !== container.sandboxId || (own.ask === undefined && own.remember === undefined)) return;
      const [program, ...words] = host.commandLine("egress", "--background", container.id);
      const child = spawn(program!, words, { detached: true, stdio: "ignore", cwd: "/" });
      child.on("error", (error) => host.log.warn(`egress: nobody will ask for ${container.id}: ${error.message}`));
      child.unref();
    });

    host.command({
      name: "egress",
      args: "<container-id>",
      summary: "decide which places a container may contact",
      description: `
Asks here whenever the container contacts a place for the first time, until the
container ends. With a command in the configuration, that is asked instead.`,
      examples: ["runts egress web"],
      flags: { background: flag.boolean({ help: "ask the configured command only; end silently", hidden: true }) },
      async run(context, { background }, [id]) {
        const containers = await context.containers();
        const person = background ? null : personAtStandardInput();
        if (person === null && own.ask === undefined && !background)
          throw new RuntimeError("usage", "there is no terminal here, and the configuration names no command to ask");
        const request = (method: string, params: unknown) => containers.request(id!, method, params);
        const end = await attend({ id: id!, request, person, log: context.log }, own);
        if (!background && !end.begun) throw end.error;
      },
    });
  },

  sandboxModule: async () => {
    const { Gate } = await import("./gate.ts");
    return { sandbox: (kernel, own) => new Gate(kernel, own).guard() };
  },
});
