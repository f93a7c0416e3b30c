/** The schema that is checked in, against the classes that are declared: see docs/checkpoint-state.md. */
import { expect, test } from "bun:test";
import { knownSchema, schemaOf, schemaProblem } from "../testing/checked-schema.ts";
import { loadEveryClass } from "../testing/every-class.ts";
import { declaredAs, everyDeclared, rulesOf } from "./registry.ts";
import { compareSchemas } from "./schema.ts";

/** Of classes without objects of their own, and those whose objects no test has met between two calls. */
const WITHOUT_OBJECTS: Readonly<Record<string, string>> = {
  "anonymous-file": "abstract",
  "directory-file": "abstract",
  file: "abstract",
  "file-system": "abstract",
  "inet-socket": "abstract",
  "inet-datagram-socket": "abstract",
  inode: "abstract",
  "pseudo-file": "abstract",
  "pseudo-fs": "abstract",
  "pseudo-inode": "abstract",
  "pseudo-link-base": "abstract",
  "signal-timer": "abstract",
  socket: "abstract",
  terminal: "abstract",
  timer: "abstract",
  "unix-connection": "abstract",
  "unix-socket": "abstract",
  "close-files": "a process that closes very many files when it ends",
  "receive-info": "within a call of recvmsg that is not over",
  "text-window": "within a read of a long file of /proc",
  "guest-strings": "within an execve with very many arguments",
  "guest-string-array": "within an execve with very many arguments",
  "pseudo-link": "links of /proc, held open",
  "descriptor-link": "links of /proc, held open",
  "proc-mem-file": "/proc/PID/mem, held open",
  "namespace-inode": "files of /proc/PID/ns, held open",
  "namespace-file": "files of /proc/PID/ns, held open",
  "process-subdirectory": "only its subclasses",
  "attribute-directory": "/proc/PID/attr, held open",
};

const schema = knownSchema();
await loadEveryClass();
const classOf = (name: string): string => name.split(" ")[0]!;

// While the schema is being made, it has not been.
test.skipIf(process.env["RUNTS_SCHEMA"] !== undefined)("every class has been seen in a saved kernel", () => {
  const seen = new Set(Object.keys(schema).map(classOf));
  const forgotten = [...everyDeclared()]
    .map(({ name }) => name)
    .filter((name) => !name.startsWith("test/") && !seen.has(name) && !(name in WITHOUT_OBJECTS))
    .map((name) => `${name}: in no saved kernel of the tests. Have a guest program use it, then: bun build.ts schema`);
  expect(forgotten).toEqual([]);
  expect(Object.keys(WITHOUT_OBJECTS).filter((name) => seen.has(name) || declaredAs(name) === undefined)).toEqual([]);
});

test("versions and names are those of the classes", () => {
  expect(compareSchemas(schema, schema)).toEqual({ wrong: [], unknown: [] });
});

test("descriptors of the host are never taken from an image as they are", () => {
  /** The guest's own numbers. */
  const guests = new Set(["async-notifier.fd", "descriptor-text.fd", "epoll-item.fd"]);
  const found: string[] = [];
  for (const [name, { fields }] of Object.entries(schema)) {
    const rules = rulesOf(declaredAs(classOf(name))!.type.prototype as object);
    for (const [field, kinds] of Object.entries(fields)) {
      if (!/fd$|address$/i.test(field) || !kinds.includes("number") || guests.has(`${name}.${field}`)) continue;
      if (!rules.some(({ as, transient }) => field in (as ?? {}) || field in (transient ?? {})))
        found.push(`${name}.${field}`);
    }
  }
  expect(found).toEqual([]);
});

test("a saved kernel with a field more or less is told of", () => {
  const [name, { v, fields }] = Object.entries(schema).find(([type]) => type === "eventfd")!;
  const values = Object.fromEntries(Object.keys(fields).map((field) => [field === "type" ? "$type" : field, null]));
  const line = (changes: object) => [JSON.stringify({ id: 1, type: name, v, ...values, ...changes })];
  expect(schemaProblem(schemaOf(line({})))).toBeNull();
  expect(schemaProblem(schemaOf(line({ forgotten: 1 })))).toContain(
    "eventfd: new field `forgotten` (number): raise its version or give a default",
  );
  expect(schemaProblem(schemaOf(line({ hi: undefined })))).toContain("eventfd: field `hi` (number) is gone");
});
