/** setsockopt, getsockopt. Manual page: getsockopt(2). Linux: net/socket.c. Options: net/options.ts and the families. */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { fd, int } from "../args.ts";
import { inOption, lengthPointer, optionLevel, optionName, outOption } from "../net/args.ts";
import { callSocket } from "../net/calls.ts";
import { OptionValue } from "../net/option-value.ts";
import { getOption, setOption } from "../net/options.ts";
import { syscall } from "../syscall.ts";

export const setsockopt = syscall(
  "setsockopt",
  { fd, level: optionLevel, optname: optionName, optval: inOption, optlen: int },
  (task, call) => {
    if (call.optlen < 0) return -EINVAL;
    const socket = callSocket(task, call.fd);
    if (typeof socket === "number") return socket;
    return setOption(task, socket, call.level, call.optname, new OptionValue(task.mm, call.optval, call.optlen));
  },
);

export const getsockopt = syscall(
  "getsockopt",
  { fd, level: optionLevel, optname: optionName, optval: outOption, optlen: lengthPointer },
  (task, call) => {
    const socket = callSocket(task, call.fd);
    if (typeof socket === "number") return socket;
    const view = task.mm.readStruct(call.optlen, 4);
    if (view === null) return -EFAULT;
    const room = view.getInt32(0, true);
    if (room < 0) return -EINVAL;
    const value = getOption(task, socket, call.level, call.optname, room);
    if (typeof value === "number") return value;
    const length = Math.min(room, value.length);
    if (task.mm.writeBytes(call.optval, value, length) < 0) return -EFAULT;
    return task.mm.writeU32(call.optlen, length);
  },
);
