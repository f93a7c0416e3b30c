/** `[plugin.egress]` of the configuration file. */
import { v } from "../../core/runts.ts";
import { parsePlace } from "./place.ts";

const path = v.pipe(v.string(), v.startsWith("/", "expected an absolute path"));
const place = v.pipe(
  v.string(),
  v.check(
    (text) => parsePlace(text) !== null,
    "expected ADDRESS, ADDRESS:PORT or *:PORT, with tcp: or udp: before it or not, and IPv6 addresses in brackets",
  ),
);

export const options = v.strictObject({
  /** A program that is asked in place of a person. */
  ask: v.optional(path),
  /** A file that keeps what was answered for always. */
  remember: v.optional(path),
  /** Seconds until a question is answered with no. */
  seconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(3600)), 60),
  /** Places that nobody is asked about; what is denied goes first. */
  allow: v.optional(v.array(place), []),
  deny: v.optional(v.array(place), []),
});
export type Options = v.InferOutput<typeof options>;
