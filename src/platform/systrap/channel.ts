/** What connects the kernel to one stub process: a socket that brings it descriptors, and its mailbox file. */
import { encodeCString } from "../../kernel/abi/bytes.ts";
import { closeFd, ftruncate, memfdCreate, socketpair } from "../../native/host.ts";
import * as M from "./mailbox.ts";

const MAILBOX_NAME = encodeCString("runts-mailbox");

export interface Channel {
  ours: number;
  theirs: number;
  mailbox: number;
}

/** A socket pair and a mailbox file for one stub process; -errno when the host has no more descriptors. */
export function makeChannel(): Channel | number {
  const pair = new Int32Array(2);
  // Sequenced packets: one message, one set of descriptors.
  const paired = socketpair(5, pair);
  if (paired < 0) return paired;
  const [ours, theirs] = [pair[0]!, pair[1]!];
  const mailbox = memfdCreate(MAILBOX_NAME, 1);
  const sized = mailbox < 0 ? mailbox : ftruncate(mailbox, M.SLOTS_MAX * M.SLOT_SIZE);
  if (sized < 0) {
    closeFd(ours);
    closeFd(theirs);
    if (mailbox >= 0) closeFd(mailbox);
    return sized;
  }
  return { ours, theirs, mailbox };
}

export function closeChannel(channel: Channel): void {
  for (const fd of Object.values(channel)) closeFd(fd);
}
