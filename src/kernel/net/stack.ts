/**
 * What carries internet traffic: the seam between sockets and networks.
 *
 * Sockets (net/inet) ask a NetworkStack about devices, addresses and routes. LoopbackStack knows the loopback device
 * only; a stack that reaches outside adds devices and routes, and takes over what `leavesHere` says is not local.
 *
 * Source: netdevice(7), ip(7). The loopback device as on Linux: 127.0.0.0/8 and ::1/128, MTU 65536.
 */

import { persistent } from "../state/registry.ts";
import { ANY4, type Ip, isAny, isLoopback, LOOPBACK4, LOOPBACK6 } from "./inet/ip.ts";

export interface DeviceAddress {
  ip: Ip;
  prefix: number;
  /** RT_SCOPE_*: 0 the world, 254 this host. */
  scope: number;
}

export interface NetDevice {
  index: number;
  name: string;
  /** ARPHRD_*: 1 Ethernet, 772 loopback. */
  hardwareType: number;
  /** IFF_*. */
  flags: number;
  mtu: number;
  hardwareAddress: Uint8Array;
  broadcast: Uint8Array;
  addresses: DeviceAddress[];
}

export interface Route {
  /** null: the default route. */
  destination: Ip | null;
  prefix: number;
  device: number;
  gateway: Ip | null;
  source: Ip | null;
  /** RT_TABLE_*: 254 main, 255 local. */
  table: number;
  /** RTN_*: 1 unicast, 2 local, 3 broadcast. */
  type: number;
  scope: number;
  priority: number;
}

export interface NetworkStack {
  readonly devices: readonly NetDevice[];
  readonly routes: readonly Route[];
  deviceByName(name: string): NetDevice | null;
  deviceByIndex(index: number): NetDevice | null;
  /** Is it an address of this host (bind may take it, packets to it stay here)? */
  isLocal(ip: Ip): boolean;
  /** The address that packets to `ip` come from; null: unreachable. */
  sourceFor(ip: Ip): Ip | null;
}

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;
const IFF_LOWER_UP = 0x10000;

const LOCAL = { device: 1, gateway: null, table: 255, scope: 254, priority: 0 };

export class LoopbackStack implements NetworkStack {
  readonly devices: readonly NetDevice[] = [
    {
      index: 1,
      name: "lo",
      hardwareType: 772,
      flags: IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP,
      mtu: 65536,
      hardwareAddress: new Uint8Array(6),
      broadcast: new Uint8Array(6),
      addresses: [
        { ip: LOOPBACK4, prefix: 8, scope: 254 },
        { ip: LOOPBACK6, prefix: 128, scope: 254 },
      ],
    },
  ];
  readonly routes: readonly Route[] = [
    { ...LOCAL, destination: 0x7f000000, prefix: 8, source: LOOPBACK4, type: 2 },
    { ...LOCAL, destination: LOOPBACK4, prefix: 32, source: LOOPBACK4, type: 2 },
    { ...LOCAL, destination: 0x7fffffff, prefix: 32, source: LOOPBACK4, type: 3, scope: 253 },
    { ...LOCAL, destination: LOOPBACK6, prefix: 128, source: null, type: 2, scope: 0 },
  ];

  deviceByName(name: string): NetDevice | null {
    return this.devices.find((device) => device.name === name) ?? null;
  }
  deviceByIndex(index: number): NetDevice | null {
    return this.devices.find((device) => device.index === index) ?? null;
  }
  isLocal(ip: Ip): boolean {
    return isLoopback(ip);
  }
  sourceFor(ip: Ip): Ip | null {
    if (isAny(ip)) return ip === ANY4 ? LOOPBACK4 : LOOPBACK6;
    if (!isLoopback(ip)) return null;
    return typeof ip === "number" ? LOOPBACK4 : ip;
  }
}

persistent("loopback-stack", LoopbackStack);
