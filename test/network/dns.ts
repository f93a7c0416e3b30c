/**
 * A resolver for the tests: `bun dns.ts ADDRESS FILE` answers at port 53 of the address, over UDP and TCP.
 *
 * FILE has a line for each name: `NAME A|AAAA|CNAME TTL VALUE…`, and is read again for each question, so that an address may
 * change. Several values are several records. `NAME A TTL big` answers with so many that UDP has no room: truncated there,
 * whole over TCP. What is not there does not exist (NXDOMAIN). Each question is printed: how, name, type.
 */
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

const [address = "127.0.0.1", file = ""] = process.argv.slice(2);
const TYPES: Record<string, number> = { A: 1, CNAME: 5, AAAA: 28 };
const MANY = 60;

function nameBytes(name: string): Buffer {
  const labels = name.split(".").filter(Boolean);
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)])),
    Buffer.of(0),
  ]);
}

function addressBytes(text: string): Buffer {
  if (text.includes(".")) return Buffer.from(text.split(".").map(Number));
  const [head = "", tail = ""] = text.split("::");
  const words = (part: string): number[] =>
    part
      .split(":")
      .filter(Boolean)
      .map((word) => Number.parseInt(word, 16));
  const [first, last] = [words(head), words(tail)];
  const all = [...first, ...new Array(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 255]));
}

interface Entry {
  name: string;
  type: string;
  ttl: number;
  values: string[];
}

function entries(): Entry[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [name = "", type = "", ttl = "", ...values] = line.split(" ");
      return { name, type, ttl: Number(ttl), values };
    });
}

function records(name: string, type: number): { answers: Buffer[]; known: boolean } {
  const all = entries().filter((entry) => entry.name === name);
  const answers: Buffer[] = [];
  for (const entry of all) {
    const isAlias = entry.type === "CNAME";
    if (TYPES[entry.type] !== type && !isAlias) continue;
    const values =
      entry.values[0] === "big" ? Array.from({ length: MANY }, (_, i) => `10.77.9.${i + 1}`) : entry.values;
    for (const value of values) {
      const data = isAlias ? nameBytes(value) : addressBytes(value);
      const head = Buffer.alloc(10);
      head.writeUInt16BE(TYPES[entry.type]!, 0);
      head.writeUInt16BE(1, 2);
      head.writeUInt32BE(entry.ttl, 4);
      head.writeUInt16BE(data.length, 8);
      answers.push(Buffer.concat([nameBytes(name), head, data]));
    }
    if (isAlias) answers.push(...records(entry.values[0]!, type).answers);
  }
  return { answers, known: all.length > 0 };
}

function answer(question: Buffer, how: "udp" | "tcp"): Buffer {
  let at = 12;
  const labels: string[] = [];
  while (question[at]! > 0) {
    labels.push(question.toString("latin1", at + 1, at + 1 + question[at]!));
    at += question[at]! + 1;
  }
  const name = labels.join(".").toLowerCase();
  const type = question.readUInt16BE(at + 1);
  const asked = question.subarray(12, at + 5);
  console.log(how, name, Object.keys(TYPES).find((key) => TYPES[key] === type) ?? type);
  const { answers, known } = records(name, type);
  const whole = Buffer.concat(answers);
  const cut = how === "udp" && whole.length > 450;
  const head = Buffer.alloc(12);
  question.copy(head, 0, 0, 2);
  head.writeUInt16BE(0x8180 | (cut ? 0x0200 : 0) | (known ? 0 : 3), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(cut ? 0 : answers.length, 6);
  return Buffer.concat([head, asked, cut ? Buffer.alloc(0) : whole]);
}

const udp = createSocket(address.includes(":") ? "udp6" : "udp4");
udp.on("message", (question, from) => udp.send(answer(question, "udp"), from.port, from.address));
udp.bind(53, address, () =>
  createServer((socket) => {
    let waiting = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      waiting = Buffer.concat([waiting, Buffer.from(data)]);
      while (waiting.length >= 2 && waiting.length >= 2 + waiting.readUInt16BE(0)) {
        const size = waiting.readUInt16BE(0);
        const reply = answer(waiting.subarray(2, 2 + size), "tcp");
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.write(Buffer.concat([length, reply]));
        waiting = waiting.subarray(2 + size);
      }
    });
  }).listen(53, address, () => console.log("ready")),
);
