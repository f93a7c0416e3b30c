/** What a network broker tells of devices, addresses and routes: messages of rtnetlink, and the stack that is made of them. */

import { type Ip, ipFromBytes } from "../../../src/kernel/net/inet/ip.ts";
import { announce } from "../../../src/kernel/net/netlink/route.ts";
import { OutsideStack } from "../../../src/kernel/net/outside/stack.ts";
import { ip, usualNetwork } from "../../../src/kernel/testing/rtnetlink.ts";
import { TaskKit } from "../../../src/kernel/testing/task-kit.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const kit = new TaskKit();
const good = Buffer.from(usualNetwork(5));
let text = "";

const places: readonly Ip[] = [
  "8.8.8.8",
  "10.88.0.5",
  "127.0.0.1",
  "224.0.0.1",
  "fd00::9",
  "fe80::1",
  "ff02::1",
  "::1",
].map((one) => {
  const bytes = ip(one);
  return ipFromBytes(bytes, 0, bytes.length);
});

export const fuzzer: ParserFuzzer = {
  one(random) {
    const bytes = random.spoil(good);
    text = Buffer.from(bytes).toString("hex");
    const stack = new OutsideStack();
    stack.applyRoutes(bytes);
    announce(kit.kernel.net, stack.dumped());
    // The same as changes: without NLM_F_MULTI.
    const news = Buffer.from(random.spoil(good));
    for (let at = 0; at + 16 <= news.length; ) {
      news.writeUInt16LE(random.oneIn(4) ? 0x100 : 0, at + 6);
      if (random.oneIn(4)) news.writeUInt16LE(news.readUInt16LE(at + 4) ^ 1, at + 4);
      at += Math.max(16, (news.readUInt32LE(at) + 3) & ~3);
    }
    kit.kernel.net.stack = stack;
    announce(kit.kernel.net, stack.applyRoutes(news));
    for (const place of places) {
      const way = stack.wayTo(place, random.oneIn(3) ? random.below(4) : 0);
      if (typeof way === "number" ? way >= 0 : typeof way.source !== typeof place)
        throw new RangeError(`a way of ${place} that is none`);
      stack.isLocal(place);
      stack.sourceFor(place);
    }
    if (stack.devices[0]?.name !== "lo" && stack.deviceByIndex(1) === null) throw new RangeError("no loopback device");
  },
  last: () => text,
  meant: () => false,
};
