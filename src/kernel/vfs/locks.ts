/** Placeholder type until this file's subject is written. */
export interface LockTable {
  readonly kind: "locks";
}
