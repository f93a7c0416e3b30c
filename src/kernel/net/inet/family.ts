/** AF_INET and AF_INET6: which type and protocol make which socket. Source: ip(7), ipv6(7), Linux net/ipv4/af_inet.c. */
import { EINVAL, EPROTONOSUPPORT, ESOCKTNOSUPPORT } from "../../abi/errno.ts";
import type { Task } from "../../task/task.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from "../abi.ts";
import type { Family, Socket } from "../socket.ts";
import { openRaw } from "./raw.ts";
import { TcpSocket } from "./tcp.ts";
import { UdpSocket } from "./udp.ts";

/** One more than the largest protocol number (IPPROTO_MAX). */
const PROTOCOLS = 263;

export function inetFamily(family: number): Family {
  return {
    create(task: Task, type: number, protocol: number, flags: number): Socket | number {
      if (protocol < 0 || protocol >= PROTOCOLS) return -EINVAL;
      const { kernel, cred } = task;
      switch (type) {
        case SOCK_STREAM:
          if (protocol !== IPPROTO_IP && protocol !== IPPROTO_TCP) return -EPROTONOSUPPORT;
          return new TcpSocket(kernel, family, flags, cred.uid);
        case SOCK_DGRAM:
          if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6)
            return openRaw(task, family, type, protocol, flags);
          if (protocol !== IPPROTO_IP && protocol !== IPPROTO_UDP && protocol !== IPPROTO_UDPLITE)
            return -EPROTONOSUPPORT;
          return new UdpSocket(kernel, family, protocol || IPPROTO_UDP, flags, cred.uid);
        case SOCK_RAW:
          return openRaw(task, family, type, protocol, flags);
        default:
          return -ESOCKTNOSUPPORT;
      }
    },
  };
}
