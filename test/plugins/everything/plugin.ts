/** A third party's plugin that uses all of the interface: what the tests enable by a configuration file alone. */
import { definePlugin, errno, type FileSystem, v } from "runts";

export default definePlugin({
  name: "everything",
  description: "one of each",
  options: v.object({ word: v.string(), delayMs: v.optional(v.number(), 20) }),

  host(host, { word }) {
    host.command("say <name>", "say the word", (context, [name]) => context.out(`${word} ${name}\n`));
    host.command("ask-sandbox <id> <text>", "ask the sandbox", async (context, [id, text]) => {
      const answer = await (await context.containers()).request(id!, "everything.echo", { text });
      context.out(`${JSON.stringify(answer)}\n`);
    });
    host.on("container:created", ({ container }) => host.log.info(`created ${container.id}`));
  },

  sandbox(kernel, { word, delayMs }) {
    // Decides at once, changes an argument, looks at a result.
    kernel.intercept("openat", (call, next) => {
      if (call.path === "/denied") return -errno.EACCES;
      if (call.path === "/renamed") call.path = "/etc/hostname";
      const result = next();
      if (call.path === "/looked-at") kernel.log.warn(`looked at: ${result}`);
      return result;
    });
    // Asks somebody who takes his time.
    kernel.intercept("mkdir", async ({ path }) => {
      if (!path.includes("ask-")) return "continue";
      await Bun.sleep(path.includes("slow") ? 30_000 : delayMs);
      if (path.includes("reject")) throw new Error("nobody there");
      return path.includes("no") ? -errno.EPERM : "continue";
    });
    // Waits inside the kernel, and is asked again.
    kernel.intercept("read", (call, next) => {
      const result = next();
      if (call.task.comm === "counted" && result >= 0) kernel.log.warn(`read ${result} again ${call.again}`);
      return result;
    });
    // Memory of the calling thread.
    kernel.intercept("write", (call, next) => {
      const bytes = new Uint8Array(6);
      if (call.count === 6 && call.task.read(call.buf, bytes) === 6 && Buffer.from(bytes).toString() === "secret")
        call.task.write(call.buf, Buffer.from("######"));
      return next();
    });
    // Fails, in each way that there is.
    kernel.intercept("getpriority", () => {
      throw new TypeError("thrown at run time");
    });
    kernel.intercept("sethostname", () => "nonsense" as unknown as number);

    kernel.filesystem("everything", (source, options) =>
      options.includes("refused") ? -errno.ENODATA : memory(source, options.includes("broken")),
    );
    kernel.device(
      "word",
      { major: 240, minor: 7, mode: 0o644 },
      {
        read(into, offset) {
          const rest = Buffer.from(`${word}\n`).subarray(offset);
          into.set(rest.subarray(0, into.length));
          return Math.min(rest.length, into.length);
        },
        write(from) {
          kernel.log.warn(`written to the device: ${Buffer.from(from).toString().trim()}`);
          return from.length;
        },
      },
    );
    kernel.device(
      "failing",
      { major: 240, minor: 8 },
      {
        read() {
          throw new Error("device out of order");
        },
      },
    );
    kernel.on("exec", ({ args }) => {
      if (args[0] === "true") kernel.log.warn(`executed ${args.join(" ")}`);
    });
    kernel.on("exit", ({ status }) => {
      if (status === 7 << 8) kernel.log.warn("exited with 7");
    });
    kernel.control("everything.echo", async (params) => {
      await Bun.sleep(delayMs);
      return { echo: params };
    });
  },
});

/** A tree in memory with one file, which says where it is from. */
function memory(source: string, broken: boolean): FileSystem {
  const nodes = new Map<string, Uint8Array | null>([
    ["/", null],
    ["/source", Buffer.from(`${source}\n`)],
  ]);
  const file = (path: string) => nodes.get(path) ?? new Uint8Array();
  const resized = (path: string, size: number) => {
    const bytes = new Uint8Array(size);
    bytes.set(file(path).subarray(0, size));
    nodes.set(path, bytes);
    return bytes;
  };
  const fs: FileSystem = {
    attributes(path) {
      const node = nodes.get(path);
      if (node === undefined) return -errno.ENOENT;
      return node === null ? { kind: "directory", size: 0 } : { kind: "file", size: node.length, mode: 0o755 };
    },
    list(path) {
      const above = path === "/" ? "/" : `${path}/`;
      const below = [...nodes.keys()].filter((each) => each !== "/" && each.startsWith(above));
      return below.map((each) => each.slice(above.length)).filter((name) => !name.includes("/"));
    },
    read(path, offset, into) {
      const part = file(path).subarray(offset, offset + into.length);
      into.set(part);
      return part.length;
    },
    write(path, offset, from) {
      const bytes = resized(path, Math.max(file(path).length, offset + from.length));
      bytes.set(from, offset);
      return from.length;
    },
    truncate(path, size) {
      resized(path, size);
      return 0;
    },
    create(path) {
      nodes.set(path, new Uint8Array());
      return 0;
    },
    makeDirectory(path) {
      nodes.set(path, null);
      return 0;
    },
    remove(path) {
      nodes.delete(path);
      return 0;
    },
    rename(from, to) {
      for (const [path, node] of [...nodes]) {
        if (path !== from && !path.startsWith(`${from}/`)) continue;
        nodes.delete(path);
        nodes.set(to + path.slice(from.length), node);
      }
      return 0;
    },
  };
  if (!broken) return fs;
  return {
    attributes: (path) => (path === "/" ? { kind: "directory", size: 0 } : { kind: "file", size: Number.NaN }),
    list: () => "no list" as unknown as string[],
    read: () => 0,
  };
}
