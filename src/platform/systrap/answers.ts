/**
 * Answers of stubs to commands: one decoder per kind. A stub can answer anything, and at any time; what no honest one
 * would say is `null`, and the caller kills the stub.
 *
 * An answer is the 64-bit result of a command (src/native/mailbox.h) as two 32-bit words, read once each.
 */

const ERRNO_MAX = 4095;

/** Signed 64 bits from two words; exact below 2^53, and never within the range of another kind above it. */
function signed(low: number, high: number): number {
  return low + (high | 0) * 4294967296;
}

function errno(value: number): boolean {
  return value < 0 && value >= -ERRNO_MAX;
}

export type Decode = (low: number, high: number, limit: number) => number | null;

/** 0 or -errno. */
export const asStatus: Decode = (low, high) => {
  const value = signed(low, high);
  return value === 0 || errno(value) ? value : null;
};
/** The address that was asked for (`limit`), or -errno; told as 0. */
export const asPlaced: Decode = (low, high, limit) => {
  const value = signed(low, high);
  return value === limit ? 0 : errno(value) ? value : null;
};
/** A count of at most `limit`, or -errno. */
export const asCount: Decode = (low, high, limit) => {
  const value = signed(low, high);
  return (value >= 0 && value <= limit) || errno(value) ? value : null;
};
/** An unsigned 32-bit word, or -errno. */
export const asWord: Decode = (low, high) => (high === 0 ? low : errno(signed(low, high)) ? signed(low, high) : null);
/** A process or thread id as Linux gives them (2 … 2^31-1: ours is 1), or -errno. */
export const asPid: Decode = (low, high) => {
  if (high === 0 && low >= 2 && low <= 0x7fffffff) return low;
  const value = signed(low, high);
  return errno(value) ? value : null;
};
/** A user-space address as a segment base may hold one, or -errno. */
export const asAddress: Decode = (low, high) => {
  if (high < 0x8000) return low + high * 4294967296;
  const value = signed(low, high);
  return errno(value) ? value : null;
};
