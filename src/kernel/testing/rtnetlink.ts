/** Messages of rtnetlink as the host sends them, for tests of what is told of networks outside. */
import { MessageWriter } from "../net/netlink/message.ts";

const MULTI = 2;

/** "10.0.0.1" or eight full groups with colons, as bytes. */
export function ip(text: string): Uint8Array {
  if (text.includes(".")) return Uint8Array.from(text.split("."), Number);
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":")).map((group) => Number.parseInt(group, 16));
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}
const familyOf = (bytes: Uint8Array): number => (bytes.length === 4 ? 2 : 10);
const u32 = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

interface LinkOptions {
  type?: number;
  flags?: number;
  mtu?: number;
  mac?: number[];
  received?: number;
  kind?: string;
  gone?: boolean;
}

/** A dump, or news: messages one after the other. */
export class Rtnetlink {
  private readonly out = new MessageWriter();
  constructor(private readonly dump = true) {}

  private begin(type: number, flags = 0): MessageWriter {
    return this.out.begin(type, (this.dump ? MULTI : 0) | flags, 1, 0);
  }

  link(index: number, name: string, options: LinkOptions = {}): this {
    const { type = 1, flags = 0x11043, mtu = 1500, mac = [2, 0x42, 10, 0, 0, index], received = 0, gone } = options;
    const statistics = new Uint8Array(200);
    new DataView(statistics.buffer).setUint32(16, received, true);
    const out = this.begin(gone === true ? 17 : 16)
      .u8(0, 0)
      .u16(type)
      .u32(index, flags, 0)
      .attributeText(3, name)
      .attribute32(13, 1000)
      .attribute8(16, type === 772 ? 0 : 6)
      .attribute32(4, mtu)
      .attribute8(33, 1)
      .attribute(1, Uint8Array.from(mac))
      .attribute(2, new Uint8Array(mac.length).fill(type === 772 ? 0 : 255))
      .attribute(23, statistics);
    if (options.kind !== undefined) {
      const info = new MessageWriter().attributeText(1, options.kind).finish();
      out.attribute(18, info);
    }
    out.end();
    return this;
  }

  address(index: number, address: string, prefix: number, scope = 0, gone = false): this {
    const bytes = ip(address);
    const out = this.begin(gone ? 21 : 20)
      .u8(familyOf(bytes), prefix, 0x80, scope)
      .u32(index);
    if (bytes.length === 4) {
      out.attribute(1, bytes).attribute(2, bytes).attributeText(3, "eth0");
      if (prefix < 31) {
        const host = 0xffffffff >>> prefix;
        out.attribute(
          4,
          bytes.map((byte, i) => byte | ((host >>> (24 - 8 * i)) & 255)),
        );
      }
    } else out.attribute(1, bytes);
    out
      .attribute32(8, 0x80)
      .attribute(6, u32(0xffffffff, 0xffffffff, 1, 1))
      .end();
    return this;
  }

  route(
    to: string,
    prefix: number,
    device: number,
    more: {
      via?: string;
      source?: string;
      metric?: number;
      table?: number;
      type?: number;
      scope?: number;
      gone?: boolean;
      replaces?: boolean;
      hops?: [device: number, via: string][];
    } = {},
  ): this {
    const destination = ip(to);
    const { table = 254, type = 1, scope = 0 } = more;
    const out = this.begin(more.gone === true ? 25 : 24, more.replaces === true ? 0x100 : 0)
      .u8(familyOf(destination), prefix, 0, 0, Math.min(table, 252) === table ? table : table & 255, 2, scope, type)
      .u32(0)
      .attribute32(15, table);
    if (prefix > 0) out.attribute(1, destination);
    if (more.metric !== undefined) out.attribute32(6, more.metric);
    if (more.source !== undefined) out.attribute(7, ip(more.source));
    if (more.via !== undefined) out.attribute(5, ip(more.via));
    if (more.hops !== undefined)
      out.nested(9, () => {
        for (const [by, via] of more.hops!) out.sized(() => out.u8(0, 0).u32(by).attribute(5, ip(via)));
      });
    if (device !== 0) out.attribute32(4, device);
    out.end();
    return this;
  }

  neighbour(index: number, address: string, mac: number[], state = 2, gone = false): this {
    const bytes = ip(address);
    this.begin(gone ? 29 : 28)
      .u8(familyOf(bytes), 0)
      .u16(0)
      .u32(index)
      .u16(state)
      .u8(0, 1)
      .attribute(1, bytes)
      .attribute(2, Uint8Array.from(mac))
      .end();
    return this;
  }

  get bytes(): Uint8Array {
    return this.out.finish();
  }
}

/** A container's network as engines make them: lo and eth0 with an address of both families. */
export const usualNetwork = (received = 0): Uint8Array =>
  new Rtnetlink()
    .link(1, "lo", { type: 772, flags: 0x10049, mtu: 65536, mac: [0, 0, 0, 0, 0, 0] })
    .link(2, "eth0", { received, kind: "veth" })
    .address(1, "127.0.0.1", 8, 254)
    .address(2, "10.88.0.5", 16)
    .address(1, "::1", 128, 254)
    .address(2, "fd00::5", 64)
    .address(2, "fe80::42:aff:fe00:2", 64, 253)
    .route("0.0.0.0", 0, 2, { via: "10.88.0.1" })
    .route("10.88.0.0", 16, 2, { source: "10.88.0.5", scope: 253 })
    .route("10.88.0.5", 32, 2, { source: "10.88.0.5", scope: 254, table: 255, type: 2 })
    .route("10.88.255.255", 32, 2, { source: "10.88.0.5", scope: 253, table: 255, type: 3 })
    .route("127.0.0.0", 8, 1, { source: "127.0.0.1", scope: 254, table: 255, type: 2 })
    .route("127.0.0.1", 32, 1, { source: "127.0.0.1", scope: 254, table: 255, type: 2 })
    .route("fd00::", 64, 2, { metric: 256 })
    .route("fe80::", 64, 2, { metric: 256 })
    .route("::", 0, 2, { via: "fd00::1", metric: 1024 })
    .route("::1", 128, 1, { table: 255, type: 2 })
    .route("fd00::5", 128, 2, { table: 255, type: 2 })
    .neighbour(2, "10.88.0.1", [2, 0x42, 10, 0x58, 0, 1], 4).bytes;
