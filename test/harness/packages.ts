/**
 * The Debian packages that the tests need: installed when missing, as root, and otherwise the cases that need them are
 * skipped with the package's name.
 */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnv, run } from "./process.ts";
import { isRoot, root } from "./sandbox.ts";

interface Wanted {
  name: string;
  shownBy: string;
}

const wanted: Wanted[] = readFileSync(join(root, "test/packages.txt"), "utf8")
  .split("\n")
  .filter((line) => line.trim() !== "" && !line.startsWith("#"))
  .map((line) => {
    const [name, shownBy] = line.trim().split(/\s+/);
    return { name: name!, shownBy: shownBy ?? name! };
  });

function there(what: string): boolean {
  if (what.startsWith("/")) return existsSync(what);
  return cleanEnv["PATH"]!.split(":").some((dir) => {
    try {
      accessSync(join(dir, what), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The static busybox. Asked when a case runs, not before: the packages are installed first. */
export const busyboxPath = (): string | undefined =>
  ["/bin/busybox", "/usr/bin/busybox"].find((path) => existsSync(path));

export const missingPackages = (): string[] => wanted.filter((p) => !there(p.shownBy)).map((p) => p.name);

/** Is the package that brings this command missing? Gives the reason to skip, or undefined. */
export function whyMissing(needs: readonly string[]): string | undefined {
  const gone = missingPackages().filter((name) => needs.includes(name));
  return gone.length === 0 ? undefined : `Debian package not installed: ${gone.join(", ")}`;
}

export async function installPackages(): Promise<void> {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const line = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!isRoot) return console.log(`packages: ${missing.join(", ")} missing and not root; install them with: ${line}`);
  if (!there("apt-get")) return console.log(`packages: ${missing.join(", ")} missing and this is not a Debian system`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" } as Record<string, string>;
  const install = () => run(line.split(" "), { timeoutMs: 240_000, env });
  let done = await install();
  if (done.status !== 0) {
    await run(["apt-get", "update", "-q"], { timeoutMs: 120_000, env });
    done = await install();
  }
  if (done.status === 0) console.log(`packages: installed ${missing.join(", ")}`);
  else console.log(`packages: could not install ${missing.join(", ")}: ${done.stderr.trim().split("\n").at(-1)}`);
}
