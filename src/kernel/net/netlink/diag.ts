/**
 * NETLINK_SOCK_DIAG: which sockets there are (ss). A family is one line in FAMILIES.
 *
 * Source: sock_diag(7), Linux net/core/sock_diag.c. What there is nothing for gives ENOENT, as without the module.
 * Gap: sockets cannot be destroyed.
 */
import { EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../../abi/errno.ts";
import { CAP_NET_ADMIN, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { AF_INET, AF_INET6, AF_MAX, AF_UNIX } from "../abi.ts";
import { answerInet } from "./inet-diag.ts";
import { HEADER_SIZE } from "./message.ts";
import type { NetlinkRequest } from "./protocols.ts";
import { answerUnix } from "./unix-diag.ts";

export const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;

const FAMILIES: ReadonlyMap<number, (task: Task, request: NetlinkRequest) => number> = new Map([
  [AF_INET, answerInet],
  [AF_INET6, answerInet],
  [AF_UNIX, answerUnix],
]);

export function answerDiag(task: Task, request: NetlinkRequest): number {
  const { type, bytes } = request;
  if (type !== SOCK_DIAG_BY_FAMILY && type !== SOCK_DESTROY) return -EINVAL;
  if (bytes.length < HEADER_SIZE + 2) return -EINVAL;
  const family = bytes[HEADER_SIZE]!;
  if (family >= AF_MAX) return -EINVAL;
  const answer = FAMILIES.get(family);
  if (answer === undefined) return -ENOENT;
  if (type === SOCK_DESTROY) return capable(task.cred, CAP_NET_ADMIN) ? -EOPNOTSUPP : -EPERM;
  return answer(task, request);
}
