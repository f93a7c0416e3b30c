/**
 * Tables of /proc/net about what has been counted: snmp, snmp6, netstat, sockstat, protocols.
 *
 * Source: proc_pid_net(5), Linux net/ipv4/proc.c, net/ipv6/proc.c, net/core/sock.c. What is counted is what sockets of this kernel
 * did among themselves (net/counters.ts); what is never counted here is 0, and of TcpExt only some are named.
 */
import type { Kernel } from "../../kernel.ts";
import { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_STREAM } from "../../net/abi.ts";
import { type InetKind, inetListing, inetSockets, openSockets, TCP_ESTABLISHED } from "../../net/listing.ts";

type Values = Readonly<Record<string, number>>;

/** "Tcp: names", "Tcp: values". */
function group(name: string, names: string, values: Values): string {
  const fields = names.split(" ");
  return `${name}: ${names}\n${name}: ${fields.map((field) => values[field] ?? 0).join(" ")}\n`;
}

const CLOSE_WAIT = 8;

function countOf(kernel: Kernel, kind: InetKind, family: number): number {
  let count = 0;
  for (const socket of inetSockets(kernel, kind)) if (socket.family === family) count++;
  return count;
}

const IP =
  "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests " +
  "OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits";
const ICMP =
  "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps " +
  "InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost " +
  "OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps " +
  "OutTimestampReps OutAddrMasks OutAddrMaskReps";
const TCP =
  "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs " +
  "InErrs OutRsts InCsumErrors";
const UDP = "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors";

export function snmp(kernel: Kernel): string {
  const c = kernel.net.counters;
  let established = 0;
  for (const socket of inetSockets(kernel, "tcp")) {
    const { state } = inetListing(socket);
    if (state === TCP_ESTABLISHED || state === CLOSE_WAIT) established++;
  }
  return (
    group("Ip", IP, {
      Forwarding: 2,
      DefaultTTL: 64,
      InReceives: c.packets,
      InDelivers: c.packets,
      OutRequests: c.packets,
      OutTransmits: c.packets,
    }) +
    group("Icmp", ICMP, {}) +
    group("Tcp", TCP, {
      RtoAlgorithm: 1,
      RtoMin: 200,
      RtoMax: 120000,
      MaxConn: -1,
      ActiveOpens: c.tcpActiveOpens,
      PassiveOpens: c.tcpPassiveOpens,
      AttemptFails: c.tcpFailed,
      EstabResets: c.tcpResets,
      CurrEstab: established,
      InSegs: c.tcpSegments,
      OutSegs: c.tcpSegments,
      OutRsts: c.tcpResets + c.tcpFailed,
    }) +
    group("Udp", UDP, {
      InDatagrams: c.udpReceived,
      NoPorts: c.udpNoPort,
      InErrors: c.udpNoRoom,
      OutDatagrams: c.udpSent,
      RcvbufErrors: c.udpNoRoom,
    }) +
    group("UdpLite", UDP, {})
  );
}

const TCP_EXT =
  "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps " +
  "LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab DelayedACKs DelayedACKLocked DelayedACKLost " +
  "ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPTimeouts TCPAbortOnData TCPAbortOnClose " +
  "TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures";
const IP_EXT =
  "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets " +
  "OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts ReasmOverlaps";

export function netstat({ net }: Kernel): string {
  const { bytes, packets } = net.counters;
  return (
    group("TcpExt", TCP_EXT, {}) + group("IpExt", IP_EXT, { InOctets: bytes, OutOctets: bytes, InNoECTPkts: packets })
  );
}

const IP6 =
  "InReceives InHdrErrors InTooBigErrors InNoRoutes InAddrErrors InUnknownProtos InTruncatedPkts InDiscards InDelivers " +
  "OutForwDatagrams OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails " +
  "FragCreates InMcastPkts OutMcastPkts InOctets OutOctets InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets " +
  "InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts OutTransmits";
const ICMP6 =
  "InMsgs InErrors OutMsgs OutErrors InCsumErrors OutRateLimitHost InDestUnreachs InPktTooBigs InTimeExcds " +
  "InParmProblems InEchos InEchoReplies OutDestUnreachs OutPktTooBigs OutTimeExcds OutParmProblems OutEchos OutEchoReplies";
