/** getrandom: bytes from the host's generator. Manual page: getrandom(2). */
import { getrandom as hostRandom } from "../../native/host.ts";
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { flags, outBuffer, size } from "../args.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { MAX_RW_COUNT, userRange } from "../vfs/io.ts";

const GRND = { GRND_NONBLOCK: 1, GRND_RANDOM: 2, GRND_INSECURE: 4 };
const chunk = new Uint8Array(65536);

export const getrandom = syscall("getrandom", { buf: outBuffer(), buflen: size, flags: flags(GRND) }, (task, call) => {
  if (call.flags & ~7) return -EINVAL;
  if (call.flags & GRND.GRND_INSECURE && call.flags & GRND.GRND_RANDOM) return -EINVAL;
  if (!userRange(call.buf, call.buflen)) return -EFAULT;
  const length = Math.min(call.buflen, MAX_RW_COUNT);
  const slice = new Slice(task.kernel);
  let done = task.restart?.moved ?? 0;
  while (done < length) {
    const want = Math.min(chunk.length, length - done);
    const n = hostRandom(chunk, want);
    if (n < 0) return done > 0 ? done : n;
    const copied = task.mm.copyOut(call.buf + done, chunk, 0, n);
    if (copied < 0) return done > 0 ? done : -EFAULT;
    done += copied;
    if (copied < n) break;
    if (done < length && slice.over) {
      task.progress().moved = done;
      const result = task.giveWay();
      return result === BLOCKED ? result : done;
    }
  }
  return done;
});
