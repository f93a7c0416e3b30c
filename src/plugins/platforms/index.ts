/** The platforms as the command line knows them; each is a plugin, so that one can be left out, or another added. */
import { existsSync, readFileSync } from "node:fs";
import { definePlugin } from "../../core/plugin.ts";

export const systrap = definePlugin({
  name: "systrap",
  description: "platform: seccomp traps answered through shared memory",
  host(host) {
    host.platform({
      name: "systrap",
      summary: "seccomp traps answered through shared memory (default)",
      missing: () => (hasTrapAction() ? null : "the host's seccomp has no trap action"),
    });
  },
  sandboxModule: () => import("./systrap.ts"),
});

export const ptrace = definePlugin({
  name: "ptrace",
  description: "platform: PTRACE_SYSEMU",
  host(host) {
    host.platform({
      name: "ptrace",
      summary: "ptrace; works where seccomp traps do not",
      missing: () => (tracingForbidden() ? "the host forbids tracing (kernel.yama.ptrace_scope is 3)" : null),
    });
  },
  sandboxModule: () => import("./ptrace.ts"),
});

function tracingForbidden(): boolean {
  const file = "/proc/sys/kernel/yama/ptrace_scope";
  return existsSync(file) && readFileSync(file, "utf8").trim() === "3";
}

/** A host that hides this file most likely has the action: the sandbox says so itself otherwise. */
function hasTrapAction(): boolean {
  const file = "/proc/sys/kernel/seccomp/actions_avail";
  return !existsSync(file) || readFileSync(file, "utf8").split(/\s+/).includes("trap");
}
