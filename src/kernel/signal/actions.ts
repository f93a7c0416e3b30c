/**
 * Signal dispositions, shared by CLONE_SIGHAND. Source: sigaction(2).
 *
 * Invariant: a SignalAction never changes once it is in a table; a change puts another one in its place. So fork copies
 * references, and 64 equal defaults are one object.
 */

import { persistent } from "../state/registry.ts";
import { SigSet } from "./task-signals.ts";

export const SIG_DFL = 0;
export const SIG_IGN = 1;

export interface SignalAction {
  /** SIG_DFL, SIG_IGN or the handler's address. */
  readonly handler: number;
  readonly flags: number;
  readonly restorer: number;
  readonly mask: SigSet;
}

const DEFAULT: SignalAction = { handler: SIG_DFL, flags: 0, restorer: 0, mask: new SigSet() };
const IGNORED: SignalAction = { handler: SIG_IGN, flags: 0, restorer: 0, mask: new SigSet() };

export class SignalActions {
  users = 1;
  /** By signal number; 0 is unused. */
  actions: SignalAction[] = new Array<SignalAction>(65).fill(DEFAULT);

  copy(): SignalActions {
    const copy = new SignalActions();
    copy.actions = this.actions.slice();
    return copy;
  }

  /** Back to the default, flags and mask kept (SA_RESETHAND, forced signals). */
  setDefault(signo: number): void {
    const old = this.actions[signo]!;
    if (old.handler !== SIG_DFL) this.actions[signo] = { ...old, handler: SIG_DFL };
  }

  /** execve, CLONE_CLEAR_SIGHAND: handlers go, what is ignored stays ignored. */
  reset(): void {
    this.actions = this.actions.map((action) => (action.handler === SIG_IGN ? IGNORED : DEFAULT));
  }
}

persistent("signal-actions", SignalActions);
