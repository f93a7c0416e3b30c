/** Inode numbers of namespaces, as /proc/PID/ns shows them. Source: namespaces(7), Linux include/linux/proc_ns.h. */
import { persistent } from "./state/registry.ts";

/** The first ones have the numbers of Linux' initial namespaces, as if the first container were the machine. */
const INITIAL = {
  ipc: 4026531839,
  uts: 4026531838,
  user: 4026531837,
  pid: 4026531836,
  cgroup: 4026531835,
  time: 4026531834,
  net: 4026531840,
  mnt: 4026531841,
} as const;
export type NamespaceKind = keyof typeof INITIAL;

/** Further ones: above those that Linux gives out at boot. */
const FIRST_FURTHER = 4026532200;

export class NamespaceNumbers {
  private readonly given = new Set<NamespaceKind>();
  private further = FIRST_FURTHER;

  /** The number of a new namespace. */
  next(kind: NamespaceKind): number {
    if (!this.given.has(kind)) {
      this.given.add(kind);
      return INITIAL[kind];
    }
    return this.further++;
  }
  /** The number of a kind of which there is only one. */
  only(kind: "net" | "time" | "user"): number {
    return INITIAL[kind];
  }
}

persistent("namespace-numbers", NamespaceNumbers);
