import { beforeEach, describe, expect, test } from "bun:test";
import { EINVAL, ENOENT } from "../../abi/errno.ts";
import { Rtnetlink, usualNetwork } from "../../testing/rtnetlink.ts";
import { resaved } from "../../testing/saving.ts";
import { TaskKit } from "../../testing/task-kit.ts";
import { Dentry, Mount, type Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { Inode } from "../../vfs/inode.ts";
import { KernelIo } from "../../vfs/io.ts";
import { PseudoDirectory } from "../pseudo/directory.ts";
import type { PseudoTextFile } from "../pseudo/text.ts";
import { SysFs } from "./sys-fs.ts";

let kit: TaskKit;
let fs: SysFs;
let mount: Mount;
beforeEach(() => {
  kit = new TaskKit();
  kit.kernel.net.routesCame(usualNetwork(4321));
  kit.kernel.net.routesComplete();
  fs = new SysFs(kit.kernel);
  mount = new Mount(1, fs, new Dentry("", null, fs.root), null, null, 0);
});

function find(path: string): Inode | number {
  let at: Inode | number = fs.root;
  for (const name of path.split("/"))
    at = at instanceof PseudoDirectory ? at.lookup(name, kit.task) : typeof at === "number" ? at : -ENOENT;
  return at;
}
function open(path: string): File | number {
  const inode = find(path);
  if (typeof inode === "number") return inode;
  const place: Path = { mount, dentry: new Dentry(path, null, inode) };
  return inode.open(place, 0, kit.task);
}
function read(path: string): string | number {
  const file = open(path);
  if (typeof file === "number") return file;
  const bytes = new Uint8Array(100);
  const n = (file as PseudoTextFile).read(kit.task, new KernelIo(bytes), 0);
  return n < 0 ? n : Buffer.from(bytes.subarray(0, n)).toString();
}
function names(path: string): string[] {
  const found: string[] = [];
  (find(path) as PseudoDirectory).emitFrom(kit.task, 0, 1, (name) => found.push(name) > 0);
  return found.slice(2);
}

const DEVICES = "devices/virtual/net";

describe("/sys/class/net", () => {
  test("has what there is", () => {
    expect(names("class/net")).toEqual(["lo", "eth0"]);
    expect((find("class/net/eth0") as Inode & { readlink(): string }).readlink()).toBe(
      "../../devices/virtual/net/eth0",
    );
    expect(find("class/net/eth1")).toBe(-ENOENT);
    expect(names(`${DEVICES}/eth0`)).toContain("statistics");
  });

  test("says of devices what they are", () => {
    const of = (device: string) => (name: string) => read(`${DEVICES}/${device}/${name}`);
    expect(
      ["address", "mtu", "ifindex", "operstate", "type", "carrier", "speed", "duplex", "flags"].map(of("eth0")),
    ).toEqual(["02:42:0a:00:00:02\n", "1500\n", "2\n", "up\n", "1\n", "1\n", "10000\n", "full\n", "0x1003\n"]);
    expect(["address", "mtu", "ifindex", "operstate", "type", "carrier", "flags"].map(of("lo"))).toEqual([
      "00:00:00:00:00:00\n",
      "65536\n",
      "1\n",
      "unknown\n",
      "772\n",
      "1\n",
      "0x9\n",
    ]);
    expect(of("lo")("speed")).toBe(-EINVAL);
    expect(of("eth0")("statistics/rx_bytes")).toBe("4321\n");
  });

  test("follows what becomes of them", () => {
    const mtu = find(`${DEVICES}/eth0/mtu`) as Inode & { content(): unknown };
    kit.kernel.net.routesCame(new Rtnetlink(false).link(2, "net0", { mtu: 1400 }).bytes);
    expect(names("class/net")).toEqual(["lo", "net0"]);
    expect(find(`${DEVICES}/eth0`)).toBe(-ENOENT);
    expect(mtu.content()).toBe("1400\n");
    kit.kernel.net.routesCame(new Rtnetlink(false).link(2, "net0", { gone: true }).bytes);
    expect(mtu.content()).toBe(-EINVAL);
  });

  test("is there in a restored kernel, also where it is held open", () => {
    const held = ["class/net", DEVICES, `${DEVICES}/lo`, `${DEVICES}/lo/statistics`, `${DEVICES}/lo/mtu`];
    for (const [fd, path] of held.entries()) {
      const file = open(path) as File;
      expect(kit.task.files.install(file, false, 100)).toBe(fd);
    }
    // A link is held by its dentry.
    const link = new Dentry("lo", null, find("class/net/lo") as Inode);
    (kit.task.files.get(0) as File).path!.dentry.attach(link);
    const kernel = resaved(kit.kernel, undefined, undefined, [], false);
    const files = [...kernel.tasks][0]!.files;
    const bytes = new Uint8Array(100);
    const n = (files.get(4) as PseudoTextFile).read([...kernel.tasks][0]!, new KernelIo(bytes), 0);
    expect(Buffer.from(bytes.subarray(0, n)).toString()).toBe("65536\n");
    const seen: string[] = [];
    const directory = files.get(2)!.inode as PseudoDirectory;
    directory.emitFrom([...kernel.tasks][0]!, 0, 1, (name) => seen.push(name) > 0);
    expect(seen).toContain("operstate");
  });
});
