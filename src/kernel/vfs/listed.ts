/**
 * Directory entries that open directories keep for who reads them: as many as this in all, of which a user other than
 * root has half at most.
 */
import { ENOMEM } from "../abi/errno.ts";
import { persistent } from "../state/registry.ts";

export const LISTED_MAX = 1 << 20;

let kept = 0;
const users = new Map<number, number>();

/** What one open directory keeps. */
export class Listed {
  private count = 0;
  private uid = 0;

  /** Counts more entries as kept for a user: 0, or -ENOMEM when that is too many. */
  add(uid: number, count: number): number {
    if (this.count === 0) this.uid = uid;
    const ofUser = users.get(this.uid) ?? 0;
    if (kept + count > LISTED_MAX || (this.uid !== 0 && ofUser + count > LISTED_MAX / 2)) return -ENOMEM;
    this.count += count;
    kept += count;
    users.set(this.uid, ofUser + count);
    return 0;
  }
  /** So many are kept, however many that is in all. */
  set(count: number): void {
    const { uid } = this;
    this.clear();
    this.uid = uid;
    this.count = count;
    this.countAgain();
  }
  /** In a restored kernel, which has no more of them than the saved one had. */
  countAgain(): void {
    kept += this.count;
    if (this.count > 0) users.set(this.uid, (users.get(this.uid) ?? 0) + this.count);
  }
  /** None is kept any more. */
  clear(): void {
    if (this.count === 0) return;
    kept -= this.count;
    const rest = users.get(this.uid)! - this.count;
    if (rest === 0) users.delete(this.uid);
    else users.set(this.uid, rest);
    this.count = 0;
  }
}

persistent("listed", Listed, { reopen: (listed) => listed.countAgain() });
