/** The network broker at the sandbox's end: taken over with the first container, asked before a program starts. */
import { EEXIST } from "../kernel/abi/errno.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { BrokerWaiter } from "../kernel/net/outside/broker.ts";
import { Timer } from "../kernel/time/timers.ts";
import { closeFd } from "../native/host.ts";
import type { ContainerDescriptors } from "./container.ts";
import { Refusal } from "./control.ts";

/** How long a start waits for what the network looks like. */
const KNOWN_NS = 1e9;

/** Takes over the broker's socket, if one has come with the container, which is the sandbox's first. */
export function takeBroker(kernel: Kernel, descriptors: ContainerDescriptors): void {
  const socket = descriptors.takeNetwork();
  if (socket < 0) return;
  if (kernel.net.outside) {
    closeFd(socket);
    throw new Refusal("add: the sandbox has a network already", EEXIST);
  }
  kernel.net.useBroker(socket);
  kernel.net.askRoutes(null);
}

/**
 * Calls `then` when the kernel knows devices, addresses and routes as they are now: engines bring the network into a container's
 * namespace between its creation and its start. At once where there is no network outside.
 */
export function whenNetworkKnown(kernel: Kernel, then: () => void): void {
  if (!kernel.net.outside) return then();
  const asked = new Asked(kernel, then);
  kernel.timers.arm(asked, kernel.now() + KNOWN_NS);
  kernel.net.askRoutes(asked);
}

class Asked extends Timer implements BrokerWaiter {
  private told = false;
  constructor(
    private readonly kernel: Kernel,
    private readonly then: () => void,
  ) {
    super();
  }
  /** The dump is complete; or there will be none. */
  answered(): void {
    this.kernel.timers.cancel(this);
    this.tell();
  }
  fire(): void {
    this.kernel.log.warn("the network broker does not say what the network looks like: the program starts without");
    this.tell();
  }
  private tell(): void {
    if (this.told) return;
    this.told = true;
    this.then();
  }
}
