/** In a restored kernel a pipe may have taken the place of a file, or a file that of a pipe: open files become what suits. */
import { declaredAs } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import type { File } from "../../vfs/file.ts";
import { ReadOnlyTwin } from "../../vfs/read-only-twin.ts";
import type { HostFdNode } from "./node.ts";

/** What reads a pipe as if it were a file would wait, and the whole kernel with it. */
export function becomeRight(file: File & { readonly node: HostFdNode }, restore: Restore): void {
  const { node } = file;
  node.reopen(restore);
  const right = declaredAs(node.isPlain ? "hostfd-plain-file" : "hostfd-stream-file")!.type.prototype;
  if (node.fd < 0 || Object.getPrototypeOf(file) === right) return;
  Object.setPrototypeOf(file, right);
  const fields = file as unknown as Record<string, unknown>;
  fields["seekable"] = fields["sharedPosition"] = node.isPlain;
  delete fields[node.isPlain ? "watching" : "twin"];
  if (node.isPlain) fields["twin"] = new ReadOnlyTwin();
  else fields["watching"] = "no";
}
