/** /proc/runts: what guests may say to runts itself. */
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile } from "../pseudo/text.ts";
import type { ProcFs } from "./proc-fs.ts";

export function addRuntsFiles(fs: ProcFs, directory: PseudoDirectory): void {
  const { savePoint } = fs.kernel;
  directory.add(
    "checkpoint",
    new GeneratedFile(
      fs,
      () => `${savePoint.state}\n`,
      (task) => savePoint.ask(task),
      0o666,
    ),
  );
}
