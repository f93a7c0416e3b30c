/**
 * The netlink protocols that there are: a protocol is one line in PROTOCOLS.
 *
 * Source: netlink(7). All of them may be listened to by everybody.
 */
import type { Task } from "../../task/task.ts";
import { answerDiag } from "./diag.ts";
import type { MessageWriter } from "./message.ts";
import { answerRoute } from "./route.ts";

/** One request, in full. */
export interface NetlinkRequest {
  type: number;
  flags: number;
  dump: boolean;
  /** The socket wants requests checked to the letter (NETLINK_GET_STRICT_CHK). */
  strict: boolean;
  bytes: Uint8Array;
  /** What is wrong, in words: for those who want them. */
  problem: string | null;
  /** A dump that came to nothing: what its end says. */
  dumpError: number;
  /** Not everything is in the dump that could be. */
  filtered: boolean;
  /** Starts a message of the answer; `flags` besides NLM_F_MULTI. */
  begin(type: number, flags?: number): MessageWriter;
}

export interface NetlinkProtocol {
  readonly name: string;
  /** Groups are numbered from 1 to this. */
  readonly groups: number;
  /** 0: answered (a dump's end is the caller's); -errno. Without: nothing can be asked. */
  answer?(task: Task, request: NetlinkRequest): number;
}

export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_KOBJECT_UEVENT = 15;

const PROTOCOLS: ReadonlyMap<number, NetlinkProtocol> = new Map<number, NetlinkProtocol>([
  [NETLINK_ROUTE, { name: "route", groups: 39, answer: answerRoute }],
  [NETLINK_SOCK_DIAG, { name: "sock_diag", groups: 32, answer: answerDiag }],
  // Nothing happens that it would tell of.
  [NETLINK_KOBJECT_UEVENT, { name: "kobject_uevent", groups: 32 }],
]);

export const netlinkProtocol = (protocol: number): NetlinkProtocol | undefined => PROTOCOLS.get(protocol);
