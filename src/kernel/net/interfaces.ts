/**
 * ioctls about network devices: SIOCGIFCONF, SIOCGIFFLAGS and kin, on any socket.
 *
 * Source: netdevice(7). What changes a device is refused, save for what changes nothing (lo is up and stays up).
 */
import { EADDRNOTAVAIL, EFAULT, EINVAL, ENODEV, ENOTTY, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import { getU64 } from "../mm/mm.ts";
import { CAP_NET_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { AF_INET } from "./abi.ts";
import { type Ip, ipToBytes } from "./inet/ip.ts";
import { netmask } from "./inet/prefix.ts";
import { type DeviceAddress, deviceNumber, IFF_UP, IFLA_TXQLEN, type NetDevice, type NetworkStack } from "./stack.ts";

const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

const SIOCGIFNAME = 0x8910;
const SIOCGIFCONF = 0x8912;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFADDR = 0x8915;
const SIOCGIFDSTADDR = 0x8917;
const SIOCGIFBRDADDR = 0x8919;
const SIOCGIFNETMASK = 0x891b;
const SIOCGIFMETRIC = 0x891d;
const SIOCGIFMTU = 0x8921;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFTXQLEN = 0x8942;
const SIOCETHTOOL = 0x8946;
const SIOCGIFMAP = 0x8970;
/** From here on requests are a driver's own. */
const SIOCDEVPRIVATE = 0x89f0;

export function interfaceIoctl(task: Task, stack: NetworkStack, request: number, arg: number): number {
  if (request === SIOCGIFCONF) return listAddresses(task, stack, arg);
  if (request < 0x8910 || request > 0x89ff) return -ENOTTY;
  const bytes = new Uint8Array(IFREQ_SIZE);
  if (task.mm.readBytes(arg, bytes) < 0) return -EFAULT;
  const view = new DataView(bytes.buffer);
  if (request === SIOCGIFNAME) {
    const device = stack.deviceByIndex(view.getInt32(IFNAMSIZ, true));
    if (device === null) return -ENODEV;
    bytes.fill(0, 0, IFNAMSIZ);
    bytes.set(Buffer.from(device.name, "latin1"));
    return task.mm.writeBytes(arg, bytes);
  }
  const name = Buffer.from(bytes.subarray(0, IFNAMSIZ)).toString("latin1").split("\0")[0]!;
  // "eth0:1" names an address of eth0 by its label.
  const device = stack.deviceByName(name.split(":")[0]!);
  if (!isGet(request)) {
    if (request === SIOCETHTOOL || request >= SIOCDEVPRIVATE) return device === null ? -ENODEV : -EOPNOTSUPP;
    if (!isSet(request)) return -ENOTTY;
    if (!capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
    if (device === null) return -ENODEV;
    const up = (view.getInt16(IFNAMSIZ, true) & device.flags & IFF_UP) !== 0;
    if (request === SIOCSIFFLAGS && up) return 0;
    return -EOPNOTSUPP;
  }
  if (device === null) return -ENODEV;
  bytes.fill(0, IFNAMSIZ);
  const result = fill(request, device, name, bytes, view);
  return result < 0 ? result : task.mm.writeBytes(arg, bytes);
}

const GETS = new Set([
  SIOCGIFFLAGS,
  SIOCGIFADDR,
  SIOCGIFDSTADDR,
  SIOCGIFBRDADDR,
  SIOCGIFNETMASK,
  SIOCGIFMETRIC,
  SIOCGIFMTU,
  SIOCGIFHWADDR,
  SIOCGIFINDEX,
  SIOCGIFTXQLEN,
  SIOCGIFMAP,
]);
const isGet = (request: number): boolean => GETS.has(request);
const isSet = (request: number): boolean =>
  (request >= 0x8914 && request <= 0x8924) || (request >= 0x8930 && request <= 0x8943);

function fill(request: number, device: NetDevice, name: string, bytes: Uint8Array, view: DataView): number {
  const at = IFNAMSIZ;
  switch (request) {
    case SIOCGIFFLAGS:
      view.setUint16(at, device.flags & 0xffff, true);
      return 0;
    case SIOCGIFMTU:
      view.setInt32(at, device.mtu, true);
      return 0;
    case SIOCGIFINDEX:
      view.setInt32(at, device.index, true);
      return 0;
    case SIOCGIFTXQLEN:
      view.setInt32(at, deviceNumber(device, IFLA_TXQLEN, 1000), true);
      return 0;
    case SIOCGIFMETRIC:
    case SIOCGIFMAP:
      return 0;
    case SIOCGIFHWADDR:
      view.setUint16(at, device.hardwareType, true);
      bytes.set(device.hardwareAddress.subarray(0, 14), at + 2);
      return 0;
  }
  const address = addressNamed(device, name);
  if (address === undefined) return -EADDRNOTAVAIL;
  view.setUint16(at, AF_INET, true);
  const ip = shownIp(request, address);
  if (typeof ip === "number") ipToBytes(ip, bytes, at + 4, 4);
  return 0;
}

const labelOf = (device: NetDevice, address: DeviceAddress): string => address.label ?? device.name;

/** The first IPv4 address with that label, else the first one; an alias must be there. */
function addressNamed(device: NetDevice, name: string): DeviceAddress | undefined {
  const all = device.addresses.filter(({ ip }) => typeof ip === "number");
  return all.find((address) => labelOf(device, address) === name) ?? (name.includes(":") ? undefined : all[0]);
}

function shownIp(request: number, { ip, prefix, peer, broadcast }: DeviceAddress): Ip {
  switch (request) {
    case SIOCGIFNETMASK:
      return netmask(prefix);
    case SIOCGIFBRDADDR:
      // The loopback device has no broadcast address.
      return broadcast ?? 0;
    case SIOCGIFDSTADDR:
      return peer ?? ip;
    default:
      return ip;
  }
}

/** SIOCGIFCONF: IPv4 addresses; with a NULL buffer only how much room they need. */
function listAddresses(task: Task, stack: NetworkStack, arg: number): number {
  const view = task.mm.readStruct(arg, 16);
  if (view === null) return -EFAULT;
  const room = view.getInt32(0, true);
  const buffer = getU64(view, 8);
  let used = 0;
  for (const device of stack.devices)
    for (const address of device.addresses) {
      const { ip } = address;
      if (typeof ip !== "number") continue;
      if (buffer !== 0) {
        if (room - used < IFREQ_SIZE) break;
        const bytes = new Uint8Array(IFREQ_SIZE);
        bytes.set(Buffer.from(labelOf(device, address), "latin1"));
        bytes[IFNAMSIZ] = AF_INET;
        ipToBytes(ip, bytes, IFNAMSIZ + 4, 4);
        if (task.mm.writeBytes(buffer + used, bytes) < 0) return -EFAULT;
      }
      used += IFREQ_SIZE;
    }
  return room < 0 ? -EINVAL : task.mm.writeU32(arg, used);
}
