/** Requests to NETLINK_ROUTE and NETLINK_SOCK_DIAG, by the system calls of a kernel on the fake platform. */

import { BLOCKED } from "../../../src/kernel/syscall.ts";
import { bind, listen } from "../../../src/kernel/syscalls/bind.ts";
import { close } from "../../../src/kernel/syscalls/close.ts";
import { recvfrom } from "../../../src/kernel/syscalls/recvfrom.ts";
import { sendto } from "../../../src/kernel/syscalls/sendto.ts";
import { socket } from "../../../src/kernel/syscalls/socket.ts";
import { setsockopt } from "../../../src/kernel/syscalls/sockopt.ts";
import { usualNetwork } from "../../../src/kernel/testing/rtnetlink.ts";
import { MEMORY, TaskKit } from "../../../src/kernel/testing/task-kit.ts";
import type { ParserFuzzer } from "../parser-run.ts";
import type { Random } from "../random.ts";

const kit = new TaskKit();
kit.kernel.net.routesCame(usualNetwork());
kit.kernel.net.routesComplete();
// Something to tell of: a listener of each family, and unix sockets.
for (const family of [2, 10, 1]) {
  const fd = kit.call(socket, family, 1, 0);
  const name = new Uint8Array(28);
  name[0] = family;
  kit.put(MEMORY, name);
  kit.call(bind, fd, MEMORY, family === 1 ? 2 : family === 2 ? 16 : 28);
  kit.call(listen, fd, 5);
}
let text = "";
const MSG_DONTWAIT = 0x40;

const SOL_NETLINK = 270;
const SOCK_DIAG = 4;

/** What sock_diag is asked, with a program of conditions. */
function diagBody(random: Random): Buffer {
  const body = Buffer.alloc(random.oneIn(6) ? random.below(60) : random.pick([56, 24]));
  for (let at = 0; at < body.length; at++) if (random.oneIn(12)) body[at] = random.below(256);
  if (body.length > 8) {
    body[0] = random.pick([1, 2, 10, 16, 17, 255]);
    body[1] = random.pick([0, 6, 17, 136, 255]);
    body.writeUInt32LE(random.oneIn(2) ? 0xffffffff : random.next(), 4);
  }
  const program = Buffer.alloc(4 * random.below(12));
  for (let at = 0; at + 4 <= program.length; at += 4) {
    program[at] = random.below(14);
    program[at + 1] = random.pick([4, 8, 12, 20, 24, random.below(256)]);
    program.writeUInt16LE(
      random.pick([4, 8, 12, program.length - at, program.length - at + 4, random.below(300)]),
      at + 2,
    );
  }
  const attribute = Buffer.alloc(4);
  attribute.writeUInt16LE(4 + program.length, 0);
  attribute.writeUInt16LE(1, 2);
  return Buffer.concat([body, attribute, program]);
}

/** A message with a header that is mostly right, a family's structure and some attributes. */
function request(random: Random, protocol: number): Buffer {
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
  const diag = protocol === SOCK_DIAG && !random.oneIn(5);
  const body = diag ? diagBody(random) : Buffer.concat(parts);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(random.oneIn(8) ? random.pick([0, 1, 15, 16, 17, 0x7fffffff, 0xffffffff]) : 16 + body.length, 0);
  header.writeUInt16LE(
    random.oneIn(8) ? random.below(65536) : diag ? random.pick([20, 20, 20, 21]) : 16 + random.below(76),
    4,
  );
  header.writeUInt16LE(random.oneIn(8) ? random.below(65536) : random.pick([1, 5, 0x301, 0x305, 0x101]), 6);
  header.writeUInt32LE(random.next(), 8);
  header.writeUInt32LE(random.oneIn(2) ? 0 : random.next(), 12);
  return Buffer.concat([header, body]);
}

export const fuzzer: ParserFuzzer = {
  one(random) {
    const protocol = random.pick([0, 0, 0, SOCK_DIAG, SOCK_DIAG, 15]);
    const fd = kit.call(socket, 16, random.pick([2, 3]), protocol);
    if (fd < 0) throw new RangeError(`no socket: ${fd}`);
    for (let k = random.below(3); k > 0; k--) {
      kit.put32(MEMORY, random.pick([0, 1, 5, 33, random.next()]));
      kit.call(setsockopt, fd, SOL_NETLINK, random.below(14), MEMORY, 4);
    }
    const all = Buffer.concat(Array.from({ length: 1 + random.below(3) }, () => request(random, protocol)));
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
