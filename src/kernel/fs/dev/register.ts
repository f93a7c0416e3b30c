/** Drivers and file system types that every sandbox has: boot calls both before the first mount. */
import { EINVAL } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { registerTerminals } from "../../tty/devices.ts";
import { DevPts } from "../devpts/devpts.ts";
import { ProcFs } from "../proc/proc-fs.ts";
import { SysFs } from "../sys/sys-fs.ts";
import { DevFs } from "./dev-fs.ts";
import { registerMemoryDevices } from "./memory-devices.ts";

export function registerDevices(kernel: Kernel): void {
  registerMemoryDevices(kernel);
  registerTerminals(kernel);
}

export function registerPseudoFileSystems(kernel: Kernel): void {
  const types = kernel.fileSystemTypes;
  types.set("proc", {
    make: (kernel, _source, _options, container) => (container === null ? -EINVAL : new ProcFs(kernel, container.pids)),
  });
  types.set("sysfs", { make: () => new SysFs(kernel) });
  types.set("devtmpfs", { make: () => new DevFs(kernel) });
  types.set("devpts", {
    make: (_kernel, _source, options, container) =>
      container === null ? -EINVAL : DevPts.fromOptions(container, options),
  });
}
