/**
 * File systems of plugins that the first container will mount, made before the jail closes, so that they can open what they
 * need of the host. Those of later containers, and what guests mount themselves, are made inside of it.
 */
import type { EarlyMount } from "../core/sandbox.ts";
import type { Mount as OciMount } from "../core/spec/schema.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { FileSystem } from "../kernel/vfs/inode.ts";
import { ownOptions } from "./rootfs.ts";

export class EarlyFileSystems {
  private readonly made: { mount: EarlyMount; fs: FileSystem }[] = [];

  /** Makes those of a type for which `wanted` is true. One that is refused ends the start. */
  make(kernel: Kernel, mounts: readonly EarlyMount[], wanted: (type: string) => boolean): void {
    for (const mount of mounts) {
      if (!wanted(mount.type)) continue;
      const fs = kernel.fileSystemTypes
        .get(mount.type)!
        .make(kernel, mount.source, ownOptions(mount.options).own, null);
      if (typeof fs === "number")
        throw new Error(`mount of type ${mount.type} on ${mount.destination}: ${errnoName(-fs)}`);
      this.made.push({ mount, fs });
    }
  }

  /** One that was made for the same, for a restored kernel, which takes it over. */
  takeSame(type: string, source: string, own: readonly string[]): FileSystem | undefined {
    const wanted = JSON.stringify([type, source, own]);
    const at = this.made.findIndex(
      ({ mount }) => JSON.stringify([mount.type, mount.source, ownOptions(mount.options).own]) === wanted,
    );
    return at < 0 ? undefined : this.made.splice(at, 1)[0]!.fs;
  }

  /** The one that was made for a mount of a spec, which takes it over. */
  take({ destination, type, source, options }: OciMount): FileSystem | undefined {
    const wanted = JSON.stringify([destination, type, source ?? "none", options ?? []]);
    const at = this.made.findIndex(
      ({ mount }) => JSON.stringify([mount.destination, mount.type, mount.source, mount.options]) === wanted,
    );
    return at < 0 ? undefined : this.made.splice(at, 1)[0]!.fs;
  }
}
