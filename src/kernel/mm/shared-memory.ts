/** Shared anonymous memory (MAP_SHARED|MAP_ANONYMOUS): a memfd of its own, shown as /dev/zero (deleted). */

import { giveShareBack, guestMemfd, takeShare } from "../../native/guest-descriptors.ts";
import { closeFd, ftruncate } from "../../native/host.ts";
import type { HostMemory } from "../../platform/platform.ts";
import { encodeCString } from "../abi/bytes.ts";
import { errnoName } from "../abi/errno.ts";
import { O_RDWR } from "../abi/fcntl.ts";
import { memoryFile } from "../state/memory-file.ts";
import { persistent } from "../state/registry.ts";
import { File } from "../vfs/file.ts";

const NAME = encodeCString("runts-shared");

/** A memfd with a guest's bytes. Whoever maps it may write to it: there is no narrower descriptor to give. */
class SharedMemory implements HostMemory {
  constructor(readonly fd: number) {}
  get readFd(): number {
    return this.fd;
  }
}

export class SharedMemoryFile extends File {
  private constructor(
    readonly memory: SharedMemory,
    readonly uid: number,
  ) {
    super(O_RDWR, null, null);
  }

  /** Memory of `length` bytes for a user, zero-filled; -errno of the host, -ENFILE. */
  static create(length: number, uid: number): SharedMemoryFile | number {
    const shared = takeShare(uid);
    if (shared < 0) return shared;
    const fd = guestMemfd(NAME, 1);
    const failed = fd < 0 ? fd : ftruncate(fd, length);
    if (failed < 0) {
      giveShareBack(uid);
      if (fd >= 0) closeFd(fd);
      return failed;
    }
    return new SharedMemoryFile(new SharedMemory(fd), uid);
  }

  override onRelease(): void {
    closeFd(this.memory.fd);
    giveShareBack(this.uid);
  }
  override description(): string {
    return "/dev/zero (deleted)";
  }
}

persistent("shared-memory", SharedMemory, { as: { fd: memoryFile(NAME) } });
persistent("shared-memory-file", SharedMemoryFile, {
  reopen(file) {
    const shared = takeShare(file.uid);
    if (shared < 0) throw new Error(`shared memory of user ${file.uid}: ${errnoName(-shared)}`);
  },
});
