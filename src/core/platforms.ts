/** What a launch takes from the global flags: the platform asked for (or the first that this host can run), the tracing. */
import type { CommandContext } from "./command.ts";
import { RuntimeError } from "./errors.ts";
import { didYouMean } from "./flags.ts";

export function choosePlatform({ globals, plugins }: Pick<CommandContext, "globals" | "plugins">): string {
  const { platforms } = plugins;
  const names = platforms.map((each) => each.name);
  if (globals.platform !== undefined && globals.platform !== "") {
    const chosen = platforms.find((each) => each.name === globals.platform);
    if (chosen === undefined)
      throw new RuntimeError(
        "usage",
        `unknown platform "${globals.platform}"${didYouMean(globals.platform, names)} (there are: ${names.join(", ")})`,
        { action: "runts" },
      );
    const missing = chosen.missing();
    if (missing !== null) throw new RuntimeError("unsupported", `platform ${chosen.name} cannot run here: ${missing}`);
    return chosen.name;
  }
  const reasons: string[] = [];
  for (const platform of platforms) {
    const missing = platform.missing();
    if (missing === null) return platform.name;
    reasons.push(`${platform.name}: ${missing}`);
  }
  throw new RuntimeError("unsupported", `no platform can run here (${reasons.join("; ") || "none is enabled"})`);
}

/** `--strace` alone: every call; `--strace=a,b`: those; null: none. */
export function straceNames(value: unknown): readonly string[] | null {
  if (value === true) return [];
  return typeof value === "string" ? value.split(",").filter((name) => name !== "") : null;
}
