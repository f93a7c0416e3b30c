/** Runs startContainer hooks: in the container, one after the other, up to the first that fails. */
import { RuntimeError } from "../../core/errors.ts";
import type { ContainerView, OciState } from "../../core/plugin.ts";
import type { SandboxHandle } from "../../core/sandbox.ts";
import type { Hook } from "../../core/spec/schema.ts";

export async function runInside(
  hooks: readonly Hook[],
  container: ContainerView,
  sandbox: SandboxHandle,
): Promise<void> {
  // The pid is the container's process as the hook sees it.
  const state: OciState = { ...container.state, status: "created", pid: 1 };
  for (const [i, hook] of hooks.entries()) {
    const fail = (reason: string, cause?: unknown) =>
      new RuntimeError("hook", `error running startContainer hook #${i} (${hook.path}): ${reason}`, {
        id: container.id,
        path: hook.path,
        cause,
      });
    try {
      const params = { id: container.id, hook, state: JSON.stringify(state) };
      const { status, timedOut, stdout, stderr } = await sandbox.request("hook", params);
      const said = `stdout: ${stdout.trim()}, stderr: ${stderr.trim()}`;
      if (timedOut) throw fail(`timeout executing hook: it took longer than ${hook.timeout} s, ${said}`);
      if (status.signal !== 0) throw fail(`signal: ${status.signal}, ${said}`);
      if (status.exitCode !== 0) throw fail(`exit status ${status.exitCode}, ${said}`);
    } catch (cause) {
      if (cause instanceof RuntimeError && cause.code === "hook") throw cause;
      // Who deletes the container by force has killed the sandbox.
      if (container.unwanted) throw fail("the container is being deleted, stdout: , stderr: ");
      throw fail("it cannot be run in the container", cause);
    }
  }
}
