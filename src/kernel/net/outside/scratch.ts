/**
 * Bytes on their way between guest memory and a socket of the host's. Shared: what one call puts in is of nobody once it has
 * returned.
 */
export const scratch = new Uint8Array(256 << 10);
