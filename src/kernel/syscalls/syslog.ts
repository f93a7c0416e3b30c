/**
 * syslog: the kernel's log buffer, which holds what the kernel says at boot.
 *
 * Manual page: syslog(2). Linux: kernel/printk/printk.c. Gap: nothing is added later, so a reader that waits for more
 * waits until a signal comes.
 */

import { encodeName } from "../abi/bytes.ts";
import { EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { KERNEL_NAME, KERNEL_RELEASE, KERNEL_VERSION } from "../abi/version.ts";
import { addr, int, oneOf } from "../args.ts";
import type { Kernel } from "../kernel.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYSLOG, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";

const ACTION = {
  SYSLOG_ACTION_CLOSE: 0,
  SYSLOG_ACTION_OPEN: 1,
  SYSLOG_ACTION_READ: 2,
  SYSLOG_ACTION_READ_ALL: 3,
  SYSLOG_ACTION_READ_CLEAR: 4,
  SYSLOG_ACTION_CLEAR: 5,
  SYSLOG_ACTION_CONSOLE_OFF: 6,
  SYSLOG_ACTION_CONSOLE_ON: 7,
  SYSLOG_ACTION_CONSOLE_LEVEL: 8,
  SYSLOG_ACTION_SIZE_UNREAD: 9,
  SYSLOG_ACTION_SIZE_BUFFER: 10,
};
const BUFFER_SIZE = 1 << 17;

function bootLog(kernel: Kernel): Uint8Array {
  const { memTotal, cpuCount } = kernel.hostInfo;
  return encodeName(
    `<5>[    0.000000] ${KERNEL_NAME} version ${KERNEL_RELEASE} ${KERNEL_VERSION}\n` +
      `<6>[    0.000000] Memory: ${memTotal}K, processors: ${cpuCount}, platform: ${kernel.platform.name}\n`,
  );
}

function copy(task: Task, at: number, bytes: Uint8Array): number {
  return task.mm.writeBytes(at, bytes) < 0 ? -EFAULT : bytes.length;
}

export const syslog = syscall("syslog", { type: oneOf(ACTION), bufp: addr, len: int }, (task, call) => {
  const { kernel } = task;
  const { type, len } = call;
  const free = type === ACTION.SYSLOG_ACTION_READ_ALL || type === ACTION.SYSLOG_ACTION_SIZE_BUFFER;
  const restricted = task.container.sysctl("kernel/dmesg_restrict") === "1";
  if ((!free || restricted) && !capable(task.cred, CAP_SYSLOG)) return -EPERM;
  const state = kernel.logTaken;
  const log = bootLog(kernel);
  switch (type) {
    case ACTION.SYSLOG_ACTION_CLOSE:
    case ACTION.SYSLOG_ACTION_OPEN:
    case ACTION.SYSLOG_ACTION_CONSOLE_OFF:
    case ACTION.SYSLOG_ACTION_CONSOLE_ON:
      return 0;
    case ACTION.SYSLOG_ACTION_READ: {
      if (call.bufp === 0 || len < 0) return -EINVAL;
      if (len === 0) return 0;
      if (state.read >= log.length) {
        return task.block(kernel.logSilence);
      }
      const n = copy(task, call.bufp, log.subarray(state.read, state.read + len));
      if (n > 0) state.read += n;
      return n;
    }
    case ACTION.SYSLOG_ACTION_READ_ALL:
    case ACTION.SYSLOG_ACTION_READ_CLEAR: {
      if (call.bufp === 0 || len < 0) return -EINVAL;
      if (len === 0) return 0;
      // The newest whole part that fits.
      const rest = log.subarray(state.cleared);
      const n = copy(task, call.bufp, rest.subarray(Math.max(0, rest.length - len)));
      if (n >= 0 && type === ACTION.SYSLOG_ACTION_READ_CLEAR) state.cleared = log.length;
      return n;
    }
    case ACTION.SYSLOG_ACTION_CLEAR:
      state.cleared = log.length;
      return 0;
    case ACTION.SYSLOG_ACTION_CONSOLE_LEVEL:
      return len < 1 || len > 8 ? -EINVAL : 0;
    case ACTION.SYSLOG_ACTION_SIZE_UNREAD:
      return log.length - state.read;
    case ACTION.SYSLOG_ACTION_SIZE_BUFFER:
      return BUFFER_SIZE;
    default:
      return -EINVAL;
  }
});
