/**
 * A second descriptor of host memory that cannot write: what a process gets which may not write through its mapping.
 *
 * It is opened when it is asked for and used at once (the platform sends it to the stub), so it need not stay open: the
 * most recent ones do, since programs map the same few files again and again.
 */
import { reopenReadOnly } from "../../native/files.ts";
import { forGuest } from "../../native/guest-descriptors.ts";
import { closeFd } from "../../native/host.ts";
import { persistent } from "../state/registry.ts";

/** Twins that are open at a time. */
const OPEN_MAX = 256;
/** Those, the oldest first. */
const open = new Set<ReadOnlyTwin>();

export class ReadOnlyTwin {
  private fd = -1;
  /** The twin of a descriptor, always the same one; good until the next is asked for. -errno. */
  of(fd: number): number {
    if (this.fd >= 0) return this.fd;
    if (open.size >= OPEN_MAX)
      for (const oldest of open) {
        oldest.close();
        break;
      }
    const twin = forGuest(reopenReadOnly(fd));
    if (twin < 0) return twin;
    this.fd = twin;
    open.add(this);
    return twin;
  }
  close(): void {
    if (this.fd < 0) return;
    closeFd(this.fd);
    this.fd = -1;
    open.delete(this);
  }
}

persistent("read-only-twin", ReadOnlyTwin, { transient: { fd: () => -1 } });
