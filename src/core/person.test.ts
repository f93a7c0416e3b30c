import { describe, expect, test } from "bun:test";
import { readFd, writeFd } from "../native/host.ts";
import { hostCalls } from "../native/host-calls.ts";
import { Line, TerminalPerson } from "./person.ts";

describe("a line that is typed", () => {
  const cases: [string, string | null, string][] = [
    ["yes\r", "yes", "yes\n"],
    ["no\b\b\byes\n", "yes", "no\b \b\b \byes\n"],
    ["y\u001b[Ae\u001b[1;5Cs\r", "yes", "yes\n"],
    ["ye\u0003", null, "ye\n"],
    ["\u0004", null, "\n"],
    ["\r", "", "\n"],
  ];
  for (const [keys, text, shown] of cases)
    test(JSON.stringify(keys), async () => {
      let seen = "";
      const line = new Line(true, (some) => {
        seen += some;
      });
      line.type(Buffer.from(keys));
      expect(await line.typed).toBe(text);
      expect(seen).toBe(shown);
    });
});

test("what is typed goes to the question, and to the program before and after it", async () => {
  const [program, output, input] = [0, 0, 0].map(() => new Int32Array(2)) as [Int32Array, Int32Array, Int32Array];
  for (const pair of [program, output, input]) hostCalls.socketPair(pair);
  const sink = hostCalls.dup(program[0]!);
  hostCalls.copy(input[1]!, sink, new Int32Array(1));
  const type = (text: string) => writeFd(input[0]!, Buffer.from(text), text.length);
  const read = (fd: number) => {
    const bytes = new Uint8Array(64);
    return Buffer.from(bytes.subarray(0, readFd(fd, bytes, bytes.length))).toString();
  };
  const divert = (fd: number) => {
    hostCalls.dupTo(fd, sink);
    return () => hostCalls.dupTo(program[0]!, sink);
  };
  const person = new TerminalPerson(hostCalls, divert, output[0]!, true);
  type("before");
  expect(read(program[1]!)).toBe("before");
  const [first, second] = [person.ask("one?\n", 5000), person.ask("two?", 5000)];
  await Bun.sleep(50);
  expect(read(output[1]!)).toBe("one?\r\n");
  type("1\r");
  expect(await first).toBe("1");
  await Bun.sleep(50);
  expect(read(output[1]!)).toBe("1\r\ntwo?");
  type("2\r");
  expect(await second).toBe("2");
  expect(await person.ask("three?", 50)).toBeNull();
  type("after");
  expect(read(program[1]!)).toBe("after");
});
