import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../../core/container/process-ref.ts";
import { MESSAGES, RuntimeError } from "../../core/errors.ts";
import { parseFlags } from "../../core/go-flags.ts";
import type { Plugin } from "../../core/plugin.ts";
import { ControlError, type RestoreImage, type SandboxManifest } from "../../core/sandbox.ts";
import type { Spec } from "../../core/spec/schema.ts";
import { Bench, type FakeSandbox } from "../../core/testing.ts";
import { dup } from "../../native/host.ts";
import { branchIds } from "./branch.ts";
import checkpoint from "./index.ts";
import { Image } from "./read.ts";
import { MIB, memoryOf, OBJECTS_TEXT, sandboxManifest, writeMemory, writePages } from "./testing.ts";

let bench: Bench;
let directory: string;
let place: string;
let events: string[];
/** What a sandbox says of itself. */
let manifest: SandboxManifest;
/** Contents that sandboxes have been restored with, read at that moment. */
let restoredObjects: string[];

const recorder: Plugin = {
  name: "recorder",
  host(host) {
    for (const name of [
      "container:creating",
      "container:create-runtime",
      "container:create-container",
      "container:created",
      "container:starting",
      "container:started",
      "container:checkpointed",
      "container:restored",
      "container:deleted",
    ] as const)
      host.on(name, () => {
        events.push(name);
        return undefined as never;
      });
  },
};

/** Writes what it has to write. */
function saves(sandbox: FakeSandbox): void {
  let objects = -1;
  let given = 0;
  sandbox.answers.checkpoint = (_params, fds) => {
    objects = fds[0]!;
    given = 0;
    writeSync(objects, OBJECTS_TEXT.slice(0, manifest.spaces === 0 ? undefined : 10));
    writePages(fds[1]!, MIB, [0, 65536 * 4]);
    return { manifest };
  };
  sandbox.answers.checkpointPages = ({ from }, fds) => {
    expect(from).toBe(given);
    expect(fds.length).toBeLessThanOrEqual(32);
    given += fds.length;
    expect(given).toBeLessThanOrEqual(manifest.spaces);
    writeMemory(fds, from);
    // Only now the objects are complete.
    if (given === manifest.spaces) writeSync(objects, OBJECTS_TEXT.slice(10));
    return {};
  };
}
/** More than one request's. */
const SPACES = 40;

beforeEach(async () => {
  bench = new Bench();
  directory = mkdtempSync(join(tmpdir(), "runts-checkpoint-"));
  place = join(directory, "img");
  events = [];
  restoredObjects = [];
  manifest = sandboxManifest({ spaces: SPACES, cpu: { xfeatures: 3, words: ["fpu"], areas: [] } });
  bench.launcher.onLaunch = saves;
  bench.launcher.onRestore = ({ files, memory }: RestoreImage) => {
    const [objects, pages] = files as [number, number];
    const bytes = Buffer.alloc(fstatSync(objects).size);
    readSync(objects, bytes, 0, bytes.length, 0);
    restoredObjects.push(bytes.toString());
    const page = Buffer.alloc(4096);
    readSync(pages, page, 0, 4096, 65536 * 4);
    expect(page[0]).toBe(7 + ((65536 * 4) % 251));
    // A sandbox can only read what it shares with others.
    for (const fd of [objects, pages, ...memory]) expect(() => writeSync(fd, "x")).toThrow();
    expect(memory.length).toBe(manifest.spaces);
    for (const [space, fd] of memory.entries()) {
      const { size, places, value } = memoryOf(space, 7);
      expect(fstatSync(fd).size).toBe(size);
      readSync(fd, page, 0, 4096, places[1]!);
      expect(page[0]).toBe((value + (places[1]! % 251)) & 0xff);
    }
  };
  await bench.open(checkpoint, recorder);
});
afterEach(async () => {
  await bench.close();
  rmSync(directory, { recursive: true, force: true });
});

