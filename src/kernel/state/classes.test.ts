/** Every class of the kernel says what becomes of its objects when the kernel is saved: exactly once, in its own file. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { globSync } from "tinyglobby";
import { everyDeclared } from "./registry.ts";

/** Never met in a saved graph, by the rules of what refers to them. */
const MACHINERY: Readonly<Record<string, string>> = {
  "log.ts KernelLog": "each kernel has its own from its sandbox: transient in Kernel",
  "vfs/devices.ts DeviceRegistry": "drivers are the program's and its plugins': Kernel saves the numbers given out",
  "strace/history.ts CallHistory": "the last calls before a crash: begins anew, transient in Kernel",
  "strace/tracer.ts Tracer": "as the sandbox was started: transient in Kernel",
};

const folder = `${import.meta.dirname}/..`;
/** Of what saves kernels itself, the only class that is saved. */
const SAVE_POINT = "state/save-point.ts";
const files = globSync("**/*.ts", { cwd: folder }).filter(
  (file) =>
    !file.endsWith(".test.ts") && !/(^|\/)testing\//.test(file) && (!file.startsWith("state/") || file === SAVE_POINT),
);
const withoutComments = (file: string): string =>
  readFileSync(`${folder}/${file}`, "utf8")
    .replace(/\/\*.*?\*\//gs, "")
    .replace(/^\s*\/\/.*$/gm, "");

const CLASS = /\bclass\s+(?!extends\b)(\w+)|\bclass\s+(?:extends\b|\{)/g;
const DECLARATION = /\b(?:persistent|remade|perCall)\(\s*(?:"[^"]*",\s*)?(\w+)/g;
const matches = (text: string, what: RegExp): string[] => [...text.matchAll(what)].map((found) => found[1] ?? "(none)");

test("each class is declared exactly once, where it is", () => {
  const wrong: string[] = [];
  for (const file of files) {
    const text = withoutComments(file);
    const declared = matches(text, DECLARATION);
    const classes = matches(text, CLASS);
    for (const name of classes) {
      const times = declared.filter((other) => other === name).length;
      const machinery = `${file} ${name}` in MACHINERY;
      if (times + Number(machinery) === 1) continue;
      wrong.push(
        times === 0 ? `${file}: ${name} is not declared (see state/registry.ts)` : `${file}: ${name} is declared twice`,
      );
    }
    for (const name of declared)
      if (!classes.includes(name)) wrong.push(`${file}: declares ${name}, a class of another file`);
  }
  expect(wrong).toEqual([]);
});

test("what is listed as machinery is there", () => {
  const all = files.flatMap((file) => matches(withoutComments(file), CLASS).map((name) => `${file} ${name}`));
  expect(Object.keys(MACHINERY).filter((name) => !all.includes(name))).toEqual([]);
});

test("fields are ordinary properties: nothing is hidden from who saves them", () => {
  expect(
    files.filter((file) => /^\s+(?:(?:readonly|static|get|set|async)\s+|\*)*#\w/m.test(withoutComments(file))),
  ).toEqual([]);
});

test("declarations can be loaded together, and their names are of one kind", async () => {
  let count = 0;
  for (const file of files) {
    const text = withoutComments(file);
    const declared = [...text.matchAll(/\b(?:persistent|remade)\(/g)].length;
    if (declared === 0) continue;
    await import(`../${file}`);
    count += declared;
  }
  // Other tests' classes may be there, if they ran before.
  const names = [...everyDeclared()].map(({ name }) => name).filter((name) => !name.startsWith("test/"));
  expect(names.filter((name) => !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name))).toEqual([]);
  expect(names.length).toBe(count);
});
