/** Waiting for guests in a test of a platform: five seconds at most. */
import type { Context, Platform } from "../platform.ts";

export function nextStop(platform: Platform): Context {
  for (let i = 0; i < 50; i++) {
    const ctx = platform.wait(100e6);
    if (ctx) return ctx;
  }
  throw new Error("nothing stopped");
}
