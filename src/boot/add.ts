/**
 * The command's side of adding a container: opens what it may see of the host, and sends the descriptors.
 *
 * For the first container of a sandbox that goes on while the sandbox process starts; but nothing is sent before its jail
 * has closed. A root that shall be read-only is sealed when the mount points in it have been made.
 */
import { openSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import { type ContainerOptions, ControlError, type RestoreImage, type SandboxHandle } from "../core/sandbox.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { closeFd } from "../native/host.ts";
import { type AddMethods, type AddParams, bindsOf, DESCRIPTORS_MAX, DESCRIPTORS_PER_MESSAGE } from "./add-params.ts";
import { type Handle, startTimeOf } from "./handle.ts";
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, Opener } from "./opener.ts";
import { listenIn } from "./state-directory.ts";

/** What was opened for a container, in the order in which it is sent. */
interface Opened {
  root: number;
  binds: number[];
  /** State directory and control socket, or nothing. */
  state: number[];
  cgroups: number[];
}

export const addContainer = (sandbox: SandboxHandle, options: ContainerOptions, ready?: Promise<void>) =>
  setUp(sandbox, options, null, ready);
export const restoreContainer = (
  sandbox: SandboxHandle,
  options: ContainerOptions,
  image: RestoreImage,
  ready?: Promise<void>,
) => setUp(sandbox, options, image, ready);

async function setUp(
  sandbox: SandboxHandle,
  options: ContainerOptions,
  image: RestoreImage | null,
  ready?: Promise<void>,
): Promise<{ warnings: readonly string[] }> {
  const handle = sandbox as Handle;
  const opened: Opened = { root: -1, binds: [], state: [], cgroups: [] };
  let opener: Opener | undefined;
  try {
    checkCount(options, image);
    opener = Opener.start({ pid: handle.pid, isAlive: () => handle.isAlive() }, startTimeOf);
    openAll(opener, options, opened);
    const sealed = options.spec.root?.readonly === true && options.overlay !== "memory";
    // It ends while the sandbox starts; nobody need wait for that.
    if (!sealed) void opener.close();
    await Promise.all([handle.launched, ready]);
    const { warnings } = await send(handle, options, opened, image);
    // The sandbox has it.
    handle.broker?.release();
    const result = { warnings: [...handle.warnings.splice(0), ...warnings] };
    if (sealed) await seal(opener, handle, options.id, opened.root);
    return result;
  } catch (error) {
    throw await explained(handle, error, image === null ? "sandbox" : "image");
  } finally {
    for (const fd of [opened.root, ...opened.binds, ...opened.state, ...opened.cgroups]) if (fd >= 0) closeFd(fd);
    void opener?.close();
  }
}

/** A sandbox that could not be made has its own reason for whatever failed after that. */
async function explained(handle: Handle, error: unknown, refusedBy: "sandbox" | "image"): Promise<unknown> {
  if (!handle.isAlive())
    try {
      await handle.launched;
    } catch (reason) {
      return reason;
    }
  return error instanceof ControlError ? new RuntimeError(refusedBy, error.message) : error;
}

/** Before anything is opened. */
function checkCount({ spec, stdio, cgroups }: ContainerOptions, image: RestoreImage | null): void {
  const volumes = bindsOf(spec).length;
  const own = volumes + stdio.length + cgroups.length + 5;
  if (own > DESCRIPTORS_MAX)
    throw new RuntimeError(
      "sandbox",
      `${volumes} volumes and ${stdio.length} descriptors are more than the ${DESCRIPTORS_MAX} that a container can have`,
    );
  if (image === null || own + image.files.length + image.memory.length <= DESCRIPTORS_MAX) return;
  throw new RuntimeError(
    "sandbox",
    `the image's ${image.memory.length} address spaces, ${volumes} volumes and ${stdio.length} descriptors are more than the ${DESCRIPTORS_MAX} that a container can be restored with`,
  );
}

function openAll(opener: Opener, options: ContainerOptions, opened: Opened): void {
  const { spec, overlay, bundle, stateDirectory } = options;
  const inMemory = overlay === "memory";
  // A root that shall be read-only becomes so when the mount points in it have been made (seal).
  const attributes = (ro: boolean) => (ro ? MOUNT_ATTR_RDONLY : 0) | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const path = spec.root?.path ?? "/";
  const binds = bindsOf(spec);
  opened.root = opener.tree(path, attributes(inMemory));
  if (opened.root < 0) throw new RuntimeError("sandbox", `rootfs ${path}: ${errnoName(-opened.root)}`);
  for (const mount of binds) {
    const source = mount.source ?? "";
    const ro = inMemory && bundle !== null ? true : (mount.options ?? []).includes("ro");
    const fd = opener.forUse(source, attributes(ro));
    if (fd < 0) throw new RuntimeError("sandbox", `mount ${source} to ${mount.destination}: ${errnoName(-fd)}`);
    opened.binds.push(fd);
  }
  if (stateDirectory !== null) {
    const tree = opener.tree(stateDirectory, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (tree < 0)
      throw new RuntimeError("sandbox", `cannot open the state directory ${stateDirectory}: ${errnoName(-tree)}`);
    opened.state.push(tree);
    opened.state.push(listenIn(stateDirectory));
  }
  for (const directory of options.cgroups) opened.cgroups.push(openProcs(directory));
}

function openProcs(directory: string): number {
  try {
    return openSync(`${directory}/cgroup.procs`, "w");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new RuntimeError("host", `cannot put the container into the cgroup ${directory}: ${code}`);
  }
}

async function send(
  handle: Handle,
  options: ContainerOptions,
  opened: Opened,
  image: RestoreImage | null,
): Promise<AddMethods["add"]["result"]> {
  const { id, bundle, spec, overlay, terminal, share, stdio, waiter } = options;
  const broker = handle.broker?.descriptor ?? -1;
  const params: AddParams = {
    id,
    bundle,
    spec,
    overlay,
    terminal,
    share,
    descriptors: {
      binds: opened.binds.length,
      state: opened.state.length > 0,
      cgroups: opened.cgroups.length,
      stdio: stdio.length,
      waiter: waiter !== null,
      network: broker < 0 ? 0 : 1,
    },
  };
  const fds = [
    opened.root,
    ...opened.binds,
    ...opened.state,
    ...opened.cgroups,
    ...stdio,
    ...(waiter === null ? [] : [waiter]),
    ...(broker < 0 ? [] : [broker]),
    ...(image === null ? [] : [...image.files, ...image.memory]),
  ];
  while (fds.length > DESCRIPTORS_PER_MESSAGE)
    await handle.request("descriptors", {}, fds.splice(0, DESCRIPTORS_PER_MESSAGE));
  if (image === null) return handle.request("add", params, fds);
  const { manifest, part, allowChanged, as } = image;
  return handle.request("restore", { ...params, manifest, part, allowChanged, as }, fds);
}

/** The host's mount of a root that shall be read-only becomes so: for the sandbox process too. */
async function seal(opener: Opener, handle: Handle, id: string, root: number): Promise<void> {
  const sealed = opener.seal(root, MOUNT_ATTR_RDONLY);
  if (sealed === 0) return;
  // Of the first container that is the end of the sandbox, which does not answer then.
  await handle.request("destroy", { id }).catch(() => {});
  throw new RuntimeError("sandbox", `cannot make the root read-only: ${errnoName(-sealed)}`);
}
