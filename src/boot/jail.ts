/**
 * The jail of the sandbox process. When it has closed, the process sees nothing of the host but what it holds open and what
 * is sent to it, and has no right that only setting up needed. docs/security.md says what that leaves.
 */
import { encodeCString } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { useOwnDescriptors } from "../native/files.ts";
import { closeFd, openat2 } from "../native/host.ts";
import { closeLibraryFile } from "../native/library.ts";
import { dismissHelper, enterRoot, setDumpable } from "../native/sandbox.ts";
import type { Taken } from "./from-host.ts";
import { closeFilter } from "./seccomp.ts";

const AT_FDCWD = -100;
const O_DIRECTORY = 0o200000;

/** Nothing of a guest has run before, and nothing of a container is known. */
export function closeJail({ kernel, plugins, hostInfo, ownDescriptors }: Taken): void {
  closeLibraryFile();
  // Files of guests have the modes that guests give them.
  process.umask(0);
  enterEmptyRoot();
  hostInfo.procFd = Math.max(-1, openat2(AT_FDCWD, encodeCString("/proc"), O_DIRECTORY, 0, 0));
  const inJail = openat2(AT_FDCWD, encodeCString("/proc/self/fd"), O_DIRECTORY, 0, 0);
  if (inJail < 0) useOwnDescriptors(ownDescriptors);
  else for (const fd of [inJail, ownDescriptors]) if (fd >= 0) closeFd(fd);
  const dismissed = dismissHelper();
  if (dismissed < 0) throw new Error(`the set-up helper is gone (${errnoName(-dismissed)})`);
  // Neither memory images of this process nor its /proc directory are for others of the same user.
  setDumpable(0);
  const filtered = closeFilter(plugins.platforms.hostCalls);
  if (filtered < 0) throw new Error(`cannot install the sandbox's system call filter (${errnoName(-filtered)})`);
  kernel.log.debug("jail closed");
}

/** From here on the process sees nothing of the host but what it holds open. */
function enterEmptyRoot(): void {
  let last = 0;
  for (const dir of ["/tmp", "/run", "/mnt", "/var"]) {
    last = enterRoot(encodeCString(dir));
    if (last === 0) return;
  }
  throw new Error(`cannot enter an empty root (${errnoName(-last)})`);
}