async function run(name: string, ...argv: string[]): Promise<unknown> {
  const known = bench.registry.commands.get(name)!;
  const declaration = "load" in known ? await known.load() : known;
  const { values, positionals } = parseFlags(declaration.flags ?? {}, argv, {
    who: "test",
    stopAtPositional: declaration.stopAtPositional === true,
  });
  bench.output = "";
  return declaration.run(bench.context, values as never, positionals);
}
const refusal = (name: string, ...argv: string[]): Promise<RuntimeError> =>
  run(name, ...argv).then(
    () => new RuntimeError("host", "it was done"),
    (error: RuntimeError) => error,
  );
async function running(id = "c"): Promise<FakeSandbox> {
  await run("create", "--bundle", bench.bundle, id);
  await run("start", id);
  events = [];
  return bench.launcher.last;
}
const status = async (id = "c") => (await bench.context.containers()).get(id).status;
const requested = (sandbox: FakeSandbox) => sandbox.requests.map(({ method }) => method);

describe("checkpoint", () => {
  test("writes an image, then the sandbox ends with 0; the container is stopped (row 71)", async () => {
    const sandbox = await running();
    await run("checkpoint", "--image-path", place, "c");
    expect(requested(sandbox).slice(-4)).toEqual(["checkpoint", "checkpointPages", "checkpointPages", "checkpointed"]);
    expect(sandbox.requests.slice(-3, -1).map(({ params, fds }) => [params, fds.length])).toEqual([
      [{ id: "c", from: 0 }, 32],
      [{ id: "c", from: 32 }, 8],
    ]);
    expect(sandbox.requests.at(-1)!.params).toEqual({ id: "c", keep: false });
    expect(isAlive(sandbox.ref)).toBe(false);
    expect(await status()).toBe("stopped");
    expect(events).toEqual(["container:checkpointed"]);
    const containers = await bench.context.containers();
    expect(await containers.wait("c")).toEqual({ exitCode: 0, signal: 0 });
    const image = Image.open(place);
    expect(image.container).toMatchObject({ id: "c", bundle: bench.bundle, overlay: "none" });
    expect(image.manifest).toEqual(manifest);
    image.close();
    await run("delete", "c");
  });
  test("with --leave-running it goes on, and nobody ends it", async () => {
    const sandbox = await running();
    await run("checkpoint", "--image-path", place, "--leave-running", "c");
    expect(requested(sandbox)).not.toContain("checkpointed");
    expect(sandbox.requests.at(-3)!.params).toEqual({ id: "c", leaveRunning: true });
    expect(await status()).toBe("running");
    expect(readFileSync(join(place, "objects.jsonl"), "utf8")).toBe(OBJECTS_TEXT);
  });
  test("a sandbox that has no address space is asked for none", async () => {
    manifest = { ...manifest, spaces: 0 };
    const sandbox = await running();
    await run("checkpoint", "--image-path", place, "c");
    expect(requested(sandbox)).not.toContain("checkpointPages");
    await run("restore", "--image-path", place, "--detach", "d");
    expect(bench.launcher.last.restored[0]!.memory).toEqual([]);
  });
  test("a sandbox that says nonsense of its address spaces, or cannot write one: no image", async () => {
    const sandbox = await running();
    for (const spaces of [4097, -1, 1.5, "3", undefined] as never[]) {
      manifest = { ...manifest, spaces };
      expect((await refusal("checkpoint", "--image-path", place, "c")).message).toBe(
        `container c cannot be saved: it has ${spaces} address spaces`,
      );
    }
    manifest = { ...manifest, spaces: SPACES };
    const { checkpointPages } = sandbox.answers;
    sandbox.answers.checkpointPages = (params, fds) => {
      if (params.from > 0) throw new ControlError("no space left on device", 28);
      return checkpointPages!(params, fds);
    };
    expect((await refusal("checkpoint", "--image-path", place, "c")).message).toBe(
      "container c cannot be saved: no space left on device",
    );
    expect(sandbox.requests.at(-1)).toMatchObject({ method: "checkpointed", params: { id: "c", keep: true } });
    expect((await refusal("branch", "c", "x")).message).toMatch(/no space left on device/);
    expect(await status()).toBe("running");
    expect(readdirSync(directory)).toEqual([]);
  });
  test("a paused container is saved, and stays paused with --leave-running", async () => {
    await running();
    await run("pause", "c");
    await run("checkpoint", "--image-path", place, "--leave-running", "c");
    expect(await status()).toBe("paused");
  });
  test("a save that fails leaves the container running, and no image", async () => {
    const sandbox = await running();
    sandbox.answers.checkpoint = () => {
      throw new ControlError("Kernel.net is a function");
    };
    const { message } = await refusal("checkpoint", "--image-path", place, "c");
    expect(message).toBe("container c cannot be saved: Kernel.net is a function");
    expect(sandbox.requests.at(-1)).toMatchObject({ method: "checkpointed", params: { id: "c", keep: true } });
    expect(await status()).toBe("running");
    expect(readdirSync(directory)).toEqual([]);
  });
  test("an image that cannot be put in its place: the container goes on", async () => {
    const sandbox = await running();
    sandbox.answers.checkpoint = (_params, [objects, pages]) => {
      writeSync(objects!, OBJECTS_TEXT);
      writePages(pages!, MIB, [0]);
      manifest = { ...manifest, spaces: 0 };
      mkdirSync(place);
      writeFileSync(join(place, "other"), "");
      return { manifest };
    };
    const { code, message } = await refusal("checkpoint", "--image-path", place, "c");
    expect([code, message]).toEqual([
      "already-exists",
      `cannot write an image to ${place}: somebody else has written it`,
    ]);
    expect(sandbox.requests.at(-1)!.params).toEqual({ id: "c", keep: true });
    expect(await status()).toBe("running");
    expect(readdirSync(directory)).toEqual(["img"]);
  });
  test("a sandbox that does not go when it should is killed", async () => {
    const sandbox = await running();
    sandbox.answers.checkpointed = () => ({});
    await run("checkpoint", "--image-path", place, "c");
    expect(isAlive(sandbox.ref)).toBe(false);
    expect(await status()).toBe("stopped");
  });
  test("none of that name, not started, stopped: runc's words, and nothing is written (row 29)", async () => {
    expect((await refusal("checkpoint", "--image-path", place, "c")).message).toBe(MESSAGES.notFound);
    await run("create", "--bundle", bench.bundle, "c");
    expect((await refusal("checkpoint", "--image-path", place, "c")).message).toBe(MESSAGES.notRunning);
    await run("kill", "c", "KILL");
    expect((await refusal("checkpoint", "--image-path", place, "c")).message).toBe(MESSAGES.notRunning);
    expect(readdirSync(directory)).toEqual([]);
  });
  test("what is in the way is an error before the sandbox is asked", async () => {
    const sandbox = await running();
    await run("checkpoint", "--image-path", place, "--leave-running", "c");
    await running("d");
    const { code, message } = await refusal("checkpoint", "--image-path", place, "d");
    expect([code, message]).toEqual(["already-exists", `cannot write an image to ${place}: it holds an image already`]);
    expect(requested(bench.launcher.last)).not.toContain("checkpoint");
    await run("checkpoint", "--image-path", place, "--replace", "--leave-running", "d");
    await run("checkpoint", "--image-path", place, "--replace", "--compression=zstd", "c");
    expect(isAlive(sandbox.ref)).toBe(false);
    expect(readdirSync(place).sort()).toEqual([
      "inventory.img",
      "manifest.json",
      "memory",
      "objects.jsonl",
      "pages.zst",
    ]);
    expect(readdirSync(join(place, "memory")).length).toBe(SPACES);
  });
  test("what go-runc, containerd and Podman type (3.1-checkpoint, 3.1-podman)", async () => {
    mkdirSync(place, { mode: 0o700 });
    await running();
    const flags =
      "--work-path /w --parent-path ../p --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode soft --empty-ns network --leave-running --link-remap --auto-dedup";
    await run("checkpoint", "--image-path", place, ...flags.split(" "), "c");
    Image.open(place).close();
    const pre = join(directory, "pre");
    await run("checkpoint", "--image-path", pre, "--pre-dump", "c");
    expect([await status(), readdirSync(pre)]).toEqual(["running", []]);
    for (const flag of ["--lazy-pages", "--page-server=1.2.3.4:5"])
      expect((await refusal("checkpoint", flag, "c")).code).toBe("unsupported");
  });
});

