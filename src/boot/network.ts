/** The network broker at the sandbox's end: taken over with the first container, asked before a program starts. */
import { EEXIST } from "../kernel/abi/errno.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { BrokerWaiter } from "../kernel/net/outside/broker.ts";
import { type Answer as BrokerAnswer, OP_NETWORK } from "../kernel/net/outside/protocol.ts";
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
  askNetwork(kernel, { answered: closeDescriptor });
}

/** The broker says what there is of devices, addresses, routes and neighbours, then answers. */
function askNetwork({ net }: Kernel, waiter: BrokerWaiter): void {
  net.broker?.request({ op: OP_NETWORK, family: 0, type: 0, protocol: 0 }, -1, waiter);
}

function closeDescriptor({ fd }: BrokerAnswer): void {
  if (fd >= 0) closeFd(fd);
}

/**
 * Calls `then` when the kernel knows devices, addresses and routes as they are now: engines bring the network into a container's
 * namespace between its creation and its start. At once where there is no network outside.
 */
export function whenNetworkKnown(kernel: Kernel, then: () => void): void {
  if (!kernel.net.outside) return then();
  const asked = new Asked(kernel, then);
  kernel.timers.arm(asked, kernel.now() + KNOWN_NS);
  askNetwork(kernel, asked);
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
  answered(answer: BrokerAnswer): void {
    closeDescriptor(answer);
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
