/**
 * /sys/class/net and what its links lead to: a directory for each network device there is when somebody looks.
 *
 * Source: sysfs(5), Linux Documentation/ABI/testing/sysfs-class-net and sysfs-class-net-statistics, net/core/net-sysfs.c. Every
 * device is a virtual one. Gaps: nothing can be written; queues are left out.
 */
import { EINVAL, ENOENT } from "../../abi/errno.ts";
import { S_IFDIR, S_IFLNK } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { deviceStatistics } from "../../net/counters.ts";
import {
  deviceNumber,
  hasCarrier,
  IFF_UP,
  IFLA_CARRIER_CHANGES,
  IFLA_CARRIER_DOWN_COUNT,
  IFLA_CARRIER_UP_COUNT,
  IFLA_GROUP,
  IFLA_LINK,
  IFLA_LINKMODE,
  IFLA_OPERSTATE,
  IFLA_PROTO_DOWN,
  IFLA_TXQLEN,
  LO,
  type NetDevice,
  STATISTICS,
} from "../../net/stack.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Inode } from "../../vfs/inode.ts";
import { hardwareText } from "../proc/net-devices.ts";
import { hex } from "../proc/units.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import { PseudoLinkBase } from "../pseudo/link.ts";
import { byPlace, type PseudoFs, type PseudoInode } from "../pseudo/node.ts";
import { type Content, PseudoFile } from "../pseudo/text.ts";

/** Inode numbers: of each device a range of its own. */
const ino = (device: number, at: number): number => (device + 1) * 2 ** 24 + at;
const DIRECTORY = 0;
const LINK = 1;
const STATISTICS_DIRECTORY = 2;
const SUBSYSTEM = 3;
const FILES = 0x100;
const COUNTERS = 0x200;

const STATES = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];
/** IFF_RUNNING, IFF_LOWER_UP, IFF_DORMANT and IFF_ECHO, which are no flags of the device itself. */
const NOT_OWN = 0x70040;
const IFLA_IFALIAS = 20;
const IFLA_LINKINFO = 18;

const isUp = ({ flags }: NetDevice): boolean => (flags & IFF_UP) !== 0;
/** What a device says of how fast it is: a pair of virtual ones has a number, a real one may not know, others do not say. */
function pace(device: NetDevice, ofPair: string, ofReal: string): string | number {
  if (!isUp(device) || device.index === LO) return -EINVAL;
  const info = device.attributes?.get(IFLA_LINKINFO);
  if (info === undefined) return ofReal;
  return Buffer.from(info).includes("veth\0") ? ofPair : -EINVAL;
}

/** Files of a device's directory; -errno where reading fails. */
const ATTRIBUTES: Readonly<Record<string, (device: NetDevice) => string | number>> = {
  addr_assign_type: () => "0",
  addr_len: ({ hardwareAddress }) => String(hardwareAddress.length),
  address: ({ hardwareAddress }) => hardwareText(hardwareAddress),
  broadcast: ({ broadcast }) => hardwareText(broadcast),
  carrier: (device) => (isUp(device) ? String(Number(hasCarrier(device))) : -EINVAL),
  carrier_changes: (device) => String(deviceNumber(device, IFLA_CARRIER_CHANGES, 0)),
  carrier_down_count: (device) => String(deviceNumber(device, IFLA_CARRIER_DOWN_COUNT, 0)),
  carrier_up_count: (device) => String(deviceNumber(device, IFLA_CARRIER_UP_COUNT, 0)),
  dev_id: () => "0x0",
  dev_port: () => "0",
  dormant: (device) => (isUp(device) ? String(Number((device.flags & 0x20000) !== 0)) : -EINVAL),
  duplex: (device) => pace(device, "full", "unknown"),
  flags: ({ flags }) => `0x${hex((flags & ~NOT_OWN) >>> 0)}`,
  ifalias: ({ attributes }) =>
    Buffer.from(attributes?.get(IFLA_IFALIAS) ?? [])
      .toString("latin1")
      .split("\0")[0]!,
  ifindex: ({ index }) => String(index),
  iflink: (device) => String(deviceNumber(device, IFLA_LINK, device.index)),
  link_mode: (device) => String(deviceNumber(device, IFLA_LINKMODE, 0)),
  mtu: ({ mtu }) => String(mtu),
  name_assign_type: ({ index }) => (index === LO ? "2" : "4"),
  netdev_group: (device) => String(deviceNumber(device, IFLA_GROUP, 0)),
  operstate: (device) => (isUp(device) ? (STATES[deviceNumber(device, IFLA_OPERSTATE, 0)] ?? "unknown") : "down"),
  proto_down: (device) => String(deviceNumber(device, IFLA_PROTO_DOWN, 0)),
  speed: (device) => pace(device, "10000", "-1"),
  testing: (device) => (isUp(device) ? "0" : -EINVAL),
  tx_queue_len: (device) => String(deviceNumber(device, IFLA_TXQLEN, 1000)),
  type: ({ hardwareType }) => String(hardwareType),
  uevent: ({ name, index }) => `INTERFACE=${name}\nIFINDEX=${index}`,
};
/** Of the counters all but the newest has a file. */
const COUNTER_FILES = STATISTICS.filter((name) => name !== "rx_otherhost_dropped");

