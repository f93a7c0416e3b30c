/**
 * What Kubernetes says about a container in annotations: the first of a pod ("sandbox") or one that joins it.
 *
 * Sources: containerd's CRI plugin (io.kubernetes.cri.*), CRI-O (io.kubernetes.cri-o.*).
 */
import type { Spec } from "./schema.ts";

const KEYS = [
  { type: "io.kubernetes.cri.container-type", sandbox: "io.kubernetes.cri.sandbox-id" },
  { type: "io.kubernetes.cri-o.ContainerType", sandbox: "io.kubernetes.cri-o.SandboxID" },
] as const;

/** The sandbox that a container asks to join; null when it asks for none. */
export function wantedSandbox(spec: Spec): string | null {
  const annotations = spec.annotations ?? {};
  for (const { type, sandbox } of KEYS) if (annotations[type] === "container") return annotations[sandbox] ?? null;
  return null;
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
