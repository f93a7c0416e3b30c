/**
 * `runts install` and `uninstall`: registers this executable with Docker (daemon.json), and says what to write where for
 * the engines whose configuration is a person's own text.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type CommandContext, command } from "../command.ts";
import { RuntimeError } from "../errors.ts";
import { flag } from "../flags.ts";

const flags = {
  configFile: flag.string({ value: "FILE", default: "/etc/docker/daemon.json", help: "Docker's configuration" }),
  runtime: flag.string({ value: "NAME", default: "runts", help: "name of the runtime there" }),
};

interface DaemonConfig {
  runtimes?: Record<string, { path?: string; runtimeArgs?: string[] }>;
  [other: string]: unknown;
}

export const install = command({
  name: "install",
  summary: "register this executable with container engines",
  args: "[...runtime-flag]",
  description: `
Writes the runtime into Docker's daemon.json (everything else in it stays) and
prints what to do for containerd, Podman, CRI-O and Kubernetes. What follows --
are global flags that Docker shall give to runts.`,
  examples: ["runts install -- --platform ptrace"],
  flags,
  stopAtPositional: true,
  run(context, { configFile, runtime }, args) {
    const path = executable();
    const config = read(configFile);
    config.runtimes = { ...config.runtimes, [runtime]: { path, ...(args.length > 0 ? { runtimeArgs: args } : {}) } };
    write(configFile, config);
    context.out(`${configFile}: runtime "${runtime}" is ${path}\n`);
    explain(context, runtime, path);
  },
});

export const uninstall = command({
  name: "uninstall",
  summary: "undo what install has done",
  flags,
  run(context, { configFile, runtime }) {
    if (!existsSync(configFile)) {
      context.out(`${configFile} does not exist: nothing to do\n`);
      return;
    }
    const config = read(configFile);
    if (config.runtimes?.[runtime] === undefined) {
      context.out(`${configFile}: there is no runtime "${runtime}"\n`);
      return;
    }
    delete config.runtimes[runtime];
    if (Object.keys(config.runtimes).length === 0) delete config.runtimes;
    write(configFile, config);
    context.out(`${configFile}: runtime "${runtime}" is gone; reload Docker (systemctl reload docker)\n`);
  },
});

function executable(): string {
  // Run from source, the executable is the JavaScript engine: registering that would be a trap.
  if (!Bun.main.startsWith("/$bunfs/"))
    throw new RuntimeError("unsupported", "only the built executable can be installed");
  return process.execPath;
}

function read(path: string): DaemonConfig {
  if (!existsSync(path)) return {};
  const text = readFileSync(path, "utf8");
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as DaemonConfig;
  } catch (cause) {
    throw new RuntimeError("invalid-config", `${path}: not valid JSON, it is left alone`, { path, cause });
  }
  throw new RuntimeError("invalid-config", `${path}: expected an object, it is left alone`, { path });
}

function write(path: string, config: DaemonConfig): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const temporary = `${path}.${process.pid}.tmp`;
    writeFileSync(temporary, `${JSON.stringify(config, null, 4)}\n`, { mode: 0o644 });
    if (existsSync(path)) chmodSync(temporary, statSync(path).mode & 0o777);
    renameSync(temporary, path);
  } catch (cause) {
    throw new RuntimeError("host", `cannot write ${path}`, { path, cause });
  }
}

function explain(context: CommandContext, name: string, path: string): void {
  context.out(`
Docker: reload it (systemctl reload docker), then
    docker run --runtime=${name} …

containerd: in /etc/containerd/config.toml (version 2), then restart it
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${name}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${name}.options]
        BinaryName = "${path}"
  or, without configuration
    ctr run --runtime io.containerd.runc.v2 --runc-binary ${path} …

Podman: in /etc/containers/containers.conf, then podman --runtime ${name} run …
    [engine]
    runtime_supports_json = ["crun", "runc", "kata", "runsc", "youki", "krun", "${name}"]
    [engine.runtimes]
    ${name} = ["${path}"]

CRI-O: in /etc/crio/crio.conf.d/50-${name}.conf, then restart it
    [crio.runtime.runtimes.${name}]
    runtime_path = "${path}"
    runtime_type = "oci"

Kubernetes: once containerd or CRI-O know it; pods name it with runtimeClassName: ${name}
    apiVersion: node.k8s.io/v1
    kind: RuntimeClass
    metadata:
      name: ${name}
    handler: ${name}
`);
}
