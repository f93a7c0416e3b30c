/**
 * A unified diff of two short texts, for people to read.
 *
 * Longest common subsequence over lines in a full table: fine for the few thousand lines that a test prints, and cut
 * off above that.
 */
type Line = { mark: " " | "-" | "+"; text: string };

function compare(a: string[], b: string[]): Line[] {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      table[i * width + j] =
        a[i] === b[j]
          ? table[(i + 1) * width + j + 1]! + 1
          : Math.max(table[(i + 1) * width + j]!, table[i * width + j + 1]!);
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ mark: " ", text: a[i]! });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || table[(i + 1) * width + j]! >= table[i * width + j + 1]!))
      lines.push({ mark: "-", text: a[i++]! });
    else lines.push({ mark: "+", text: b[j++]! });
  }
  return lines;
}

/** Lines of `expected` that are missing begin with "-", those of `actual` that are too many with "+". */
export function unifiedDiff(expected: string, actual: string, context = 2, limit = 60): string {
  const cap = 3000;
  const a = expected.split("\n");
  const b = actual.split("\n");
  // Equal ends need no table.
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  const from = Math.max(0, head - context);
  const lines = compare(a.slice(from, from + cap), b.slice(from, from + cap));
  const keep = new Array<boolean>(lines.length).fill(false);
  lines.forEach((line, at) => {
    if (line.mark !== " ") keep.fill(true, Math.max(0, at - context), at + context + 1);
  });
  const out = ["--- host", "+++ runts"];
  let skipped = from > 0;
  for (let at = 0; at < lines.length; at++) {
    if (!keep[at]) {
      skipped = true;
      continue;
    }
    if (skipped) out.push("@@");
    skipped = false;
    out.push(lines[at]!.mark + lines[at]!.text.slice(0, 300));
  }
  if (out.length > limit) return `${out.slice(0, limit).join("\n")}\n… ${out.length - limit} more lines`;
  return out.join("\n");
}