/** /sys/devices/virtual/net, and /sys/class/net with links there. */
export class NetDevicesDirectory extends PseudoDirectory {
  constructor(
    fs: PseudoFs,
    private readonly asLinks: boolean,
  ) {
    super(fs);
  }
  private get devices(): readonly NetDevice[] {
    return this.fs.kernel.net.stack.devices;
  }
  override links(): number {
    return 2 + (this.asLinks ? 0 : this.devices.length);
  }
  protected override lookupComputed(name: string): Inode | number | null {
    const device = this.devices.find((one) => one.name === name);
    if (device === undefined) return -ENOENT;
    if (!this.asLinks) return new NetDeviceDirectory(this.fs, device.index, false);
    return new NetDeviceLink(this.fs, `../../devices/virtual/net/${name}`, ino(device.index, LINK));
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    for (const { index, name } of this.devices)
      if (index >= from)
        yield {
          key: index,
          name,
          ino: ino(index, this.asLinks ? LINK : DIRECTORY),
          type: this.asLinks ? S_IFLNK : S_IFDIR,
        };
  }
}

/** The directory of a device, or that of its statistics. It stays that of this device, whatever its name becomes. */
class NetDeviceDirectory extends PseudoDirectory {
  private filled = false;

  constructor(
    fs: PseudoFs,
    private readonly device: number,
    private readonly ofStatistics: boolean,
  ) {
    super(fs, 0o555, ino(device, ofStatistics ? STATISTICS_DIRECTORY : DIRECTORY));
  }
  override standsFor(other: Inode): boolean {
    return other instanceof NetDeviceDirectory && other.ino === this.ino;
  }
  override links(): number {
    return this.ofStatistics ? 2 : 3;
  }
  protected override checkOpen(): number {
    return this.fs.kernel.net.stack.deviceByIndex(this.device) === null ? -ENOENT : 0;
  }
  protected override fixed(): ReadonlyMap<string, PseudoInode> {
    if (!this.filled) this.fill();
    return this.children;
  }
  private fill(): void {
    this.filled = true;
    const { fs, device } = this;
    if (this.ofStatistics) {
      for (const [at, name] of COUNTER_FILES.entries())
        this.add(name, new NetDeviceFile(fs, device, name, ino(device, COUNTERS + at)));
      return;
    }
    for (const [at, name] of Object.keys(ATTRIBUTES).entries())
      this.add(name, new NetDeviceFile(fs, device, name, ino(device, FILES + at)));
    this.add("statistics", new NetDeviceDirectory(fs, device, true));
    this.add("subsystem", new NetDeviceLink(fs, "../../../../class/net", ino(device, SUBSYSTEM)));
  }
}

/** An attribute or a counter, by its name. */
class NetDeviceFile extends PseudoFile {
  constructor(
    fs: PseudoFs,
    private readonly device: number,
    private readonly name: string,
    ino: number,
  ) {
    super(fs, 0o444, ino);
  }
  override standsFor(other: Inode): boolean {
    return other instanceof NetDeviceFile && other.ino === this.ino;
  }
  override content(): Content {
    const { net }: Kernel = this.fs.kernel;
    const device = net.stack.deviceByIndex(this.device);
    if (device === null) return -EINVAL;
    const attribute = ATTRIBUTES[this.name];
    if (attribute !== undefined) {
      const value = attribute(device);
      return typeof value === "number" ? value : `${value}\n`;
    }
    net.refreshRoutes();
    const counter = STATISTICS.find((name) => name === this.name);
    return counter === undefined ? -EINVAL : `${deviceStatistics(net, device)[counter]}\n`;
  }
}

class NetDeviceLink extends PseudoLinkBase {
  constructor(
    fs: PseudoFs,
    private readonly target: string,
    ino: number,
  ) {
    super(fs, 0o777, ino);
  }
  override standsFor(other: Inode): boolean {
    return other instanceof NetDeviceLink && other.ino === this.ino;
  }
  override readlink(): string {
    return this.target;
  }
}

remade("net-devices-directory", NetDevicesDirectory, byPlace());
// What is in it is made again for whoever looks, with the same numbers.
persistent("net-device-directory", NetDeviceDirectory, {
  transient: { children: () => new Map(), filled: () => false },
});
persistent("net-device-file", NetDeviceFile);
persistent("net-device-link", NetDeviceLink);
