/** Formats shared by the files of /proc. */
import type { CapSet } from "../../task/credentials.ts";

/** Clock ticks a second (USER_HZ), the unit of times in /proc. */
export const HZ = 100;
export const ticks = (ns: number): number => Math.floor(ns / (1e9 / HZ));

export const hex = (value: number, width = 0): string => value.toString(16).padStart(width, "0");
/** A 64-bit set as 16 hexadecimal digits. */
export const hex64 = (set: CapSet): string => hex(set.hi >>> 0, 8) + hex(set.lo >>> 0, 8);
export const kB = (bytes: number): string => `${String(Math.floor(bytes / 1024)).padStart(8)} kB`;

/** Names in tables: what would break the line becomes octal. */
export function escapeName(text: string, special: string): string {
  let out = "";
  for (const ch of text) out += special.includes(ch) ? `\\${ch.charCodeAt(0).toString(8).padStart(3, "0")}` : ch;
  return out;
}
