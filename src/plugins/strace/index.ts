/** `--strace[=names]`: prints guest system calls. The printing is the kernel's, from the calls' declarations. */

import { flag } from "../../core/flags.ts";
import { definePlugin } from "../../core/plugin.ts";

export default definePlugin({
  name: "strace",
  description: "print the system calls of guest programs",
  host(host) {
    host.flag(
      "strace",
      flag.optional({ value: "NAMES", help: "print every system call of the guest, or those named (a,b)" }),
    );
  },
});
