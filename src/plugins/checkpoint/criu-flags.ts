/** Flags of runc's checkpoint and restore, which are CRIU's. What has no meaning here is taken and has no effect. */
import { RuntimeError } from "../../core/errors.ts";
import { flag } from "../../core/flags.ts";

const without = "accepted, without effect";

export const criuFlags = {
  imagePath: flag.string({ value: "DIR", default: "", help: "directory of the image (default: ./checkpoint)" }),
  // Connections to the outside are reset, listeners listen again, whatever is said.
  tcpEstablished: flag.boolean({ help: without, hidden: true }),
  extUnixSk: flag.boolean({ help: without, hidden: true }),
  // Terminals and locks are always saved.
  shellJob: flag.boolean({ help: without, hidden: true }),
  fileLocks: flag.boolean({ help: without, hidden: true }),
  // Cgroups are the bundle's; the network is the sandbox's own.
  manageCgroupsMode: flag.string({ help: without, hidden: true }),
  emptyNs: flag.list({ help: without, hidden: true }),
  // Files that were unlinked while open are saved.
  linkRemap: flag.boolean({ help: without, hidden: true }),
  // There are no images that build upon others.
  autoDedup: flag.boolean({ help: without, hidden: true }),
  lazyPages: flag.boolean({
    help: "not supported: pages are read from the image when they are touched anyway",
    hidden: true,
  }),
};

/** runc's. */
export const imageDirectory = (given: string): string => given || "checkpoint";

/** What would leave pages with somebody else, who is not there. */
export function refuseLazyPages(lazyPages: boolean): void {
  if (!lazyPages) return;
  throw new RuntimeError(
    "unsupported",
    "--lazy-pages: pages are not served to other hosts; an image is complete, and its pages are read when they are touched",
  );
}
