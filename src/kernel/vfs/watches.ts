/** Placeholder type until this file's subject is written. */
export interface Watches {
  readonly kind: "watches";
}
