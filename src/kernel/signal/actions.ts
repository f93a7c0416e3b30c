/** Signal dispositions, shared by CLONE_SIGHAND. Source: sigaction(2). */
import { SigSet } from "./task-signals.ts";

export const SIG_DFL = 0;
export const SIG_IGN = 1;

export interface SignalAction {
  /** SIG_DFL, SIG_IGN or the handler's address. */
  handler: number;
  flags: number;
  restorer: number;
  mask: SigSet;
}

export class SignalActions {
  users = 1;
  readonly actions: SignalAction[] = [];
  constructor() {
    for (let i = 0; i <= 64; i++) this.actions.push({ handler: SIG_DFL, flags: 0, restorer: 0, mask: new SigSet() });
  }
  copy(): SignalActions {
    const copy = new SignalActions();
    for (let i = 1; i <= 64; i++) {
      const from = this.actions[i]!;
      copy.actions[i] = { ...from, mask: from.mask.clone() };
    }
    return copy;
  }
}