async function saved(more: string[] = []): Promise<void> {
  await running();
  await run("checkpoint", "--image-path", place, ...more, "c");
  await run("delete", "c");
  events = [];
}

describe("restore", () => {
  for (const compression of ["none", "zstd"])
    test(`makes a container from an image, and lets it go on; compression ${compression} (row 72, 3.1-restore, 3.1-conmon-restore)`, async () => {
      await saved([`--compression=${compression}`]);
      const pidFile = join(directory, "pid");
      const flags =
        "--work-path /w --tcp-established --ext-unix-sk --shell-job --file-locks -no-subreaper --no-pivot --lsm-profile selinux:x";
      await run(
        "restore",
        "--image-path",
        place,
        "--detach",
        "--bundle",
        bench.bundle,
        "--pid-file",
        pidFile,
        ...flags.split(" "),
        "--manage-cgroups-mode",
        "soft",
        "d",
      );
      const sandbox = bench.launcher.last;
      expect(readFileSync(pidFile, "utf8")).toBe(String(sandbox.ref.pid));
      expect(await status("d")).toBe("running");
      expect(sandbox.options.clock).toEqual(manifest.clock);
      expect(sandbox.restored).toMatchObject([{ manifest, allowChanged: false, as: "restored" }]);
      expect(restoredObjects).toEqual([OBJECTS_TEXT]);
      expect(requested(sandbox)).toEqual(["commit", "start"]);
      // runc runs the hooks of the runtime, and none of the container's.
      expect(events).toEqual([
        "container:creating",
        "container:create-runtime",
        "container:created",
        "container:restored",
      ]);
    });
  test("without --bundle it is the image's", async () => {
    await saved();
    await run("restore", "--image-path", place, "--detach", "--allow-changed", "d");
    expect((await bench.context.containers()).get("d").bundle).toBe(bench.bundle);
    expect(bench.launcher.last.restored[0]!.allowChanged).toBe(true);
  });
  test("attached, the status is the container's, and it is deleted afterwards", async () => {
    await saved();
    bench.launcher.onLaunch = (sandbox) => {
      sandbox.answers.start = () => void setTimeout(() => void sandbox.exit({ exitCode: 3, signal: 0 }), 50);
    };
    expect(await run("restore", "--image-path", place, "d")).toBe(3);
    expect((await bench.context.containers()).store.ids()).toEqual([]);
  });
  test("create goes on from an image, too; start lets it (row 72)", async () => {
    await saved();
    await run("create", "--bundle", bench.bundle, "--image-path", place, "d");
    expect(await status("d")).toBe("created");
    expect(requested(bench.launcher.last)).toEqual(["commit"]);
    await run("start", "d");
    expect(await status("d")).toBe("running");
    expect(events).not.toContain("container:starting");
    expect(events.at(-1)).toBe("container:restored");
  });
  test("what is restored can be saved again", async () => {
    await saved();
    await run("restore", "--image-path", place, "--detach", "d");
    const second = join(directory, "second");
    await run("checkpoint", "--image-path", second, "d");
    Image.open(second).close();
  });
  test("a damaged image: the part, the reason, and nothing is left", async () => {
    await saved();
    const pages = join(place, "pages");
    const bytes = readFileSync(pages);
    bytes[65536 * 4]! ^= 1;
    writeFileSync(pages, bytes);
    const { code, message } = await refusal("restore", "--image-path", place, "--detach", "d");
    expect([code, message]).toEqual(["image", `image ${place}: pages: damaged: its checksum is another`]);
    bytes[65536 * 4]! ^= 1;
    writeFileSync(pages, bytes);
    const memory = readFileSync(join(place, "memory/39"));
    memory[0]! ^= 1;
    writeFileSync(join(place, "memory/39"), memory);
    expect((await refusal("restore", "--image-path", place, "--detach", "d")).message).toBe(
      `image ${place}: memory/39: damaged: its checksum is another`,
    );
    expect(isAlive(bench.launcher.last.ref)).toBe(false);
    expect(bench.launcher.last.restored).toEqual([]);
    expect((await bench.context.containers()).store.ids()).toEqual([]);
    chmodSync(place, 0o755);
    const sandboxes = bench.launcher.sandboxes.size;
    expect((await refusal("restore", "--image-path", place, "d")).message).toMatch(/others than its owner/);
    expect((await refusal("restore", "--image-path", `${place}x`, "d")).message).toMatch(/it does not exist/);
    expect(bench.launcher.sandboxes.size).toBe(sandboxes);
  });
  test("a processor that lacks what the programs may use", async () => {
    manifest = sandboxManifest({ cpu: { xfeatures: 3, words: ["fpu", "warp_drive"], areas: [] } });
    await saved();
    const sandboxes = bench.launcher.sandboxes.size;
    const { code, message } = await refusal("restore", "--image-path", place, "--detach", "d");
    expect(code).toBe("unsupported");
    expect(message).toBe("this host's processor lacks what the saved programs may use: warp_drive");
    expect(bench.launcher.sandboxes.size).toBe(sandboxes);
  });
  test("a sandbox that refuses: its reason, and nothing is left", async () => {
    await saved();
    bench.launcher.onRestore = () => {
      throw new RuntimeError("sandbox", "/etc/hosts has changed");
    };
    expect((await refusal("restore", "--image-path", place, "--detach", "d")).message).toBe("/etc/hosts has changed");
    expect(isAlive(bench.launcher.last.ref)).toBe(false);
    expect((await bench.context.containers()).store.ids()).toEqual([]);
  });
  test("an id that exists: that container stays as it is", async () => {
    await saved();
    const sandbox = await running("d");
    expect((await refusal("restore", "--image-path", place, "--detach", "d")).message).toBe(MESSAGES.alreadyExists);
    expect(isAlive(sandbox.ref)).toBe(true);
  });
  test("another bundle: its root and volumes, the image's process and mounts", async () => {
    bench.writeSpec({
      process: { cwd: "/", args: ["server"], user: { uid: 0, gid: 0 } },
      mounts: [
        { destination: "/a", type: "bind", source: "/old-a", options: ["bind", "ro"] },
        { destination: "/t", type: "tmpfs", source: "tmpfs" },
        { destination: "/b", type: "bind", source: "/old-b", options: ["bind"] },
      ],
    });
    await saved();
    bench.writeSpec({
      mounts: [
        { destination: "/b", type: "bind", source: "/new-b", options: ["bind"] },
        { destination: "/a", type: "bind", source: "/new-a", options: ["bind"] },
        { destination: "/more", type: "bind", source: "/more", options: ["bind"] },
      ],
      annotations: { of: "the bundle" },
    });
    await run("restore", "--image-path", place, "--bundle", bench.bundle, "--detach", "d");
    const { spec } = (await bench.context.containers()).get("d");
    expect(spec.process!.args).toEqual(["server"]);
    expect(spec.annotations).toEqual({ of: "the bundle" });
    expect(spec.mounts!.map(({ source, options }) => [source, options])).toEqual([
      ["/new-a", ["bind", "ro"]],
      ["tmpfs", undefined],
      ["/new-b", ["bind"]],
    ]);
    expect(bench.log.lines.join("\n")).toMatch(/has a bind mount at \/more that the image has not/);
    bench.writeSpec({});
    expect((await refusal("restore", "--image-path", place, "--bundle", bench.bundle, "--detach", "e")).message).toBe(
      "the image has a bind mount at /a, the bundle has none",
    );
  });
});

