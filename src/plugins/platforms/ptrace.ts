/** The sandbox half of the ptrace platform's plugin. */
import type { KernelApi } from "../../core/plugin.ts";
import { PtracePlatform } from "../../platform/ptrace/ptrace.ts";

export function sandbox(kernel: KernelApi): void {
  kernel.platform("ptrace", { create: (options) => new PtracePlatform(options), hostCalls: ["ptrace"] });
}
