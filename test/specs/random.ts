/** A small generator of our own (mulberry32), so that a failure can be had again: RUNTS_SEED begins it. */
export function random(seed = Number(process.env["RUNTS_SEED"] ?? 1)): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
