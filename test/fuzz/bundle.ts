/**
 * The container that guests of the fuzzer run in: this host's files under a memory overlay, all capabilities inside, and
 * limits that keep the host safe.
 *
 * It is a container, not `do`: only there is the first process spared the signals of the others, and the supervisor of
 * the guest programs relies on that.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { allCapabilities } from "../../src/core/spec/capabilities.ts";
import { defaultSpec } from "../../src/core/spec/default.ts";
import { cleanEnv } from "../harness/process.ts";

const MEMORY = 4 << 30;
const PIDS = 1000;

export function writeBundle(folder: string, args: readonly string[]): void {
  const spec = defaultSpec(false, 0, 0);
  const caps = [...allCapabilities];
  spec.process = {
    ...spec.process!,
    terminal: false,
    args: [...args],
    env: Object.entries(cleanEnv).map(([name, value]) => `${name}=${value}`),
    cwd: "/",
    capabilities: { bounding: caps, effective: caps, permitted: caps, inheritable: [], ambient: [] },
    rlimits: [{ type: "RLIMIT_NOFILE", soft: 20000, hard: 20000 }],
    noNewPrivileges: false,
  };
  spec.root = { path: "/", readonly: false };
  spec.hostname = "fuzz";
  spec.mounts = [
    ...(spec.mounts ?? []).filter((mount) => mount.destination !== "/dev/mqueue"),
    { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["mode=1777"] },
  ];
  spec.linux = { ...spec.linux, resources: { memory: { limit: MEMORY }, pids: { limit: PIDS } } };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(spec));
}
