/** The rules of a network broker as the bytes that it reads. */
import { RuntimeError } from "../core/errors.ts";
import type { OutsideNetwork } from "../core/sandbox.ts";

const MAGIC = 0x52554c45;
const VERSION = 1;
const RAW_ALLOWED = 2;
const SHARED = 4;
const HEADER = 16;

export function encodeRules({ egress, deny, publish, shared }: OutsideNetwork): Uint8Array {
  if ((egress ?? "all") !== "all" || deny !== null || publish !== null)
    throw new RuntimeError("unsupported", "network rules are not supported yet");
  const view = new DataView(new ArrayBuffer(HEADER));
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, VERSION, true);
  view.setUint16(6, RAW_ALLOWED | (shared ? SHARED : 0), true);
  return new Uint8Array(view.buffer);
}
