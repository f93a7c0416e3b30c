/** A container, by what is kept of it and what it is now. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ContainerStatus, ContainerView, OciState } from "../plugin.ts";
import type { Spec } from "../spec/schema.ts";
import type { Metadata } from "./store.ts";

/** File in the state directory: a forced delete waits for the lock. */
export const UNWANTED = "unwanted";

/** A container as it is now. */
export class Container implements ContainerView {
  constructor(
    readonly metadata: Metadata,
    readonly status: ContainerStatus,
    /** The state directory. */
    private readonly directory: string,
  ) {}

  get id(): string {
    return this.metadata.id;
  }
  get bundle(): string {
    return this.metadata.bundle;
  }
  get spec(): Spec {
    return this.metadata.spec;
  }
  get sandboxPid(): number {
    return this.metadata.sandbox?.pid ?? 0;
  }
  get sandboxId(): string {
    return this.metadata.sandboxId;
  }
  get unwanted(): boolean {
    return existsSync(join(this.directory, UNWANTED));
  }
  /** The host process that stands for the container; 0 when it has ended. */
  get pid(): number {
    return this.status === "stopped" ? 0 : (this.metadata.process?.pid ?? 0);
  }
  get state(): OciState {
    return {
      ociVersion: this.spec.ociVersion,
      id: this.id,
      status: this.status,
      pid: this.pid,
      bundle: this.bundle,
      ...(this.spec.annotations === undefined ? {} : { annotations: this.spec.annotations }),
    };
  }
}