const UDP6 = UDP;

/** Both families are counted together, as those of IPv4. */
export function snmp6(): string {
  const rows = (prefix: string, names: string) =>
    names
      .split(" ")
      .map((name) => `${`${prefix}${name}`.padEnd(32)}\t0\n`)
      .join("");
  return rows("Ip6", IP6) + rows("Icmp6", ICMP6) + rows("Udp6", UDP6) + rows("UdpLite6", UDP6);
}

export function sockstat(kernel: Kernel): string {
  const { net } = kernel;
  const count = (kind: InetKind) => countOf(kernel, kind, AF_INET);
  const tcp = count("tcp");
  const pages = (bytes: number) => Math.ceil(bytes / 4096);
  return (
    `sockets: used ${net.sockets}\n` +
    `TCP: inuse ${tcp} orphan 0 tw 0 alloc ${tcp + countOf(kernel, "tcp", AF_INET6)} mem ${pages(net.tcp.bytes)}\n` +
    `UDP: inuse ${count("udp")} mem 0\nUDPLITE: inuse ${count("udplite")}\nRAW: inuse ${count("raw")}\nFRAG: inuse 0 memory 0\n`
  );
}

export function sockstat6(kernel: Kernel): string {
  const count = (kind: InetKind) => countOf(kernel, kind, AF_INET6);
  return (
    `TCP6: inuse ${count("tcp")}\nUDP6: inuse ${count("udp")}\nUDPLITE6: inuse ${count("udplite")}\n` +
    `RAW6: inuse ${count("raw")}\nFRAG6: inuse 0 memory 0\n`
  );
}

/** Sizes of structures that nobody has here, and what the protocols can do, as Linux shows them. */
const PROTOCOLS: readonly [
  name: string,
  family: number,
  kind: InetKind | "stream" | "unix" | "netlink",
  size: number,
][] = [
  ["PINGv6", AF_INET6, "ping", 1344],
  ["RAWv6", AF_INET6, "raw", 1344],
  ["UDPLITEv6", AF_INET6, "udplite", 1472],
  ["UDPv6", AF_INET6, "udp", 1472],
  ["TCPv6", AF_INET6, "tcp", 2432],
  ["UNIX-STREAM", AF_UNIX, "stream", 1152],
  ["UNIX", AF_UNIX, "unix", 1152],
  ["UDP-Lite", AF_INET, "udplite", 1344],
  ["PING", AF_INET, "ping", 1016],
  ["RAW", AF_INET, "raw", 1152],
  ["UDP", AF_INET, "udp", 1344],
  ["TCP", AF_INET, "tcp", 2304],
  ["NETLINK", AF_NETLINK, "netlink", 1096],
];
const CALLS: Readonly<Record<string, string>> = {
  tcp: "y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y",
  udp: "y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n",
  udplite: "y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n",
  raw: "y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n",
  ping: "y  y  y  n  n  y  n  n  y  y  y  y  y  y  n  y  y  n",
  stream: "y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n",
  unix: "y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n",
  netlink: "n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n",
};

export function protocols(kernel: Kernel): string {
  const open = [...openSockets(kernel)];
  let out =
    "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n";
  for (const [name, family, kind, size] of PROTOCOLS) {
    const isInet = family === AF_INET || family === AF_INET6;
    const sockets = isInet
      ? countOf(kernel, kind as InetKind, family)
      : open.filter(
          (socket) =>
            socket.family === family &&
            (kind === "netlink" || (kind === "stream") === (socket.sockType === SOCK_STREAM)),
        ).length;
    const tcp = kind === "tcp";
    const counted = tcp || kind === "udp" || kind === "udplite";
    out +=
      `${name.padEnd(9)} ${String(size).padStart(4)} ${String(sockets).padStart(6)}  ${String(counted ? 0 : -1).padStart(6)}   ` +
      `${(tcp ? "no" : "NI").padEnd(3)} ${String(tcp ? 192 : 0).padStart(6)}   ${(kind === "netlink" ? "no" : "yes").padEnd(3)}  ` +
      `${"kernel".padEnd(10)} ${CALLS[kind]}\n`;
  }
  return out;
}
