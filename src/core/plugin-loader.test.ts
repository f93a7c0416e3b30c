import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { flag } from "./flags.ts";
import type { HostApi, Plugin } from "./plugin.ts";
import { flagDefaults, loadPlugins, loadSandboxHalves } from "./plugin-loader.ts";
import { FakeLog } from "./testing.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "runts-plugins-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function write(path: string, text: string, mode = 0o644): string {
  const full = join(directory, path);
  mkdirSync(dirname(full), { recursive: true, mode: 0o755 });
  writeFileSync(full, text);
  chmodSync(full, mode);
  return full;
}
const builtIn: Plugin = { name: "built-in" };
const load = (toml: string) => loadPlugins([builtIn], write("config.toml", toml), new FakeLog());
const enable = (name: string, more = "") => load(`[plugins]\ndirectories = ["plugins"]\nenable = ["${name}"]\n${more}`);
const failure = async (toml: string) => {
  const error = await load(toml).catch((each: unknown) => each as Error);
  return error instanceof Error ? error.message.replaceAll(`${directory}/`, "") : "no error";
};

const AUDIT = `
  import { definePlugin, v, errno } from "runts";
  import { word } from "./helper.ts";
  export default definePlugin({
    name: "audit",
    options: v.object({ deny: v.array(v.string()) }),
    host(host, options) {
      host.command("audit <id>", word + options.deny.join(), () => errno.EACCES);
    },
    sandbox(kernel, options) {
      kernel.intercept("openat", (call, next) => (options.deny.includes(call.path) ? -errno.EACCES : next()));
    },
  });`;

test("a plugin that comes along and is not on is loaded only where it is enabled", async () => {
  let loaded = 0;
  const optional = {
    name: "optional",
    load: () => {
      loaded++;
      const words = (host: HostApi) => host.commandLine("optional", "x");
      const host = (api: HostApi) => api.command("optional <id>", "its command", () => words(api).length);
      return Promise.resolve<Plugin>({ name: "optional", host, sandbox() {} });
    },
  };
  const from = (toml: string) => loadPlugins([builtIn, optional], write("config.toml", toml), new FakeLog());
  expect((await from("")).registry.plugins.map(({ name }) => name)).toEqual(["built-in"]);
  await expect(from("[plugin.optional]\nx = 1\n")).rejects.toThrow('no plugin "optional" is enabled');
  await from('[plugins]\ndisable = ["optional"]\n');
  expect(loaded).toBe(0);
  const { registry } = await from('[plugins]\nenable = ["optional"]\n');
  expect(registry.failures).toEqual([]);
  expect(registry.plugins.at(-1)).toMatchObject({ name: "optional", path: null, commands: ["optional"] });
  registry.inherited = ["--root", "/r"];
  const [half] = await loadSandboxHalves(registry.sandboxPlugins(), [builtIn, optional]);
  expect(half!.name).toBe("optional");
  expect(loaded).toBe(2);
});

describe("a third-party plugin", () => {
  beforeEach(() => {
    write("plugins/audit/plugin.ts", AUDIT);
    write("plugins/audit/helper.ts", "export const word: string = 'denies ';");
  });
  const options = '[plugin.audit]\ndeny = ["/etc/shadow"]\n';
  test("is loaded, with its imports, and adds its command", async () => {
    const { registry } = await enable("audit", options);
    expect(registry.failures).toEqual([]);
    expect(registry.commands.get("audit")!.summary).toBe("denies /etc/shadow");
    expect(registry.plugins.at(-1)).toMatchObject({
      name: "audit",
      path: join(directory, "plugins/audit/plugin.ts"),
      commands: ["audit"],
      hasSandboxHalf: true,
    });
  });
  test("has its other half in the sandbox", async () => {
    const { registry } = await enable("audit", options);
    const [half] = await loadSandboxHalves(registry.sandboxPlugins(), [builtIn]);
    let interceptor: ((call: { path: string }, next: () => number) => number) | undefined;
    half!.setUp({
      intercept: (_name: string, found: never) => {
        interceptor = found;
      },
    } as never);
    expect(interceptor!({ path: "/etc/shadow" }, () => 3)).toBe(-13);
    expect(interceptor!({ path: "/etc/hosts" }, () => 3)).toBe(3);
  });
  test("is not run when it is not enabled", async () => {
    write("plugins/audit/plugin.ts", "globalThis.auditRan = true; export default { name: 'audit' };");
    await load('[plugins]\ndirectories = ["plugins"]');
    expect(globalThis).not.toHaveProperty("auditRan");
  });
  test("with wrong options is named with the path", async () => {
    const { registry } = await enable("audit", '[plugin.audit]\ndeny = "x"\n');
    expect(registry.failures[0]).toMatchObject({ name: "audit", reason: "options: deny: expected array, got string" });
    expect(registry.commands.has("audit")).toBe(false);
  });
});

