/** The commands of the core, by name and summary; a command's file is loaded when it is used. */
import type { LazyCommand } from "../command.ts";

export const builtInCommands: readonly LazyCommand[] = [
  {
    name: "completion",
    summary: "print completions for a shell",
    load: async () => (await import("./completion.ts")).default,
  },
  {
    name: "create",
    summary: "make a container, without starting it",
    load: async () => (await import("./create.ts")).default,
  },
  { name: "delete", summary: "delete containers", load: async () => (await import("./delete.ts")).default },
  {
    name: "events",
    summary: "show a container's statistics, once or again and again",
    load: async () => (await import("./events.ts")).default,
  },
  { name: "exec", summary: "run a program in a container", load: async () => (await import("./exec.ts")).default },
  {
    name: "features",
    summary: "tell what this runtime and this host can do",
    load: async () => (await import("./features.ts")).default,
  },
  {
    name: "install",
    summary: "register this executable with container engines",
    load: async () => (await import("./install.ts")).install,
  },
  { name: "kill", summary: "send a signal to a container", load: async () => (await import("./kill.ts")).default },
  { name: "list", summary: "list containers", load: async () => (await import("./list.ts")).default },
  { name: "pause", summary: "stop a container's processes", load: async () => (await import("./pause.ts")).pause },
  { name: "plugins", summary: "list the plugins", load: async () => (await import("./plugins.ts")).default },
  {
    name: "port-forward",
    summary: "carry connections of this host into a container",
    load: async () => (await import("./port-forward.ts")).default,
  },
  { name: "ps", summary: "list a container's processes", load: async () => (await import("./ps.ts")).default },
  {
    name: "resume",
    summary: "let a paused container go on",
    load: async () => (await import("./pause.ts")).resume,
  },
  {
    name: "run",
    summary: "make a container, start it, wait for it and delete it",
    load: async () => (await import("./run.ts")).default,
  },
  { name: "spec", summary: "write a config.json to begin with", load: async () => (await import("./spec.ts")).default },
  {
    name: "start",
    summary: "let a created container's program run",
    load: async () => (await import("./start.ts")).default,
  },
  { name: "state", summary: "print a container's state", load: async () => (await import("./state.ts")).default },
  {
    name: "uninstall",
    summary: "undo what install has done",
    load: async () => (await import("./install.ts")).uninstall,
  },
  {
    name: "update",
    summary: "change a container's limits",
    load: async () => (await import("./update.ts")).default,
  },
  { name: "wait", summary: "wait until a container ends", load: async () => (await import("./wait.ts")).default },
];
