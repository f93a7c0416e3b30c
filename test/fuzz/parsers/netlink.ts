/** Requests to NETLINK_ROUTE, by the system calls of a kernel on the fake platform. */

import { BLOCKED } from "../../../src/kernel/syscall.ts";
import { close } from "../../../src/kernel/syscalls/close.ts";
import { recvfrom } from "../../../src/kernel/syscalls/recvfrom.ts";
import { sendto } from "../../../src/kernel/syscalls/sendto.ts";
import { socket } from "../../../src/kernel/syscalls/socket.ts";
import { MEMORY, TaskKit } from "../../../src/kernel/testing/task-kit.ts";
import type { ParserFuzzer } from "../parser-run.ts";
import type { Random } from "../random.ts";

const kit = new TaskKit();
let text = "";
const MSG_DONTWAIT = 0x40;

/** A message with a header that is mostly right, a family's structure and some attributes. */
function request(random: Random): Buffer {
  const parts: Buffer[] = [
    Buffer.from([
      random.pick([0, 2, 10, 1, 255]),
      ...Array.from({ length: 15 }, () => (random.oneIn(3) ? random.below(256) : 0)),
    ]),
  ];
  for (let k = random.below(5); k > 0; k--) {
    const data = Buffer.from(Array.from({ length: random.pick([0, 1, 2, 4, 4, 8, 16, 30]) }, () => random.below(256)));
    const attribute = Buffer.alloc((4 + data.length + 3) & ~3);
    attribute.writeUInt16LE(random.oneIn(8) ? random.below(65536) : 4 + data.length, 0);
    attribute.writeUInt16LE(random.oneIn(8) ? random.below(65536) : random.below(40), 2);
    data.copy(attribute, 4);
    parts.push(attribute);
  }
  const body = Buffer.concat(parts);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(random.oneIn(8) ? random.pick([0, 1, 15, 16, 17, 0x7fffffff, 0xffffffff]) : 16 + body.length, 0);
  header.writeUInt16LE(random.oneIn(8) ? random.below(65536) : 16 + random.below(24), 4);
  header.writeUInt16LE(random.oneIn(8) ? random.below(65536) : random.pick([1, 5, 0x301, 0x305, 0x101]), 6);
  header.writeUInt32LE(random.next(), 8);
  header.writeUInt32LE(random.oneIn(2) ? 0 : random.next(), 12);
  return Buffer.concat([header, body]);
}

export const fuzzer: ParserFuzzer = {
  one(random) {
    const fd = kit.call(socket, 16, random.pick([2, 3]), random.pick([0, 0, 0, 15]));
    if (fd < 0) throw new RangeError(`no socket: ${fd}`);
    const all = Buffer.concat(Array.from({ length: 1 + random.below(3) }, () => request(random)));
    const bytes = random.oneIn(3) ? random.spoil(all) : all;
    text = Buffer.from(bytes).toString("hex");
    kit.put(MEMORY, bytes);
    const name = Buffer.alloc(12);
    name.writeUInt16LE(16, 0);
    if (random.oneIn(10)) name.writeUInt32LE(random.next(), 4);
    kit.put(MEMORY + 0x20000, name);
    kit.call(sendto, fd, MEMORY, bytes.length, MSG_DONTWAIT, MEMORY + 0x20000, 12);
    for (let k = 0; ; k++) {
      const got = kit.call(recvfrom, fd, MEMORY + 0x40000, random.pick([0, 16, 1000, 65536]), MSG_DONTWAIT, 0, 0);
      if (got === BLOCKED) throw new RangeError("MSG_DONTWAIT blocks");
      if (got < 0) break;
      if (k > 2000) throw new RangeError("more than 2000 answers to one request");
    }
    kit.call(close, fd);
  },
  last: () => text,
  meant: () => false,
};
