/**
 * What the sockets of a kernel have done among themselves, as /proc/net/{snmp,netstat,dev} count it.
 *
 * Source: RFC 4113, RFC 4022, Linux net/ipv4/proc.c. There are no packets here: a transfer counts as the packets that Linux
 * would have made of it on its loopback device, headers included, without acknowledgements.
 */
import type { Network } from "./network.ts";
import { LO, type NetDevice, STATISTICS, type Statistics, statisticsOf } from "./stack.ts";

/** Data of one TCP segment on a device with lo's MTU, and the headers of IPv4 and TCP with time stamps. */
const SEGMENT = 65483;
const TCP_HEADERS = 52;
const UDP_HEADERS = 28;

export const newCounters = () => ({
  packets: 0,
  bytes: 0,
  tcpActiveOpens: 0,
  tcpPassiveOpens: 0,
  tcpFailed: 0,
  tcpResets: 0,
  tcpSegments: 0,
  udpReceived: 0,
  udpSent: 0,
  udpNoPort: 0,
  udpNoRoom: 0,
});

export function countTcp({ counters }: Network, bytes: number): void {
  const segments = Math.ceil(bytes / SEGMENT);
  counters.tcpSegments += segments;
  counters.packets += segments;
  counters.bytes += bytes + segments * TCP_HEADERS;
}

export function countUdp({ counters }: Network, bytes: number): void {
  counters.udpSent++;
  counters.packets++;
  counters.bytes += bytes + UDP_HEADERS;
}

/** What a device has counted: lo what went around in here, others what the host says. */
export function deviceStatistics(net: Network, device: NetDevice): Statistics {
  if (device.index !== LO) return statisticsOf(device);
  const none = Object.fromEntries(STATISTICS.map((name) => [name, 0])) as Statistics;
  const { packets, bytes } = net.counters;
  return { ...none, rx_packets: packets, tx_packets: packets, rx_bytes: bytes, tx_bytes: bytes };
}
