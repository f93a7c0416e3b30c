/** Checkpoint, restore, branch: the commands, and the images that other commands save to and start from. */
import { definePlugin } from "../../core/plugin.ts";

export default definePlugin({
  name: "checkpoint",
  description: "save containers to images, restore and branch them",
  host(host) {
    host.command({
      name: "checkpoint",
      summary: "save a running container to an image",
      load: async () => (await import("./checkpoint.ts")).default,
    });
    host.command({
      name: "restore",
      summary: "make a container from an image, and let it go on",
      load: async () => (await import("./restore.ts")).default,
    });
    host.command({
      name: "branch",
      summary: "make copies of a running container, which go on from here",
      load: async () => (await import("./branch.ts")).default,
    });
    host.command({
      name: "image",
      summary: "look at images of containers, check and compare them",
      load: async () => (await import("./image.ts")).default,
    });
    host.on("image:open", async ({ directory, workPath }) => {
      const { Image } = await import("./read.ts");
      const { ProgressLine } = await import("./progress.ts");
      const line = new ProgressLine("reading");
      return Image.open(directory, { workPath, progress: (bytes, total) => line.at(bytes, total) });
    });
    host.on("image:save", async (request) => {
      await (await import("./save.ts")).save(request);
      return true as const;
    });
  },
});
