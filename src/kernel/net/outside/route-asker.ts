/**
 * Asks the network broker for all that there is outside: devices, addresses, routes, neighbours. It answers one such question at
 * a time, so who asks meanwhile has the next.
 */
import { closeFd } from "../../../native/host.ts";
import { perCall } from "../../state/registry.ts";
import type { Network } from "../network.ts";
import type { Broker, BrokerWaiter } from "./broker.ts";
import { type Answer, OP_NETWORK } from "./protocol.ts";

/** How often in a row it is asked again when it fails. */
const FAILURES_MAX = 3;

export class RouteAsker implements BrokerWaiter {
  asking = false;
  /** How long the last answer took, in nanoseconds. */
  took = 0;
  private since = 0;
  private current: BrokerWaiter[] = [];
  /** Those who want what is after now; null: nobody has asked. */
  private next: BrokerWaiter[] | null = null;
  private failures = 0;

  constructor(
    private readonly net: Network,
    private readonly broker: Broker,
  ) {}

  ask(waiter: BrokerWaiter | null): void {
    this.next ??= [];
    if (waiter !== null) this.next.push(waiter);
    this.askNext();
  }

  private askNext(): void {
    if (this.asking || this.next === null) return;
    this.asking = true;
    this.current = this.next;
    this.next = null;
    this.since = this.net.kernel.now();
    this.broker.request({ op: OP_NETWORK, family: 0, type: 0, protocol: 0 }, -1, this);
  }

  answered(answer: Answer): void {
    if (answer.fd >= 0) closeFd(answer.fd);
    this.asking = false;
    this.took = this.net.kernel.now() - this.since;
    const { current } = this;
    this.current = [];
    if (answer.result === 0) {
      this.failures = 0;
      this.net.routesComplete();
    } else {
      this.net.routesFailed();
      if (this.broker.alive && ++this.failures < FAILURES_MAX) {
        this.next = [...current, ...(this.next ?? [])];
        return this.askNext();
      }
      this.failures = 0;
    }
    for (const waiter of current) waiter.answered({ ...answer, fd: -1 });
    this.askNext();
  }
}

// Never saved: it goes with its broker.
perCall(RouteAsker);
