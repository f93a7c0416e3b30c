/** strace's way of printing strings: C escapes, cut to 4096 characters. */
export function quote(text: string, binary = false): string {
  let out = '"';
  for (const ch of text.length > 4096 ? text.slice(0, 4096) : text) {
    const code = ch.codePointAt(0)!;
    if (ch === '"' || ch === "\\") out += `\\${ch}`;
    else if (ch === "\n") out += "\\n";
    else if (ch === "\t") out += "\\t";
    else if (ch === "\r") out += "\\r";
    else if (code < 32 || code === 127 || (binary && code > 126)) out += `\\${code.toString(8)}`;
    else if (code >= 0xdc80 && code <= 0xdcff) out += `\\${(code - 0xdc00).toString(8)}`;
    else out += ch;
  }
  return text.length > 4096 ? `${out}"...` : `${out}"`;
}
