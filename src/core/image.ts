/** Images of containers, as the core knows them: who makes and reads the directories is a plugin (`image:open`, `image:save`). */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { CommandContext } from "./command.ts";
import { RuntimeError } from "./errors.ts";
import type { ContainerOptions, RestoredAs, RestoreImage, SandboxHandle, SandboxManifest } from "./sandbox.ts";
import { nameInPod, wantedSandbox } from "./spec/cri.ts";
import { isBind } from "./spec/sandbox-part.ts";
import type { Mount, Spec } from "./spec/schema.ts";

/** What an image says of the container that it is of. */
export interface SavedContainer {
  id: string;
  /** null: it was a `do`. */
  bundle: string | null;
  spec: Spec;
  overlay: ContainerOptions["overlay"];
}

/** Readable descriptors. */
export interface ImageFiles {
  /** Buffers and files of the kernel. */
  pages: number;
  /** Memory of each address space, in order. */
  memory: readonly number[];
}

/** An image whose manifest and objects are as they were written. */
export interface OpenedImage {
  /** The one that the sandbox was made for. */
  readonly container: SavedContainer;
  /** Those that had joined it. */
  readonly others: readonly SavedContainer[];
  readonly manifest: SandboxManifest;
  /** A readable descriptor. */
  readonly objects: number;
  /** What else there is, when it has been found to be whole (unpacked, where it was packed). The image's to close. */
  files(): Promise<ImageFiles>;
  close(): void;
}

export interface SaveRequest {
  container: SavedContainer;
  /** One that has joined its sandbox. */
  other(id: string): SavedContainer;
  sandbox: SandboxHandle;
  directory: string;
  /** The sandbox goes on by itself when it is saved. */
  leaveRunning: boolean;
  compression: "none" | "zstd";
  /** Replace an image of whatever container. */
  replace: boolean;
}

/** An image, and what shall become of it. */
export interface Restoring {
  image: OpenedImage;
  /** Which of its containers: 0 is the one that a sandbox is made for. */
  part: number;
  allowChanged: boolean;
  as: RestoredAs;
}

export async function openImage(
  { plugins }: Pick<CommandContext, "plugins">,
  directory: string,
  workPath?: string,
): Promise<OpenedImage> {
  const image = await plugins.first("image:open", { directory, workPath });
  if (image === undefined) throw noPlugin();
  return image;
}

/** An image and the spec to restore it by. `bundle`: null: the one that it was made with. The image is the caller's to close. */
export async function openForRestore(
  context: Pick<CommandContext, "plugins" | "log">,
  directory: string,
  options: { id: string; bundle: string | null; workPath?: string | undefined },
): Promise<{ image: OpenedImage; part: number; bundle: string; spec: Spec }> {
  const image = await openImage(context, directory, options.workPath);
  try {
    const { loadSpec } = await import("./spec/load.ts");
    const given = options.bundle === null ? null : loadSpec(resolve(options.bundle));
    const part = partOf(image, options.id, given?.spec ?? null);
    const saved = savedContainers(image)[part]!;
    const bundle = resolve(options.bundle ?? saved.bundle ?? ".");
    const loaded = given ?? loadSpec(bundle);
    const { spec, warnings } = restoredSpec(saved.spec, loaded.spec);
    for (const warning of [...loaded.warnings, ...warnings]) context.log.warn(warning);
    return { image, part, bundle, spec };
  } catch (error) {
    image.close();
    throw error;
  }
}

/** In the order of their parts. */
export const savedContainers = ({ container, others }: OpenedImage): SavedContainer[] => [container, ...others];

/**
 * Which of an image's containers one is to become: the one whose id it has; else, when its bundle says that it joins a
 * sandbox, the one that has its name in the pod; else the first.
 */
