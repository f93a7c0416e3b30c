import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { RuntimeError } from "./errors.ts";
import { definePlugin, type Plugin } from "./plugin.ts";
import { type Candidate, Registry } from "./registry.ts";
import { FakeLog } from "./testing.ts";

const container = { id: "c" } as never;
async function load(...plugins: (Plugin | Candidate)[]): Promise<Registry> {
  const registry = new Registry(new FakeLog());
  await registry.setUp(
    plugins.map((each) => ("plugin" in each ? each : { plugin: each, path: null, options: undefined })),
  );
  return registry;
}
const reasons = (registry: Registry) => registry.failures.map(({ name, reason }) => `${name}: ${reason}`);
const names = (registry: Registry) => registry.plugins.map((each) => each.name);

describe("what is checked before a line of a plugin runs", () => {
  const never = () => {
    throw new Error("must not run");
  };
  const cases: [string, unknown, string][] = [
    ["a name", { name: "No Name", host: never }, "name: expected lower case letters, digits and dashes"],
    ["the API version", { name: "p", apiVersion: 2, host: never }, "apiVersion: this is 1, the plugin is made for 2"],
    ["requires", { name: "p", requires: "x", host: never }, "requires: expected names"],
    ["host", { name: "p", host: 1 }, "host: expected a function"],
    ["options", { name: "p", options: {}, host: never }, "options: expected a schema"],
  ];
  for (const [what, plugin, reason] of cases)
    test(what, async () => {
      const registry = await load({ plugin: plugin as Plugin, path: null, options: undefined });
      expect(registry.failures[0]!.reason).toBe(reason);
      expect(registry.plugins).toEqual([]);
    });
  test("two of one name: the first stays", async () => {
    const registry = await load({ name: "p", description: "first" }, { name: "p" });
    expect(reasons(registry)).toEqual(["p: another plugin has this name already"]);
    expect(registry.plugins[0]!.description).toBe("first");
  });
});

describe("requirements", () => {
  test("come first", async () =>
    expect(names(await load({ name: "a", requires: ["b"] }, { name: "b", requires: ["c"] }, { name: "c" }))).toEqual([
      "c",
      "b",
      "a",
    ]));
  test("that are missing", async () => {
    const registry = await load({ name: "a", requires: ["x"] }, { name: "b" });
    expect(reasons(registry)).toEqual(['a: requires plugin "x", which is not there']);
    expect(names(registry)).toEqual(["b"]);
  });
  test("in a circle", async () => {
    const registry = await load({ name: "a", requires: ["b"] }, { name: "b", requires: ["a"] });
    expect(names(registry)).toEqual([]);
    expect(reasons(registry)[0]).toContain("which requires this one in turn");
  });
  test("that fail", async () => {
    const registry = await load(
      { name: "a", requires: ["b"] },
      {
        name: "b",
        host: () => {
          throw new Error("no");
        },
      },
    );
    expect(reasons(registry)).toEqual(["b: no", 'a: requires plugin "b", which cannot be used itself']);
  });
});

describe("options", () => {
  const withOptions = (seen: unknown[]) =>
    definePlugin({
      name: "audit",
      options: v.object({ deny: v.optional(v.array(v.string()), ["/etc"]) }),
      host: (_host, options) => {
        seen.push(options.deny);
      },
    }) as Plugin;
  test("are checked, with defaults", async () => {
    const seen: unknown[] = [];
    await load(withOptions(seen));
    await load({ plugin: withOptions(seen), path: null, options: { deny: ["/x"] } });
    expect(seen).toEqual([["/etc"], ["/x"]]);
  });
  test("that are wrong name the path", async () => {
    const registry = await load({ plugin: withOptions([]), path: "/p", options: { deny: ["a", 1] } });
    expect(reasons(registry)).toEqual(["audit: options: deny.1: expected string, got number"]);
    expect(() => registry.requireAll()).toThrow('plugin "audit" (/p) cannot be used: options: deny.1');
  });
  test("for a plugin that takes none", async () => {
    const registry = await load({ plugin: { name: "p" }, path: null, options: { x: 1 } });
    expect(reasons(registry)).toEqual(['p: options: it takes none, but "x" is given']);
  });
});

