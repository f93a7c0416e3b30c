/** `runts state ID`: the OCI state, with what runc adds to it. */
import { command } from "../command.ts";
import type { Container } from "../container/container.ts";

export default command({
  name: "state",
  summary: "print a container's state",
  args: "<container-id>",
  async run(context, _flags, [id]) {
    const container = (await context.containers()).get(id!);
    context.out(`${JSON.stringify(runcState(container), null, 2)}\n`);
  },
});

/** runc's fields in runc's order, and for one that lives in another's sandbox, whose; `list --format json` has them too. */
export function runcState(container: Container): object {
  const { metadata } = container;
  return {
    ociVersion: container.spec.ociVersion,
    id: container.id,
    pid: container.pid,
    status: container.status,
    bundle: container.bundle,
    rootfs: container.spec.root?.path ?? "",
    created: metadata.created,
    ...(container.spec.annotations === undefined ? {} : { annotations: container.spec.annotations }),
    owner: metadata.owner,
    ...(container.sandboxId === container.id ? {} : { sandbox: container.sandboxId }),
  };
}
