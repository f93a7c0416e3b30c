/**
 * Podman's checkpoint and restore. Podman asks the CRIU that is installed for its version, and no more: the runtime saves
 * and restores by itself.
 *
 * Contract: 3.1-conmon-restore, 3.1-podman.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Case } from "../harness/suite.ts";
import { Podman } from "./podman.ts";
import { rootfsPackages } from "./rootfs.ts";
import { asTest, clientCases, type Test } from "./session.ts";

const COUNTING =
  "trap 'exit 9' TERM; exec 3>>/v/log; i=0; while :; do i=$((i + 1)); echo $i >&3; echo $i > /dev/shm/count; sleep 0.05; done";

const tests: Test<Podman>[] = [
  [
    "checkpoint-restore",
    async (p, expect) => {
      const volume = join(p.arena.dir, "volume");
      mkdirSync(volume);
      const counted = async (name: string): Promise<number> =>
        Number((await p.podman("exec", name, "cat", "/dev/shm/count")).stdout);
      const status = (name: string): Promise<string> => p.inspect(name, "{{.State.Status}}");
      await p.detached(expect, "saved", ["--volume", `${volume}:/v`], "sh", "-c", COUNTING);
      await expect.eventually("it counts", async () => (await counted("saved")) > 3);
      expect.result(
        "checkpoint --leave-running",
        await p.podman("container", "checkpoint", "--leave-running", "saved"),
      );
      expect.equal("status", await status("saved"), "running");
      const before = await counted("saved");
      expect.result("checkpoint", await p.podman("container", "checkpoint", "saved"));
      expect.equal("status", await status("saved"), "exited");
      expect.result("restore", await p.podman("container", "restore", "saved"));
      await expect.eventually("it counts on", async () => (await counted("saved")) > before + 3);
      // No number is missing or there twice, in a file that was open all the time.
      const lines = readFileSync(join(volume, "log"), "utf8").trimEnd().split("\n");
      expect.equal(
        "a line that is wrong",
        lines.findIndex((line, i) => line !== `${i + 1}`),
        -1,
      );

      // To a file, and from there as another container.
      const file = join(p.arena.dir, "exported.tar");
      const exported = await p.podman("container", "checkpoint", "--export", file, "--compress", "none", "saved");
      expect.result("checkpoint --export", exported);
      const imported = await p.podman("container", "restore", "--import", file, "--name", "copy");
      expect.result("restore --import", imported);
      await expect.eventually("the copy counts on", async () => (await counted("copy")) > lines.length);
      const inside = await p.podman("exec", "copy", "cat", "/proc/runts/checkpoint");
      expect.result("what it is", inside, { stdout: "restored\n" });
      expect.result("stop", await p.podman("stop", "--time", "10", "copy"));
      expect.equal("exit code", await p.inspect("copy", "{{.State.ExitCode}}"), "9");
      for (const name of ["copy", "saved"]) expect.result(`rm ${name}`, await p.podman("rm", name));
    },
  ],
];

export const podmanCheckpointCases = (filters: readonly string[]): Case[] =>
  clientCases(
    {
      name: "podman-checkpoint",
      needs: ["podman", "conmon", "criu", ...rootfsPackages],
      make: (arena) => new Podman(arena),
      tests: tests.map(asTest),
    },
    filters,
  );
