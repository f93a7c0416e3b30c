/** Messages of DNS, and a resolver that answers with what a test wants it to, or does not. */
import { createSocket } from "node:dgram";
import { type AddressInfo, createServer, type Socket } from "node:net";

export const A = 1;
export const CNAME = 5;
export const SOA = 6;
export const AAAA = 28;

export interface DnsRecord {
  name: string;
  type: number;
  ttl?: number;
  class?: number;
  /** Of A, AAAA and CNAME: as text. */
  data: string | Uint8Array;
}
export interface Reply {
  id?: number;
  /** Flags and code; a usual answer without. */
  flags?: number;
  name: string;
  type: number;
  answers?: DnsRecord[];
  authority?: DnsRecord[];
}

export function dnsName(name: string): number[] {
  const labels = name === "" ? [] : name.split(".");
  return [...labels.flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]), 0];
}
const u16 = (value: number) => [(value >> 8) & 0xff, value & 0xff];
const u32 = (value: number) => [...u16(value >>> 16), ...u16(value & 0xffff)];

export function address(text: string): number[] {
  if (!text.includes(":")) return text.split(".").map(Number);
  const { hostname } = new URL(`http://[${text}]`);
  const [head = "", tail] = hostname.slice(1, -1).split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":").flatMap((g) => u16(Number.parseInt(g, 16))));
  const [front, back] = [groups(head), groups(tail ?? "")];
  return [...front, ...new Array<number>(16 - front.length - back.length).fill(0), ...back];
}

function record(r: DnsRecord): number[] {
  const data = typeof r.data !== "string" ? [...r.data] : r.type === CNAME ? dnsName(r.data) : address(r.data);
  return [...dnsName(r.name), ...u16(r.type), ...u16(r.class ?? 1), ...u32(r.ttl ?? 60), ...u16(data.length), ...data];
}
export function message({ id = 1, flags = 0x8180, name, type, answers = [], authority = [] }: Reply): Uint8Array {
  const counts = [1, answers.length, authority.length, 0].flatMap(u16);
  const records = [...answers, ...authority].flatMap(record);
  return Uint8Array.from([...u16(id), ...u16(flags), ...counts, ...dnsName(name), ...u16(type), ...u16(1), ...records]);
}
export function addresses(name: string, list: readonly string[], ttl = 60): DnsRecord[] {
  return list.map((data) => ({ name, type: data.includes(":") ? AAAA : A, ttl, data }));
}

export interface Question {
  id: number;
  name: string;
  type: number;
  tcp: boolean;
  edns: boolean;
  from: number;
}
function readQuestion(bytes: Uint8Array, tcp: boolean, from: number): Question {
  const labels: string[] = [];
  let at = 12;
  for (let length = bytes[at]!; length > 0; length = bytes[at]!) {
    labels.push(Buffer.from(bytes.subarray(at + 1, at + 1 + length)).toString("latin1"));
    at += 1 + length;
  }
  const edns = bytes[11] === 1;
  return {
    id: bytes[0]! * 256 + bytes[1]!,
    name: labels.join("."),
    type: bytes[at + 1]! * 256 + bytes[at + 2]!,
    tcp,
    edns,
    from,
  };
}

/** Answers to one question, in this order; none: it is silent. */
export type Behaviour = (question: Question) => Uint8Array[] | Uint8Array;

export class FakeResolver {
  readonly asked: Question[] = [];
  behave: Behaviour = () => [];
  private readonly udp = createSocket("udp4");
  private readonly connections: Socket[] = [];
  private readonly tcp = createServer((socket) => this.accept(socket));

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.udp.bind(0, "127.0.0.1", resolve));
    const { port } = this.udp.address();
    // Who asked may be gone before the last answer.
    this.udp.on("error", () => {});
    this.udp.on("message", (bytes, { port: from }) => {
      for (const answer of this.answers(readQuestion(bytes, false, from))) this.udp.send(answer, from, "127.0.0.1");
    });
    await new Promise<void>((resolve) => this.tcp.listen(port, "127.0.0.1", resolve));
    return (this.tcp.address() as AddressInfo).port;
  }
  close(): void {
    this.udp.close();
    for (const socket of this.connections) socket.destroy();
    this.tcp.close();
  }
  private answers(question: Question): Uint8Array[] {
    this.asked.push(question);
    const answers = this.behave(question);
    return Array.isArray(answers) ? answers : [answers];
  }
  private accept(socket: Socket): void {
    this.connections.push(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      const question = readQuestion(new Uint8Array(bytes).subarray(2), true, socket.remotePort ?? 0);
      for (const answer of this.answers(question)) {
        // In two pieces, as streams may come.
        const whole = Uint8Array.from([...u16(answer.length), ...answer]);
        socket.write(whole.subarray(0, 7));
        setTimeout(() => socket.write(whole.subarray(7)), 5);
      }
    });
  }
}
