/**
 * Help texts. cac gathers the sections; here they get the words of this program, lines of 80 columns, and what is hidden
 * is left out.
 */
import type { Command } from "cac";
import type { AnyCommand } from "./registry.ts";

export type Option = Command["options"][number];
type Sections = Parameters<NonNullable<Command["helpCallback"]>>[0];

/** What a help text is about: a command, or the whole program when there is none. */
export interface Subject {
  readonly declaration: AnyCommand | undefined;
  /** Those to show. */
  readonly options: readonly Option[];
  readonly commands: readonly Command[];
}

const PROGRAM = "runts runs containers, and single programs, on its own user-space Linux kernel.";

export function helpSections(sections: Sections, { declaration, options, commands }: Subject): Sections {
  const description = declaration !== undefined && "description" in declaration ? declaration.description : undefined;
  const texts = sections.flatMap(({ title, body }): Sections => {
    switch (title) {
      case undefined:
        return [{ body: declaration?.summary ?? PROGRAM }];
      case "Usage": {
        const usage = { body: `Usage: ${body.replace(/^\s*\$ /, "")}` };
        return description === undefined ? [usage] : [usage, { body: description.replace(/^\n|\s+$/g, "") }];
      }
      case "Commands":
        return [{ title, body: table(byName(commands).map((each) => [each.name, each.description])) }];
      case "Options":
        if (options.length === 0) return [];
        return [
          {
            title: declaration === undefined ? "Global flags (before the command)" : "Flags",
            body: table(options.map(row)),
          },
        ];
      case "Examples":
        return [{ title, body: body.replace(/^/gm, "  ") }];
      default:
        // For each command a line that says it has --help.
        return [];
    }
  });
  return [
    ...texts,
    { body: declaration === undefined ? "`runts help COMMAND` tells more of each." : "Global flags: `runts --help`." },
  ];
}

const byName = (commands: readonly Command[]): Command[] => [...commands].sort((a, b) => (a.name < b.name ? -1 : 1));

function row({ rawName, description, config }: Option): [string, string] {
  const fallback: unknown = config.default;
  return [rawName, fallback === undefined || fallback === "" ? description : `${description} (default: ${fallback})`];
}

/** Two columns, the first as wide as needed up to a bound, the second wrapped at 80. */
function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(32, Math.max(0, ...rows.map(([left]) => left.length)));
  const lines: string[] = [];
  for (const [left, right] of rows) {
    let line = `  ${left.padEnd(width)}  `;
    if (left.length > width) {
      lines.push(`  ${left}`);
      line = " ".repeat(width + 4);
    }
    for (const word of right.split(" ")) {
      if (line.length + word.length > 80 && line.trim() !== "") {
        lines.push(line.trimEnd());
        line = " ".repeat(width + 4);
      }
      line += `${word} `;
    }
    lines.push(line.trimEnd());
  }
  return lines.join("\n");
}
