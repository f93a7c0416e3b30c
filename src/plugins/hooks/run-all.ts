/** Runs the hooks of one kind: in their order, each with the container's state on its input and a limit of time. */
import { closeSync, openSync } from "node:fs";
import { RuntimeError } from "../../core/errors.ts";
import type { ContainerView, OciState } from "../../core/plugin.ts";
import type { Hook, Hooks } from "../../core/spec/schema.ts";

/** What is kept of a hook's output for the message of its failure. */
const OUTPUT_MAX = 16 * 1024;
/** How long the output of a hook that has ended may still be held open by what it started. */
const OUTPUT_GRACE_MS = 200;
/** How often it is asked whether the container is still wanted. */
const WATCH_MS = 100;

const EPERM = 1;

/** Those that are programs of the host. */
export type HookKind = Exclude<keyof Hooks, "startContainer">;

/** The status that the state on a hook's input has, where it is not the container's own. */
const STATUS: Readonly<Record<HookKind, OciState["status"]>> = {
  prestart: "creating",
  createRuntime: "creating",
  createContainer: "creating",
  poststart: "running",
  poststop: "stopped",
};

/** In order, up to the first that fails, which is thrown. */
export async function runAll(kind: HookKind, hooks: readonly Hook[], container: ContainerView): Promise<void> {
  for (const [i, hook] of hooks.entries()) await runOne(kind, i, hook, container);
}

/** Every one, whatever becomes of those before. */
export async function runEach(kind: HookKind, hooks: readonly Hook[], container: ContainerView): Promise<Error[]> {
  const errors: Error[] = [];
  for (const [i, hook] of hooks.entries()) {
    try {
      await runOne(kind, i, hook, container);
    } catch (error) {
      errors.push(error as Error);
    }
  }
  return errors;
}

async function runOne(kind: HookKind, index: number, hook: Hook, container: ContainerView): Promise<void> {
  const inContainer = kind === "createContainer";
  const state: OciState = { ...container.state, status: STATUS[kind] };
  const fail = (reason: string, cause?: unknown) =>
    new RuntimeError("hook", `error running ${kind} hook #${index} (${hook.path}): ${reason}`, {
      id: container.id,
      path: hook.path,
      cause,
    });
  // args is the whole argv; the first of it need not be the path.
  const [argv0 = hook.path, ...args] = hook.args ?? [];
  const start = (by: readonly string[] = []) =>
    Bun.spawn({
      ...(by.length === 0 ? { cmd: [hook.path, ...args], argv0 } : { cmd: [...by, hook.path, argv0, ...args] }),
      // Exactly as given: nothing of ours.
      env: Object.fromEntries((hook.env ?? []).map(pair)),
      cwd: container.bundle,
      stdin: new Blob([JSON.stringify(state)]),
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
  let child: ReturnType<typeof start>;
  try {
    child = inContainer ? await inNamespacesOf(container.sandboxPid, start) : start();
  } catch (cause) {
    throw fail("it cannot be started", cause);
  }
  const output = [collect(child.stdout), collect(child.stderr)] as const;
  let timedOut = false;
  const timer =
    hook.timeout === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          killGroup(child.pid);
        }, hook.timeout * 1000);
  // Somebody who deletes the container by force must not wait for a hook that hangs.
  let abandoned = false;
  const watch = setInterval(() => {
    if (!container.unwanted) return;
    abandoned = true;
    killGroup(child.pid);
  }, WATCH_MS);
  const exitCode = await child.exited;
  clearTimeout(timer);
  clearInterval(watch);
  const [stdout, stderr] = await Promise.all(output.map((each) => each.text()));
  const said = `stdout: ${stdout!.trim()}, stderr: ${stderr!.trim()}`;
  if (abandoned) throw fail(`the container is being deleted, ${said}`);
  if (timedOut) throw fail(`timeout executing hook: it took longer than ${hook.timeout} s, ${said}`);
  if (child.signalCode !== null) throw fail(`signal: ${child.signalCode}, ${said}`);
  if (exitCode !== 0) throw fail(`exit status ${exitCode}, ${said}`);
}

const pair = (text: string): [string, string] => {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, ""] : [text.slice(0, equals), text.slice(equals + 1)];
};

/** The hook and what it started: it leads a group of its own. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Ended meanwhile.
  }
}

/** Reads on while the hook runs (it must not block on a full pipe), keeps the beginning. */
function collect(stream: ReadableStream<Uint8Array>): { text(): Promise<string> } {
  const chunks: Uint8Array[] = [];
  let kept = 0;
  const reader = stream.getReader();
  const done = (async () => {
    for (;;) {
      const { value } = await reader.read();
      if (value === undefined) return;
      if (kept < OUTPUT_MAX) chunks.push(value.subarray(0, OUTPUT_MAX - kept));
      kept += value.length;
    }
  })();
  return {
    async text() {
      // A daemon that the hook has left behind may hold the pipe for ever.
      await Promise.race([done, Bun.sleep(OUTPUT_GRACE_MS)]);
      return Buffer.concat(chunks).toString("utf8");
    },
  };
}

/**
 * Starts a process while this thread is in the sandbox's network, UTS and IPC namespaces. An ordinary user may not enter
 * them from here: for it `start` is given the beginning of a command line that does.
 */
async function inNamespacesOf<T>(pid: number, start: (by?: readonly string[]) => T): Promise<T> {
  const { enterProgram, hostCalls } = await import("../../native/host-calls.ts");
  const left: number[] = [];
  const opened: number[] = [];
  try {
    for (const kind of ["net", "uts", "ipc"]) {
      const back = openSync(`/proc/thread-self/ns/${kind}`, "r");
      opened.push(back);
      const there = openSync(`/proc/${pid}/ns/${kind}`, "r");
      opened.push(there);
      const result = hostCalls.joinNamespace(there);
      if (result === -EPERM && left.length === 0) return start([enterProgram(), `${pid}`]);
      if (result < 0) throw new Error(`cannot enter the sandbox's ${kind} namespace (errno ${-result})`);
      left.push(back);
    }
    return start();
  } finally {
    for (const back of left.reverse()) {
      const result = hostCalls.joinNamespace(back);
      // Going on in the wrong namespace would be worse than ending here.
      if (result < 0) process.exit(1);
    }
    for (const fd of opened) closeSync(fd);
  }
}
