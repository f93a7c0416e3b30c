/** Tables as Go's tabwriter sets them in runc: columns at least 12 wide, three blanks between. */
import type { Valibot } from "../flags.ts";

export const formatSchema = (v: Valibot) => v.picklist(["table", "json"], 'expected "table" or "json"');

export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 12, cell.length + 3);
  return rows
    .map((row) => `${row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join("")}\n`)
    .join("");
}