describe("branch", () => {
  test("copies that each know their number; the original goes on", async () => {
    const sandbox = await running();
    const kept: number[] = [];
    const { checkpoint: save, checkpointPages: saveMemory } = sandbox.answers;
    sandbox.answers.checkpoint = (params, fds) => {
      kept.push(...fds.map(dup));
      return save!(params, fds);
    };
    sandbox.answers.checkpointPages = (params, fds) => {
      kept.push(...fds.map(dup));
      return saveMemory!(params, fds);
    };
    await run("branch", "c", "x", "y");
    expect(bench.output).toBe("x\ny\n");
    expect(requested(sandbox)).not.toContain("checkpointed");
    expect(await status()).toBe("running");
    // The original has had a descriptor that it could write to: the copies' pages are sealed against that.
    expect(kept.length).toBe(2 + SPACES);
    for (const fd of kept.splice(0)) {
      expect(() => writeSync(fd, "x", 0)).toThrow(/EPERM|not permitted/);
      closeSync(fd);
    }
    const [, x, y] = [...bench.launcher.sandboxes.values()];
    expect([x!, y!].map(({ restored }) => restored[0]!.as)).toEqual(["branched 1", "branched 2"]);
    expect(restoredObjects).toEqual([OBJECTS_TEXT, OBJECTS_TEXT]);
    expect([await status("x"), await status("y")]).toEqual(["running", "running"]);
    expect((await bench.context.containers()).get("y").bundle).toBe(bench.bundle);
  });
  test("with --count they are numbered", async () => {
    await running();
    await run("branch", "--count", "3", "--work-path", directory, "c");
    expect(bench.output).toBe("c-1\nc-2\nc-3\n");
    expect(readdirSync(directory)).toEqual([]);
    expect(branchIds("c", ["n"], 2)).toEqual(["n-1", "n-2"]);
    expect(() => branchIds("c", ["a", "b"], 2)).toThrow(/one name/);
    expect(() => branchIds("c", [], undefined)).toThrow(/expected names/);
    expect(() => branchIds("c", ["a", "a"], undefined)).toThrow(/named twice/);
  });
  test("a name that is taken, or is none, is an error before anything is saved", async () => {
    const sandbox = await running();
    await run("create", "--bundle", bench.bundle, "y");
    expect((await refusal("branch", "c", "x", "y")).message).toBe(MESSAGES.alreadyExists);
    expect((await refusal("branch", "c", "x", "a/b")).message).toStartWith(MESSAGES.invalidId);
    expect(requested(sandbox)).not.toContain("checkpoint");
  });
  test("each has a cgroup of its own", async () => {
    const { branchedSpec } = await import("../../core/image.ts");
    const path = (cgroupsPath: string) =>
      branchedSpec({ ociVersion: "1.0.2", linux: { cgroupsPath } } as Spec, "x").linux!.cgroupsPath!;
    expect(["/a/b/c", "/a/b/c/", "c", "s.slice:runts:c", ""].map(path)).toEqual([
      "/a/b/x",
      "/a/b/x",
      "x",
      "s.slice:runts:x",
      "",
    ]);
  });
});

