/** Turns valibot's issues into one line that names the path: "process.args: expected array, got string". */
import { type BaseIssue, getDotPath } from "valibot";

export function checkMessage(issues: readonly BaseIssue<unknown>[]): string {
  const issue = issues[0]!;
  const path = getDotPath(issue);
  return path === null ? problem(issue) : `${path}: ${problem(issue)}`;
}

function problem(issue: BaseIssue<unknown>): string {
  if (issue.kind === "schema" && issue.expected !== null) {
    // A key that is not there: valibot then has its name, not its type, as what it expected.
    if (issue.received === "undefined") return "is missing";
    // Where a type is expected, the type that came says more than the value.
    const typeExpected = /^[A-Z]\w*$|^[a-z]+$/.test(issue.expected);
    return `expected ${lower(issue.expected)}, got ${typeExpected ? typeName(issue.input) : lower(issue.received)}`;
  }
  if (issue.type === "integer") return `expected a whole number, got ${issue.received}`;
  return issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
}

/** "Array" → "array"; a quoted value stays as it is, if short. */
function lower(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return shown.startsWith('"') || shown.startsWith("(") ? shown : shown.toLowerCase();
}

function typeName(value: unknown): string {
  return Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
}
