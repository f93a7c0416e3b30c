/**
 * /proc/net: tables of the network. Families add their sockets through `socketTables`.
 *
 * Source: proc_pid_net(5). Gaps: no interfaces, no routes and no sockets but those that a family lists.
 */

import type { Kernel } from "../../kernel.ts";
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile } from "../pseudo/text.ts";
import type { ProcFs } from "./proc-fs.ts";

/** Rows of a table by file name ("unix", "tcp"…), each with its newline: set by the family's code. */
export const socketTables = new Map<string, (kernel: Kernel) => string>();

const TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const IPV6_HEADER =
  "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP_HEADER =
  "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

/** Heading of each table. */
const TABLES: Readonly<Record<string, string>> = {
  arp: "IP address       HW type     Flags       HW address            Mask     Device",
  dev: "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed",
  if_inet6: "",
  packet: "sk               RefCnt Type Proto  Iface R Rmem   User   Inode",
  raw: UDP_HEADER,
  raw6: `${IPV6_HEADER} ref pointer drops`,
  route: "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".padEnd(127),
  tcp: TCP_HEADER.padEnd(149),
  tcp6: IPV6_HEADER,
  udp: UDP_HEADER.padEnd(127),
  udp6: `${IPV6_HEADER} ref pointer drops`,
  unix: "Num       RefCount Protocol Flags    Type St Inode Path",
};

export function addNetFiles(fs: ProcFs, directory: PseudoDirectory): void {
  for (const [name, heading] of Object.entries(TABLES))
    directory.add(
      name,
      new GeneratedFile(
        fs,
        ({ kernel }) => (heading === "" ? "" : `${heading}\n`) + (socketTables.get(name)?.(kernel) ?? ""),
      ),
    );
}
