/** Images made here, of one layer, as `docker save` writes them: there is no registry. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archive } from "./rootfs.ts";

/** The `config` of an image: what a container does when it is told nothing else. */
export interface ImageSettings {
  Cmd?: string[];
  Entrypoint?: string[];
  Env?: string[];
  WorkingDir?: string;
}

/** Makes an archive of a directory's content under a name like "local/busybox:test"; gives its path. */
export async function imageArchive(rootfs: string, name: string, settings: ImageSettings): Promise<string> {
  const dir = `${rootfs}-${name.replaceAll(/[^a-z0-9]+/g, "-")}`;
  mkdirSync(dir);
  await archive(rootfs, join(dir, "layer.tar"));
  const diffId = new Bun.CryptoHasher("sha256").update(readFileSync(join(dir, "layer.tar"))).digest("hex");
  const layers = { type: "layers", diff_ids: [`sha256:${diffId}`] };
  const config = { architecture: "amd64", os: "linux", config: settings, rootfs: layers };
  writeFileSync(join(dir, "config.json"), JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }];
  writeFileSync(join(dir, "manifest.json"), JSON.stringify(manifest));
  return archive(dir, `${dir}.tar`);
}