describe("pods", () => {
  const named = (type: string, sandbox: string, name: string) => ({
    annotations: {
      "io.kubernetes.cri.container-type": type,
      "io.kubernetes.cri.sandbox-id": sandbox,
      "io.kubernetes.cri.container-name": name,
    },
  });
  /** A sandbox `s` with a container `m`, both running. */
  async function pod(): Promise<FakeSandbox> {
    const { default: multicontainer } = await import("../multicontainer/index.ts");
    await bench.close();
    bench = new Bench();
    bench.launcher.onLaunch = saves;
    await bench.open(checkpoint, multicontainer);
    bench.writeSpec(named("sandbox", "s", ""));
    await run("create", "--bundle", bench.bundle, "s");
    await run("start", "s");
    const sandbox = bench.launcher.last;
    bench.writeSpec(named("container", "s", "web"));
    await run("create", "--bundle", bench.bundle, "m");
    await run("start", "m");
    const part = (id: string) => ({ id, trees: 1, stdio: 3, ended: {} });
    manifest = sandboxManifest({ ...manifest, containers: [part("s"), part("m")] });
    return sandbox;
  }

  test("they are saved as a whole, by their first container", async () => {
    await pod();
    expect((await refusal("checkpoint", "--image-path", place, "m")).message).toMatch(/lives in the sandbox s/);
    expect((await refusal("branch", "s", "x")).message).toMatch(
      /other containers live.*\(m\): pods cannot be branched/,
    );
    expect(existsSync(place)).toBe(false);
    await run("checkpoint", "--image-path", place, "s");
    const image = Image.open(place);
    expect([image.container, ...image.others].map(({ id }) => id)).toEqual(["s", "m"]);
    expect(image.others[0]).toMatchObject({ bundle: bench.bundle, spec: named("container", "s", "web") });
    image.close();
    expect([await status("s"), await status("m")]).toEqual(["stopped", "stopped"]);
  });

  test("each is restored as the part that has its id or its name; the first brings the image", async () => {
    await pod();
    await run("checkpoint", "--image-path", place, "s");
    await run("delete", "m");
    await run("delete", "s");
    bench.writeSpec(named("sandbox", "t", ""));
    await run("restore", "--detach", "--image-path", place, "--bundle", bench.bundle, "t");
    const sandbox = bench.launcher.last;
    expect(sandbox.restored.map(({ part, files }) => [part, files.length])).toEqual([[0, 2]]);
    bench.writeSpec(named("container", "t", "db"));
    const stranger = await refusal("restore", "--detach", "--image-path", place, "--bundle", bench.bundle, "n");
    expect(stranger.message).toMatch(/which of the image's containers n is cannot be told.*\(m\)/);
    bench.writeSpec(named("container", "t", "web"));
    await run("restore", "--detach", "--image-path", place, "--bundle", bench.bundle, "n");
    expect(sandbox.restored.map(({ part, files }) => [part, files.length])).toEqual([
      [0, 2],
      [1, 0],
    ]);
    expect((await bench.context.containers()).get("n").sandboxId).toBe("t");
  });

  test("the first one has a sandbox of its own, the others have not", async () => {
    await pod();
    await run("checkpoint", "--image-path", place, "s");
    await run("delete", "m");
    bench.writeSpec({});
    const alone = await refusal("restore", "--detach", "--image-path", place, "--bundle", bench.bundle, "m");
    expect(alone.message).toMatch(/m cannot have a sandbox of its own: in the image it lived in that of s/);
    expect((await bench.context.containers()).store.ids()).toEqual(["s"]);
  });

  test("a manifest whose containers are not those of the objects is refused", async () => {
    await pod();
    await run("checkpoint", "--image-path", place, "s");
    const path = join(place, "manifest.json");
    writeFileSync(path, readFileSync(path, "utf8").replace(/"id": "m",(?=\s+"trees")/, '"id": "x",'));
    const { reseal } = await import("./reseal.ts");
    await expect(reseal(place)).rejects.toThrow("container, others: they are not those of sandbox.containers");
  });
});

describe("do", () => {
  const plain = { exitCode: 0, signal: 0 };
  /** A program that asks to be saved `times` times, and ends then. */
  function asks(times: number, told: unknown[]): void {
    bench.launcher.onLaunch = (sandbox) => {
      saves(sandbox);
      let asked = 0;
      const end = Promise.withResolvers<object>();
      sandbox.answers.checkpointWanted = () => (asked++ < times ? {} : end.promise);
      sandbox.answers.checkpointed = (params) => {
        told.push(params);
        if (told.length === times) setTimeout(() => void sandbox.exit(plain), 10);
      };
    };
  }
  beforeEach(async () => {
    const { default: doPlugin } = await import("../do/index.ts");
    await bench.close();
    bench = new Bench();
    await bench.open(checkpoint, doPlugin);
  });

  test("--save writes an image whenever the program asks, the last one stays; --from goes on there", async () => {
    const told: object[] = [];
    asks(2, told);
    const restore = bench.launcher.onRestore;
    expect(await run("do", "--save", place, "--", "true", "x")).toBe(0);
    expect(told).toMatchObject([{ keep: true }, { keep: true }]);
    expect(told.some((each) => "errno" in each)).toBe(false);
    const image = Image.open(place);
    expect(image.container).toMatchObject({ bundle: null, overlay: "memory" });
    expect(image.container.spec.process!.args).toEqual(["true", "x"]);
    image.close();

    bench.launcher.onLaunch = (sandbox) => {
      sandbox.answers.start = () => void setTimeout(() => void sandbox.exit({ exitCode: 4, signal: 0 }), 10);
    };
    bench.launcher.onRestore = restore;
    expect(await run("do", "--from", place)).toBe(4);
    const { restored, containers, options } = bench.launcher.last;
    expect(restored).toMatchObject([{ as: "restored", allowChanged: false }]);
    expect(containers[0]!.spec.process!.args).toEqual(["true", "x"]);
    expect(options.clock).toEqual(manifest.clock);
  });
  test("a save that fails is told to the program, which goes on", async () => {
    const told: unknown[] = [];
    asks(1, told);
    writeFileSync(place, "in the way");
    expect(await run("do", "--save", place, "true")).toBe(0);
    expect(told).toMatchObject([{ keep: true, errno: 5 }]);
    expect(bench.log.lines.join("\n")).toMatch(/cannot write an image to .*: it exists, and is not a directory/);
  });
  test("a program that does not ask: a warning, no image", async () => {
    bench.launcher.onLaunch = (sandbox) => {
      sandbox.answers.checkpointWanted = () => new Promise(() => {});
      sandbox.answers.start = () => void setTimeout(() => void sandbox.exit(plain), 10);
    };
    expect(await run("do", "--save", place, "true")).toBe(0);
    expect(bench.log.lines).toEqual(["warning: the program has not asked to be saved: no image was written"]);
    expect(existsSync(place)).toBe(false);
  });
  test("what --from does not go with; a container's image is not for do", async () => {
    for (const more of [["true"], ["-e", "A=1"], ["--cwd=/"], ["--root", "/tmp"], ["-v", "/a:/b"], ["--read-only"]])
      expect((await refusal("do", "--from", place, ...more)).message).toMatch(/is the image's/);
    expect((await refusal("do")).message).toBe('"do" requires a minimum of 1 argument(s)');
    bench.launcher.onLaunch = saves;
    await saved();
    expect((await refusal("do", "--from", place)).message).toMatch(/it is of the container c: see `runts restore`/);
  });
});

test("without the plugin there are no images", async () => {
  await bench.close();
  bench = new Bench();
  await bench.open();
  expect(bench.registry.commands.has("checkpoint")).toBe(false);
  expect((await refusal("create", "--bundle", bench.bundle, "--image-path", place, "d")).message).toMatch(
    /no plugin reads or writes images/,
  );
});
