/** The network broker at the sandbox's end: taken over with the first container, asked before a program starts. */
import { EEXIST } from "../kernel/abi/errno.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { BrokerWaiter } from "../kernel/net/outside/broker.ts";
import { OP_NETWORK } from "../kernel/net/outside/protocol.ts";
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
  const { net } = kernel;
  net.useBroker(socket);
  net.broker!.onRoutes = (bytes) => net.routesCame(bytes);
  net.askRoutes = () => askNetwork(kernel, () => {});
  net.askRoutes();
}

/** The broker says what there is of devices, addresses, routes and neighbours; then `known` is called, or when it is gone. */
function askNetwork({ net }: Kernel, known: () => void): void {
  const waiter: BrokerWaiter = {
    answered({ fd, result }) {
      if (fd >= 0) closeFd(fd);
      if (result >= 0) net.routesComplete();
      known();
    },
  };
  net.broker?.request({ op: OP_NETWORK, family: 0, type: 0, protocol: 0 }, -1, waiter);
}

/**
 * Calls `then` when the kernel knows devices, addresses and routes as they are now: engines bring the network into a container's
 * namespace between its creation and its start. At once where there is no network outside.
 */
export function whenNetworkKnown(kernel: Kernel, then: () => void): void {
  if (!kernel.net.outside) return then();
  const limit = new Limit(kernel, then);
  kernel.timers.arm(limit, kernel.now() + KNOWN_NS);
  askNetwork(kernel, () => limit.end());
}

class Limit extends Timer {
  private over = false;
  constructor(
    private readonly kernel: Kernel,
    private readonly then: () => void,
  ) {
    super();
  }
  fire(): void {
    this.kernel.log.warn("the network broker does not say what the network looks like: the program starts without");
    this.end();
  }
  end(): void {
    if (this.over) return;
    this.over = true;
    this.kernel.timers.cancel(this);
    this.then();
  }
}
