/**
 * Opens for a container what it may see of the host: a child of the command, in the sandbox's user namespace, in a mount
 * namespace of its own, with the ids of the sandbox process (src/native/opener.stub.c). What it opens are detached copies of
 * host mounts, so that read-only, nosuid and nodev hold in the host's kernel; the sandbox process gets the descriptors.
 *
 * It works for an ordinary user as for root: who made a user namespace has all rights over it.
 */
import { closeSync, openSync, readlinkSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { closeFd, waitChild } from "../native/host.ts";
import { openerFile, signalProcess } from "../native/host-calls.ts";
import { openerAttributes, openerForUse, openerReady, openerTree, startOpener } from "../native/sandbox.ts";

export const MOUNT_ATTR_RDONLY = 1;
export const MOUNT_ATTR_NOSUID = 2;
export const MOUNT_ATTR_NODEV = 4;
export const MOUNT_ATTR_NOEXEC = 8;
const SIGKILL = 9;

/** A process by whose user namespace and ids the opener works. */
export interface Model {
  readonly pid: number;
  /** Asked when the namespace has been opened: a later process of that number must not be taken for it. */
  isAlive(): boolean;
}

export class Opener {
  private ready = false;
  private closed = false;

  private constructor(
    private readonly socket: number,
    private readonly pid: number,
    private readonly startTime: number,
  ) {}

  /** `startTimeOf`: field 22 of a process' stat. */
  static start(model: Model, startTimeOf: (pid: number) => number): Opener {
    const userns = userNamespaceOf(model);
    const out = new Int32Array(2);
    const program = openerFile();
    const result =
      program < 0 ? program : startOpener(program, userns, encodeCString(`/proc/${model.pid}/status`), out);
    if (program >= 0) closeFd(program);
    if (userns >= 0) closeSync(userns);
    if (result < 0) throw new RuntimeError("host", `cannot start the opener of host files: ${errnoName(-result)}`);
    return new Opener(out[0]!, out[1]!, startTimeOf(out[1]!));
  }

  /** A detached copy of the mounts at `path`, with MOUNT_ATTR_* bits on each; -errno. */
  tree(path: string, attributes: number): number {
    this.begin();
    return openerTree(this.socket, encodeCString(path), attributes);
  }

  /** The same; but a single file is opened for use, for writing where that may be. */
  forUse(path: string, attributes: number): number {
    this.begin();
    return openerForUse(this.socket, encodeCString(path), attributes);
  }

  /** Sets MOUNT_ATTR_* bits on a tree that it has opened. 0 or -errno. */
  seal(tree: number, attributes: number): number {
    this.begin();
    return openerAttributes(this.socket, tree, attributes);
  }

  private begin(): void {
    if (this.ready) return;
    const result = openerReady(this.socket);
    if (result < 0)
      throw new RuntimeError(
        "host",
        `cannot open host files with the rights of the sandbox: ${errnoName(-result)}: does the host allow mounts to user namespaces?`,
      );
    this.ready = true;
  }

  /** It goes; resolves when it has. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    closeFd(this.socket);
    signalProcess({ pid: this.pid, startTime: this.startTime }, SIGKILL);
    const out = new Int32Array(2);
    // One that waits for a host file system which does not answer is left to whoever comes after us.
    for (let tries = 0; tries < 500 && waitChild(this.pid, WNOHANG, out) === 0; tries++) await Bun.sleep(1);
  }
}
const WNOHANG = 1;

/** A descriptor of the process' user namespace; -1 where it is ours. */
function userNamespaceOf({ pid, isAlive }: Model): number {
  try {
    if (readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user")) return -1;
    const fd = openSync(`/proc/${pid}/ns/user`, "r");
    if (isAlive()) return fd;
    closeSync(fd);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOENT")
      throw new RuntimeError("host", `cannot open the user namespace of the sandbox process ${pid}: ${code}`);
  }
  throw new RuntimeError("sandbox", `the sandbox process ${pid} is gone`);
}
