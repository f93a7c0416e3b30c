/** Shared anonymous memory (MAP_SHARED|MAP_ANONYMOUS): a memfd of its own, shown as /dev/zero (deleted). */

import { closeFd, ftruncate, memfdCreate } from "../../native/host.ts";
import type { HostMemory } from "../../platform/platform.ts";
import { encodeCString } from "../abi/bytes.ts";
import { File } from "../vfs/file.ts";

const NAME = encodeCString("runts-shared");
const O_RDWR = 2;

export class SharedMemoryFile extends File {
  private constructor(readonly memory: HostMemory) {
    super(O_RDWR, null, null);
  }

  /** Memory of `length` bytes, zero-filled; -errno of the host. */
  static create(length: number): SharedMemoryFile | number {
    const fd = memfdCreate(NAME, 1);
    if (fd < 0) return fd;
    const sized = ftruncate(fd, length);
    if (sized < 0) {
      closeFd(fd);
      return sized;
    }
    return new SharedMemoryFile({ fd });
  }

  override onRelease(): void {
    closeFd(this.memory.fd);
  }
  override description(): string {
    return "/dev/zero (deleted)";
  }
}