test("what a failing plugin has added is not there", async () => {
  const registry = await load({
    name: "half",
    host(host) {
      host.command("half <id>", "half", () => 0);
      host.on("container:created", () => {});
      throw new Error("then it broke");
    },
  });
  expect(registry.commands.size).toBe(0);
  expect(registry.listens("container:created")).toBe(false);
});
describe("a command that could not be called is refused", () => {
  const cases: [usage: string, reason: string][] = [
    ["", 'command "": expected a word for its name'],
    ["<id>", 'command "<id>": expected a word for its name'],
    ["help", 'command "help" exists already'],
    ["look ID", 'command "look": expected <operand>, [operand] or [...operand], got "ID"'],
  ];
  for (const [usage, reason] of cases)
    test(`"${usage}"`, async () => {
      const registry = await load({ name: "p", host: (host) => host.command(usage, "", () => 0) });
      expect(reasons(registry)).toEqual([`p: ${reason}`]);
      expect(registry.commands.size).toBe(0);
    });
});
test("nothing is taken over from another plugin", async () => {
  const add: Plugin["host"] = (host) => host.command("same", "same", () => 0);
  expect(reasons(await load({ name: "a", host: add }, { name: "b", host: add }))).toEqual([
    'b: command "same" exists already',
  ]);
});
test("an event that does not exist", async () =>
  expect(
    reasons(await load({ name: "a", host: (host) => host.on("container:born" as never, (() => {}) as never) })),
  ).toEqual(['a: there is no event "container:born"']));

describe("hooks", () => {
  const hook = (name: string, event: never, run: () => unknown, order?: "pre" | "post"): Plugin => ({
    name,
    host: (host) => host.on(event, run as never, order === undefined ? {} : { order }),
  });
  test("run in the order of plugins, pre before, post after", async () => {
    const ran: string[] = [];
    const event = "container:created" as never;
    const registry = await load(
      hook("a", event, () => ran.push("a"), "post"),
      hook("b", event, () => ran.push("b")),
      hook("c", event, () => ran.push("c"), "pre"),
      hook("d", event, () => ran.push("d")),
    );
    await registry.run("container:created", { container });
    expect(ran).toEqual(["c", "b", "d", "a"]);
  });
  test("series: the first failure ends it and names plugin and hook", async () => {
    const ran: string[] = [];
    const event = "container:created" as never;
    const registry = await load(
      hook("a", event, () => {
        throw new Error("broken");
      }),
      hook("b", event, () => ran.push("b")),
    );
    const error = await registry.run("container:created", { container }).catch((each: unknown) => each);
    expect((error as Error).message).toBe('plugin "a", hook container:created');
    expect(((error as Error).cause as Error).message).toBe("broken");
    expect(ran).toEqual([]);
  });
  test("keep-going: every failure comes back, all run", async () => {
    const event = "container:deleted" as never;
    const fail = () => {
      throw new RuntimeError("hook", "no");
    };
    const registry = await load(hook("a", event, fail), hook("b", event, fail));
    expect((await registry.runAll("container:deleted", { container })).length).toBe(2);
  });
  test("first: the first answer wins, the rest is not asked", async () => {
    const asked: string[] = [];
    const event = "sandbox:find" as never;
    const registry = await load(
      hook("a", event, () => void asked.push("a")),
      hook("b", event, () => asked.push("b") && "answer"),
      hook("c", event, () => asked.push("c")),
    );
    expect(await registry.first("sandbox:find", { container, lookUp: () => null })).toBe("answer" as never);
    expect(asked).toEqual(["a", "b"]);
  });
  test("one that has not settled is known by name", async () => {
    const registry = await load(hook("a", "container:created" as never, () => new Promise(() => {})));
    void registry.run("container:created", { container });
    await Bun.sleep(1);
    expect([...registry.pending]).toEqual(['plugin "a", hook container:created']);
  });
});
