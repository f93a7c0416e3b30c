/** Samples and tables: what the benchmarks have in common. No known gaps. */

export interface Sample {
  min: number;
  median: number;
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function sample(values: number[]): Sample {
  return { min: Math.min(...values), median: median(values) };
}

/** Three significant digits, never in scientific notation. */
export function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value >= 0.1 ? value.toFixed(2) : value.toFixed(3);
}

export interface Table {
  title: string;
  /** A sentence on what is shown, and in which unit. */
  note: string;
  head: string[];
  rows: string[][];
  /** What the reader must know to judge the figures: failures, disturbances. */
  remarks: string[];
}

export function asText(table: Table): string {
  const lines = [table.head, ...table.rows];
  const widths = table.head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const format = (line: string[]) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "-".repeat(width));
  const remarks = table.remarks.map((remark) => `! ${remark}`);
  return [
    table.title,
    `(${table.note})`,
    "",
    format(table.head),
    format(rule),
    ...table.rows.map(format),
    ...remarks,
    "",
  ].join("\n");
}

export function asMarkdown(table: Table): string {
  const format = (line: string[]) => `| ${line.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = table.head.map((_, column) => (column === 0 ? ":--" : "--:"));
  return [
    `## ${table.title}`,
    "",
    table.note,
    "",
    format(table.head),
    format(rule),
    ...table.rows.map(format),
    "",
  ].join("\n");
}
