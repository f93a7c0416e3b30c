/** Places: what is asked about, how it is written in the configuration and in the file that remembers. */
import { isIP } from "node:net";

export interface Place {
  protocol: string;
  address: string;
  port: number;
}

/** "tcp 192.0.2.1:443", "udp [2001:db8::1]:53". */
export function placeText({ protocol, address, port }: Place): string {
  return `${protocol} ${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** What an entry of the configuration stands for; null in a field: any. */
export interface PlaceRule {
  protocol: string | null;
  address: string | null;
  port: number | null;
}

/** "192.0.2.1", "192.0.2.1:443", "*:53", "[2001:db8::1]:53", "udp:192.0.2.1:53"; null: none of these. */
export function parsePlace(text: string): PlaceRule | null {
  const match = /^(?:(tcp|udp):)?(?:\[([0-9a-f:.]+)\]|([0-9.]+)|(\*))(?::(\d{1,5}|\*))?$/i.exec(text);
  if (match === null) return null;
  const [, protocol, v6, v4, any, portText] = match;
  if ((v6 !== undefined && isIP(v6) !== 6) || (v4 !== undefined && isIP(v4) !== 4)) return null;
  const port = portText === undefined || portText === "*" ? null : Number(portText);
  if (port !== null && port > 65535) return null;
  // All places with nothing more said would be no rule.
  if (any !== undefined && port === null) return null;
  const address = v6 === undefined ? (v4 ?? null) : shortest(v6);
  return { protocol: protocol?.toLowerCase() ?? null, address, port };
}

export function matches(rule: PlaceRule, { protocol, address, port }: Place): boolean {
  return (
    (rule.protocol === null || rule.protocol === protocol) &&
    (rule.address === null || rule.address === address) &&
    (rule.port === null || rule.port === port)
  );
}

/** An IPv6 address as it is shown to plugins; one that is a mapped IPv4 address as that. */
function shortest(text: string): string {
  const short = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return short;
  const [high, low] = [Number.parseInt(mapped[1]!, 16), Number.parseInt(mapped[2]!, 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
