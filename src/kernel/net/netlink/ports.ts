/** Which netlink ports are taken, per protocol. Source: netlink(7): the first socket of a process gets its pid. */
import { EADDRINUSE } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";

export class NetlinkPorts {
  private readonly taken = new Set<string>();
  private next = 0xfffff000;

  /** 0 or -EADDRINUSE. */
  take(protocol: number, port: number): number {
    const key = `${protocol}:${port}`;
    if (this.taken.has(key)) return -EADDRINUSE;
    this.taken.add(key);
    return 0;
  }

  /** `wanted`, or another free one. */
  any(protocol: number, wanted: number): number {
    let port = wanted;
    while (this.take(protocol, port) < 0) port = this.next--;
    return port;
  }

  drop(protocol: number, port: number): void {
    this.taken.delete(`${protocol}:${port}`);
  }
}

persistent("netlink-ports", NetlinkPorts);
