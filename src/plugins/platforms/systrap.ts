/** The sandbox half of the systrap platform's plugin. */
import type { KernelApi } from "../../core/plugin.ts";
import { SystrapPlatform } from "../../platform/systrap/systrap.ts";

export function sandbox(kernel: KernelApi): void {
  kernel.platform("systrap", { create: (options) => new SystrapPlatform(options), hostCalls: [] });
}
