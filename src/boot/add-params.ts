/**
 * The request `add`, both ends: one more container for a sandbox, by descriptors.
 *
 * They come in this order: the root's tree; one for each bind mount of the spec, in its order; the state directory's tree
 * and a control socket that listens in it; cgroup.procs files; those of the first process, from 0 on; the waiter's; of a
 * sandbox's first container the network broker's. What does not fit into one message comes before it, with requests
 * `descriptors` of the same connection.
 */
import type { ContainerOptions, RestoreImage } from "../core/sandbox.ts";
import { isBind } from "../core/spec/sandbox-part.ts";
import type { Mount, Spec } from "../core/spec/schema.ts";

export interface AddParams extends Pick<ContainerOptions, "id" | "bundle" | "spec" | "overlay" | "terminal" | "share"> {
  descriptors: DescriptorCounts;
}

/**
 * A `restore`: its descriptors are those of an `add`, then, with the image's first container, its objects, its pages, and the
 * memory of each address space.
 */
export type RestoreParams = AddParams & Pick<RestoreImage, "manifest" | "part" | "allowChanged" | "as">;
/** Descriptors of an image: of `checkpoint`, open for writing; of `restore`, for reading. */
export const IMAGE_DESCRIPTORS = 2;

/** What the descriptors are. */
export interface DescriptorCounts {
  binds: number;
  /** The state directory and the control socket. */
  state: boolean;
  cgroups: number;
  stdio: number;
  waiter: boolean;
  /** Absent: 0. */
  network?: 0 | 1;
}

/** Requests between launcher and sandbox, beside core's ControlMethods. */
export interface AddMethods {
  /** Keeps the descriptors for an `add` of this connection. */
  descriptors: { params: Record<string, never>; result: Record<string, never> };
  add: { params: AddParams; result: { warnings: readonly string[] } };
  restore: { params: RestoreParams; result: { warnings: readonly string[] } };
}

/** A message carries at most 64. */
export const DESCRIPTORS_PER_MESSAGE = 32;
/** Those that one container may bring. */
export const DESCRIPTORS_MAX = 4096;

/** The mounts of a spec that need a descriptor each, in their order. */
export const bindsOf = (spec: Spec): Mount[] => (spec.mounts ?? []).filter(isBind);

/** How many descriptors there are in all. */
export const descriptorCount = ({ binds, state, cgroups, stdio, waiter, network = 0 }: DescriptorCounts): number =>
  1 + binds + (state ? 2 : 0) + cgroups + stdio + (waiter ? 1 : 0) + network;
