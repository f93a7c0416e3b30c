/**
 * seccomp. Manual page: seccomp(2). Gaps: SECCOMP_FILTER_FLAG_NEW_LISTENER is refused; LOG logs nothing.
 */
import { EACCES, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, ESRCH } from "../abi/errno.ts";
import { addr, flags, oneOf } from "../args.ts";
import { getU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import {
  BPF_MAXINSNS,
  decodeProgram,
  RET_ACTIONS,
  SECCOMP_MODE_FILTER,
  SECCOMP_MODE_STRICT,
  SeccompFilter,
} from "../task/seccomp.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";

const OPERATIONS = {
  SECCOMP_SET_MODE_STRICT: 0,
  SECCOMP_SET_MODE_FILTER: 1,
  SECCOMP_GET_ACTION_AVAIL: 2,
  SECCOMP_GET_NOTIF_SIZES: 3,
};
const TSYNC = 1;
const LOG = 2;
const SPEC_ALLOW = 4;
const NEW_LISTENER = 8;
const TSYNC_ESRCH = 16;
const WAIT_KILLABLE_RECV = 32;

export const seccomp = syscall(
  "seccomp",
  {
    operation: oneOf(OPERATIONS),
    flags: flags({
      SECCOMP_FILTER_FLAG_TSYNC: TSYNC,
      SECCOMP_FILTER_FLAG_LOG: LOG,
      SECCOMP_FILTER_FLAG_SPEC_ALLOW: SPEC_ALLOW,
      SECCOMP_FILTER_FLAG_NEW_LISTENER: NEW_LISTENER,
      SECCOMP_FILTER_FLAG_TSYNC_ESRCH: TSYNC_ESRCH,
    }),
    args: addr,
  },
  (task, call) => {
    switch (call.operation) {
      case OPERATIONS.SECCOMP_SET_MODE_STRICT:
        return call.flags !== 0 || call.args !== 0 ? -EINVAL : setStrict(task);
      case OPERATIONS.SECCOMP_SET_MODE_FILTER:
        return setFilter(task, call.flags, call.args);
      case OPERATIONS.SECCOMP_GET_ACTION_AVAIL: {
        if (call.flags !== 0) return -EINVAL;
        const action = task.mm.readU32(call.args);
        if (action < 0) return -EFAULT;
        return (RET_ACTIONS as readonly number[]).includes(action) ? 0 : -EOPNOTSUPP;
      }
      default:
        return -EINVAL;
    }
  },
);

/** PR_SET_SECCOMP, SECCOMP_SET_MODE_STRICT. */
export function setStrict(task: Task): number {
  if (task.seccomp !== null && task.seccomp.mode !== SECCOMP_MODE_STRICT) return -EINVAL;
  task.seccomp = { mode: SECCOMP_MODE_STRICT, filter: null };
  return 0;
}

/** PR_SET_SECCOMP, SECCOMP_SET_MODE_FILTER. */
export function setFilter(task: Task, flagBits: number, at: number): number {
  if (flagBits & ~(TSYNC | LOG | SPEC_ALLOW | NEW_LISTENER | TSYNC_ESRCH | WAIT_KILLABLE_RECV)) return -EINVAL;
  if (flagBits & (NEW_LISTENER | WAIT_KILLABLE_RECV)) return -EINVAL;
  const view = task.mm.readStruct(at, 16);
  if (view === null) return -EFAULT;
  const count = view.getUint16(0, true);
  const where = getU64(view, 8);
  if (count === 0 || count > BPF_MAXINSNS) return -EINVAL;
  if (!task.cred.noNewPrivs && !capable(task.cred, CAP_SYS_ADMIN)) return -EACCES;
  const bytes = new Uint8Array(count * 8);
  if (task.mm.readBytes(where, bytes) < 0) return -EFAULT;
  const program = decodeProgram(bytes);
  if (typeof program === "number") return program;
  if (task.seccomp?.mode === SECCOMP_MODE_STRICT) return -EINVAL;
  const mine = task.seccomp?.filter ?? null;
  if (flagBits & TSYNC) {
    const stranger = task.process.tasks.find((other) => other.runState < RUN_ZOMBIE && !mayFollow(other, mine));
    if (stranger !== undefined) return flagBits & TSYNC_ESRCH ? -ESRCH : stranger.tid;
  }
  const filter = new SeccompFilter(program, mine);
  if (filter.tooLong) return -ENOMEM;
  const targets = flagBits & TSYNC ? task.process.tasks : [task];
  for (const target of targets) {
    target.seccomp = { mode: SECCOMP_MODE_FILTER, filter };
    if (task.cred.noNewPrivs && !target.cred.noNewPrivs) target.cred = { ...target.cred, noNewPrivs: true };
  }
  return 0;
}

/** Are all of the thread's filters among the caller's? */
function mayFollow(other: Task, mine: SeccompFilter | null): boolean {
  if (other.seccomp === null) return true;
  if (other.seccomp.mode === SECCOMP_MODE_STRICT) return false;
  for (let filter = mine; filter !== null; filter = filter.previous) if (filter === other.seccomp.filter) return true;
  return false;
}
