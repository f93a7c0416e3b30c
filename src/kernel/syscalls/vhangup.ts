/** vhangup: hangs up the caller's terminal. Manual page: vhangup(2). */
import { EPERM } from "../abi/errno.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_TTY_CONFIG, capable } from "../task/credentials.ts";
import { controllingTty } from "../tty/job-control.ts";
import { Tty } from "../tty/tty.ts";

export const vhangup = syscall("vhangup", {}, (task) => {
  if (!capable(task.cred, CAP_SYS_TTY_CONFIG)) return -EPERM;
  const tty = controllingTty(task.process);
  if (tty instanceof Tty) tty.lineGone();
  return 0;
});