describe("broken ones are named and contained", () => {
  const cases: [string, string, string | RegExp][] = [
    ["syntax", "export default {", /plugins\/broken\.plugin\.ts:1:\d+: /],
    ["throw", 'throw new Error("at load");', "at load"],
    ["export", "export const x = 1;", "its default export is not a plugin"],
    ["import", 'import "./nowhere.ts"; export default { name: "broken" };', "nowhere.ts"],
    ["name", 'export default { name: "other" };', 'calls itself "other"'],
  ];
  for (const [what, text, reason] of cases)
    test(what, async () => {
      write("plugins/broken.plugin.ts", text);
      const { registry } = await enable("broken");
      expect(registry.failures[0]!.name).toBe("broken");
      expect(registry.failures[0]!.reason).toMatch(reason);
      expect(registry.plugins.map((each) => each.name)).toEqual(["built-in"]);
    });
  test("one that is not there", async () => {
    const { registry } = await enable("absent");
    expect(registry.failures[0]!.reason).toContain("there is no absent.plugin.ts or absent/plugin.ts");
  });
});

describe("files that others could write are refused", () => {
  const enabled = async () => (await enable("p")).registry.failures[0]?.reason ?? "none";
  beforeEach(() => {
    write("plugins/p.plugin.ts", 'export default { name: "p" };');
  });
  test("not a file of ours", async () => expect(await enabled()).toBe("none"));
  test("the file", async () => {
    chmodSync(join(directory, "plugins/p.plugin.ts"), 0o646);
    expect(await enabled()).toContain("may be written by others than its owner (mode 646)");
  });
  test("its directory", async () => {
    chmodSync(join(directory, "plugins"), 0o777);
    expect(await enabled()).toContain("plugins may be written by others");
  });
  test("a file beside it", async () => {
    write("plugins/deep/helper.ts", "", 0o666);
    expect(await enabled()).toContain("helper.ts may be written by others");
  });
  test.if(process.geteuid!() === 0)("another user's", async () => {
    chownSync(join(directory, "plugins/p.plugin.ts"), 1000, 1000);
    expect(await enabled()).toContain("belongs to another user (uid 1000)");
  });
  test("the configuration", async () => {
    const path = write("open.toml", "", 0o666);
    await expect(loadPlugins([], path, new FakeLog())).rejects.toThrow(`refusing ${path}`);
  });
});

describe("mistakes in the configuration are named with line and path", () => {
  const cases: [string, string][] = [
    ["a = ", "config.toml:1: Invalid TOML document: "],
    ['[flags]\nroot = "/x"\n[plugin]\n[plugins]\nenabled = []', 'config.toml:5: unknown key "plugins.enabled"'],
    ["[plugins]\n\nenable = 3", "config.toml:3: plugins.enable: expected array, got number"],
    [
      '[plugins]\ndisable = ["buitl-in"]',
      'config.toml:2: plugins.disable: there is no plugin "buitl-in", did you mean built-in?',
    ],
    ["[plugin.audti]\nx = 1", 'config.toml:1: plugin.audti: no plugin "audti" is enabled'],
  ];
  for (const [toml, message] of cases) test(message, async () => expect(await failure(toml)).toStartWith(message));
  test("a file that is not there", async () =>
    await expect(loadPlugins([], "/nowhere.toml", new FakeLog())).rejects.toThrow("there is no configuration file"));
});

describe("[flags]", () => {
  const flags = {
    logFormat: flag.string({ help: "" }),
    debug: flag.boolean({ help: "" }),
    strace: flag.optional({ help: "" }),
  };
  const defaults = async (toml: string) => flagDefaults((await load(toml)).config, flags);
  test("are defaults by their dashed names", async () =>
    expect(await defaults('[flags]\nlog-format = "json"\ndebug = true\nstrace = false')).toEqual({
      logFormat: "json",
      debug: true,
    }));
  test("an unknown one", async () =>
    await expect(defaults("[flags]\ndebgu = true")).rejects.toThrow(
      "config.toml:2: flags.debgu: there is no such flag, did you mean debug?",
    ));
  test("a wrong type", async () =>
    await expect(defaults('[flags]\ndebug = "yes"')).rejects.toThrow("config.toml:2: flags.debug: expected boolean"));
});

test("a disabled built-in plugin is not run", async () => {
  let ran = false;
  const plugin: Plugin = {
    name: "built-in",
    host: () => {
      ran = true;
    },
  };
  const path = write("config.toml", '[plugins]\ndisable = ["built-in"]');
  const { registry } = await loadPlugins([plugin], path, new FakeLog());
  expect([ran, registry.plugins]).toEqual([false, []]);
});
