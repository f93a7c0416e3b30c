/** Declarations of all classes of the kernel are made when their modules are loaded: of programs that look at saved kernels. */
import { readFileSync } from "node:fs";
import { globSync } from "tinyglobby";

const folder = `${import.meta.dirname}/..`;

export async function loadEveryClass(): Promise<void> {
  for (const file of globSync("**/*.ts", { cwd: folder })) {
    if (file.endsWith(".test.ts") || /(^|\/)testing\//.test(file)) continue;
    if (/^(?:persistent|remade)\(/m.test(readFileSync(`${folder}/${file}`, "utf8"))) await import(`../${file}`);
  }
}
