/**
 * The OCI hooks of config.json: executables that are told of a container's life.
 *
 * Source: runtime-spec config.md, "POSIX-platform Hooks". prestart, createRuntime, poststart and poststop run in the
 * runtime's namespaces. startContainer hooks are programs of the container and run in its kernel, as its process would
 * (src/boot/hooks.ts). createContainer hooks are programs of the runtime that run in the container's namespaces, as far
 * as a guest kernel shares these with the host: its sandbox's network, UTS and IPC namespaces. The container's mounts are
 * inside the guest kernel: such a hook sees the host's files, and pids.
 */
import { definePlugin } from "../../core/plugin.ts";

export default definePlugin({
  name: "hooks",
  description: "run the OCI hooks of config.json",
  host(host) {
    // Loaded when there is a hook to run: most containers have none.
    const run = async (...args: Parameters<typeof import("./run-all.ts").runAll>) =>
      (await import("./run-all.ts")).runAll(...args);
    const any = (list: readonly unknown[] | undefined) => list !== undefined && list.length > 0;

    host.on("container:create-runtime", async ({ container }) => {
      const { prestart, createRuntime } = container.spec.hooks ?? {};
      if (any(prestart)) await run("prestart", prestart!, container);
      if (any(createRuntime)) await run("createRuntime", createRuntime!, container);
    });
    host.on("container:create-container", async ({ container }) => {
      const hooks = container.spec.hooks?.createContainer;
      if (any(hooks)) await run("createContainer", hooks!, container);
    });
    host.on("container:starting", async ({ container, sandbox }) => {
      const hooks = container.spec.hooks?.startContainer;
      if (any(hooks)) await (await import("./run-inside.ts")).runInside(hooks!, container, sandbox);
    });
    host.on("container:started", async ({ container }) => {
      const hooks = container.spec.hooks?.poststart;
      if (any(hooks)) await run("poststart", hooks!, container);
    });
    host.on("container:deleted", async ({ container }) => {
      const hooks = container.spec.hooks?.poststop;
      if (!any(hooks)) return;
      const { runEach } = await import("./run-all.ts");
      for (const error of await runEach("poststop", hooks!, container)) host.log.warn(error.message);
    });
  },
});
