/** The built-in file system types, by the names that mounts use, and the devices. Boot calls it before the first mount. */
import { EINVAL } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { CgroupFs } from "./cgroup/cgroup-fs.ts";
import { registerDevices, registerPseudoFileSystems } from "./dev/register.ts";
import { Tmpfs, type TmpfsOptions } from "./tmpfs/tmpfs.ts";

/** "64m", "50%" of `whole`, "1000" → bytes; NaN when it is none of these. */
function parseSize(text: string, whole: number): number {
  const match = /^(\d+)([kmgt%]?)$/i.exec(text);
  if (match === null) return Number.NaN;
  const unit = match[2]!.toLowerCase();
  const value = Number(match[1]);
  return unit === "%" ? (whole * value) / 100 : value * 1024 ** ["", "k", "m", "g", "t"].indexOf(unit);
}

/** Options of tmpfs(5); -EINVAL for an unknown one or a bad value. */
export function tmpfsOptions(kernel: Kernel, options: readonly string[]): TmpfsOptions | number {
  const parsed: TmpfsOptions = {};
  const memory = kernel.hostInfo.memTotal * 1024;
  for (const option of options) {
    const [key, value = ""] = option.split("=", 2) as [string, string?];
    let number: number;
    if (key === "size") number = parseSize(value, memory);
    else if (key === "nr_blocks") number = parseSize(value, memory) * 4096;
    else if (key === "nr_inodes") number = parseSize(value, memory);
    else if (key === "mode") number = Number.parseInt(value, 8);
    else if (key === "uid" || key === "gid") number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    else if (key === "huge" || key === "mpol" || key === "noswap" || key === "inode64" || key === "inode32") continue;
    else return -EINVAL;
    if (Number.isNaN(number)) return -EINVAL;
    if (key === "nr_blocks") parsed.size = number;
    else if (key === "nr_inodes") parsed.inodes = number;
    else if (key === "size" || key === "mode" || key === "uid" || key === "gid") parsed[key] = number;
  }
  return parsed;
}

export function registerFileSystems(kernel: Kernel): void {
  const types = kernel.fileSystemTypes;
  types.set("tmpfs", {
    make(kernel, _source, options) {
      const parsed = tmpfsOptions(kernel, options);
      return typeof parsed === "number" ? parsed : new Tmpfs(kernel, parsed);
    },
    remount(kernel, fs, options) {
      const parsed = tmpfsOptions(kernel, options);
      if (typeof parsed === "number") return parsed;
      return fs instanceof Tmpfs ? fs.reconfigure(parsed) : 0;
    },
  });
  for (const type of ["cgroup", "cgroup2"])
    types.set(type, {
      make: (_kernel, _source, _options, container) => (container === null ? -EINVAL : new CgroupFs(container)),
    });
  // There are no message queues inside; what looks for their directory finds it, empty.
  types.set("mqueue", { make: () => new Tmpfs(kernel, { type: "mqueue", mode: 0o1777, inodes: 64 }) });
  registerPseudoFileSystems(kernel);
  registerDevices(kernel);
}
