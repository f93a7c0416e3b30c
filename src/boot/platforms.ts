/** The platforms that plugins have registered in this sandbox, and the host calls of the one that is used. */
import type { PlatformMaker } from "../core/plugin.ts";
import { SYSCALL_NUMBERS, type SyscallName } from "../kernel/abi/syscall-numbers.ts";
import type { Platform } from "../platform/platform.ts";

export class Platforms {
  private readonly makers = new Map<string, PlatformMaker>();
  /** Those of every platform that has been made: what the filter must let through for them. */
  readonly hostCalls = new Set<SyscallName>();

  add(name: string, maker: PlatformMaker): void {
    if (this.makers.has(name)) throw new Error(`there is a platform "${name}" already`);
    for (const call of maker.hostCalls)
      if (!Object.hasOwn(SYSCALL_NUMBERS, call)) throw new Error(`platform "${name}": no system call is named ${call}`);
    this.makers.set(name, maker);
  }

  make(name: string, pollerFd: number): Platform {
    const maker = this.makers.get(name);
    if (maker === undefined)
      throw new Error(
        `unknown platform "${name}" (in this sandbox there are: ${[...this.makers.keys()].join(", ") || "none"})`,
      );
    for (const call of maker.hostCalls) this.hostCalls.add(call as SyscallName);
    return maker.create({ pollerFd, make: (other) => this.make(other, pollerFd) });
  }
}
