/**
 * Pods: containers that share one sandbox, as Kubernetes (by containerd or CRI-O) and Podman ask for it by annotations.
 * What such a container shares with which other one is not said here: that is in its spec's linux.namespaces.
 */
import { RuntimeError } from "../../core/errors.ts";
import { definePlugin } from "../../core/plugin.ts";
import { isNamedSandbox, isSandbox, wantedSandbox } from "../../core/spec/cri.ts";

export default definePlugin({
  name: "multicontainer",
  description: "pods of Kubernetes and Podman: their containers share a sandbox",
  host(host) {
    host.on("sandbox:find", ({ container, lookUp }) => {
      const id = wantedSandbox(container.spec);
      if (id === null) return undefined;
      const sandbox = lookUp(id);
      if (sandbox !== null && !isSandbox(sandbox.spec))
        throw new RuntimeError("wrong-state", `container ${id}, named as its sandbox, is none by its annotations`, {
          id: container.id,
        });
      return { id };
    });
    // Whoever makes pods gives their first container the least weight there is, for a program that sleeps. Here it is
    // the weight of the kernel that serves all of them: it must not starve beside the programs that wait for it.
    host.on("container:creating", ({ spec }) => {
      if (isNamedSandbox(spec)) delete spec.linux?.resources?.cpu?.shares;
    });
  },
});