export function partOf(image: OpenedImage, id: string, spec: Spec | null): number {
  const saved = savedContainers(image);
  const same = saved.findIndex((each) => each.id === id);
  if (same >= 0 || saved.length === 1 || spec === null || wantedSandbox(spec) === null) return Math.max(0, same);
  const name = nameInPod(spec);
  const named = saved.findIndex((each) => name !== null && nameInPod(each.spec) === name);
  if (named > 0) return named;
  const ids = image.others.map((each) => each.id).join(", ");
  throw new RuntimeError(
    "image",
    `which of the image's containers ${id} is cannot be told: it has the id, or the name in the pod, of none of them (${ids})`,
    { id },
  );
}

/** Writes the image of a sandbox. It ends, or goes on, by `checkpointed`, which is the caller's to send. */
export async function saveImage({ plugins }: Pick<CommandContext, "plugins">, request: SaveRequest): Promise<void> {
  if ((await plugins.first("image:save", request)) === undefined) throw noPlugin();
}

const noPlugin = () => new RuntimeError("plugin", 'no plugin reads or writes images: is "checkpoint" disabled?');

/** For the launcher, when the files are there; they are those of the first container alone. */
export function restoreImage({ image, part, allowChanged, as }: Restoring, files: ImageFiles | null): RestoreImage {
  const { pages, memory } = files ?? { pages: -1, memory: [] };
  return {
    manifest: image.manifest,
    part,
    allowChanged,
    as,
    files: files === null ? [] : [image.objects, pages],
    memory,
  };
}

/**
 * The spec of a restored container. What its kernel has made of the saved one stays: the process, the mounts, whether the root
 * can be written. What belongs to the host is the bundle's: where the root and the bind mounts come from, hooks,
 * annotations, cgroups and limits, namespaces.
 */
export function restoredSpec(saved: Spec, bundle: Spec): { spec: Spec; warnings: string[] } {
  const warnings: string[] = [];
  const offered = (bundle.mounts ?? []).filter(isBind);
  const mounts = (saved.mounts ?? []).map((mount): Mount => {
    if (!isBind(mount)) return mount;
    const at = offered.findIndex(({ destination }) => destination === mount.destination);
    if (at < 0)
      throw new RuntimeError("invalid-spec", `the image has a bind mount at ${mount.destination}, the bundle has none`);
    return { ...mount, source: offered.splice(at, 1)[0]!.source! };
  });
  for (const { destination } of offered)
    warnings.push(`the bundle has a bind mount at ${destination} that the image has not: it is not there`);
  const spec: Spec = {
    ...bundle,
    ...(saved.process === undefined ? {} : { process: saved.process }),
    ...(saved.hostname === undefined ? {} : { hostname: saved.hostname }),
    root: { ...saved.root, path: bundle.root?.path ?? saved.root?.path ?? "/" },
    mounts,
  };
  return { spec, warnings };
}

/** For a branch: a cgroup beside that of the original, by the new name. */
export function branchedSpec(spec: Spec, id: string): Spec {
  const path = spec.linux?.cgroupsPath;
  if (!path) return spec;
  const colon = path.lastIndexOf(":");
  const cut = colon >= 0 ? colon : path.replace(/\/+$/, "").lastIndexOf("/");
  return { ...spec, linux: { ...spec.linux, cgroupsPath: `${path.slice(0, cut + 1)}${id}` } };
}

/** Throws when the host's processor lacks what a saved program may use. `flags`: as in /proc/cpuinfo. */
export function checkCpu({ cpu, arch }: SandboxManifest, flags: ReadonlySet<string>): void {
  if (arch !== "x86-64") throw new RuntimeError("unsupported", `the image is of a program for ${arch}`);
  const missing = cpu.words.filter((word) => !flags.has(word));
  if (missing.length === 0) return;
  throw new RuntimeError(
    "unsupported",
    `this host's processor lacks what the saved programs may use: ${missing.slice(0, 8).join(", ")}${missing.length > 8 ? `, and ${missing.length - 8} more` : ""}`,
  );
}

/** As the host lists them, and as programs ask the processor itself. */
export async function cpuFlags(): Promise<Set<string>> {
  const { cpuFeatures } = await import("../platform/cpu-features.ts");
  const line = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "latin1"));
  return new Set([...(line?.[1] ?? "").trim().split(/\s+/), ...cpuFeatures().words]);
}
