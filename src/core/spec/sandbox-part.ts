/** What of a spec the sandbox itself is made by, before anything of its first container is known to it. */
import type { EarlyMount, SandboxNamespaces } from "../sandbox.ts";
import type { Spec } from "./schema.ts";

/** `bundle`: null for a single program that runs as who started it. */
export function sandboxNamespaces(spec: Spec, bundle: string | null): SandboxNamespaces {
  const namespaces = spec.linux?.namespaces ?? [];
  // Mappings are those of a user namespace that is made for the container.
  const own = namespaces.some(({ type, path }) => type === "user" && !path);
  return {
    uidMappings: own ? (spec.linux?.uidMappings ?? []) : [],
    gidMappings: own ? (spec.linux?.gidMappings ?? []) : [],
    usualIds: bundle === null ? "caller" : "container",
    network: namespaces.find(({ type }) => type === "network")?.path || null,
  };
}

/** Mounts that no host directory is bound by: a plugin's file system may be among them. */
export function earlyMounts(spec: Spec): EarlyMount[] {
  return (spec.mounts ?? [])
    .filter((mount) => !isBind(mount))
    .map(({ destination, type, source, options }) => ({
      destination,
      type: type ?? "",
      source: source ?? "none",
      options: options ?? [],
    }));
}

/** A mount of a directory or a file of the host. */
export function isBind(mount: { type?: string | undefined; options?: readonly string[] | undefined }): boolean {
  return mount.type === "bind" || (mount.options ?? []).some((o) => o === "bind" || o === "rbind");
}
