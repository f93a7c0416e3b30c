/**
 * What those who make pods say about a container in annotations: the first of a pod ("sandbox") or one that joins it.
 *
 * Sources: containerd's CRI plugin (io.kubernetes.cri.*), CRI-O (io.kubernetes.cri-o.*). Podman (seen: 4.3) writes CRI-O's
 * into the containers of its pods, and nothing into a pod's infra container but that it is Podman's.
 */
import type { Spec } from "./schema.ts";

const KEYS = [
  {
    type: "io.kubernetes.cri.container-type",
    sandbox: "io.kubernetes.cri.sandbox-id",
    name: "io.kubernetes.cri.container-name",
  },
  {
    type: "io.kubernetes.cri-o.ContainerType",
    sandbox: "io.kubernetes.cri-o.SandboxID",
    name: "io.kubernetes.container.name",
  },
] as const;
const MANAGER = "io.container.manager";

/**
 * The sandbox that a container asks to join; null when it asks for none. Podman also names one that there never is: in a
 * pod that shares nothing it makes no infra container, and its containers have every namespace to themselves.
 */
export function wantedSandbox(spec: Spec): string | null {
  const annotations = spec.annotations ?? {};
  const paths = (spec.linux?.namespaces ?? []).some(({ path }) => path !== undefined && path !== "");
  if (annotations[MANAGER] === "libpod" && !paths) return null;
  for (const { type, sandbox } of KEYS) if (annotations[type] === "container") return annotations[sandbox] ?? null;
  return null;
}

/** What the pod calls a container, whatever id that has; null: it has no name. */
export function nameInPod({ annotations = {} }: Spec): string | null {
  for (const { type, name } of KEYS) if (annotations[type] === "container") return annotations[name] ?? null;
  return null;
}

/** Whether it is said to be made for others to join. */
export function isNamedSandbox({ annotations = {} }: Spec): boolean {
  return KEYS.some(({ type }) => annotations[type] === "sandbox");
}

/** Whether others may join its sandbox. */
export function isSandbox(spec: Spec): boolean {
  const { annotations = {} } = spec;
  if (isNamedSandbox(spec)) return true;
  return annotations[MANAGER] === "libpod" && KEYS.every(({ type }) => annotations[type] === undefined);
}

/** What is wrong with them, or null. */
export function validateCri(annotations: Readonly<Record<string, string>>): string | null {
  for (const { type, sandbox } of KEYS) {
    const value = annotations[type];
    if (value === undefined || value === "sandbox") continue;
    if (value !== "container") return `annotations.${type}: expected "sandbox" or "container", got "${value}"`;
    if (!annotations[sandbox]) return `annotations.${sandbox}: is missing (a container joins that sandbox)`;
  }
  return null;
}
