/** How every platform starts its first stub process, from which all others are forked, and sleeps. */
import { encodeCString } from "../kernel/abi/bytes.ts";
import { closeFd, epollCreate, epollCtl, eventfd, memfdCreate, writeFd } from "../native/host.ts";
import { spawnStub } from "../native/sandbox.ts";

/** The priority that a stub gets before it is killed when the host takes long to take it down. */
export const NICE_MAX = 19;

const POLLIN = 1;
const O_NONBLOCK = 0o4000;
const EPOLL_CTL_ADD = 1;

/** Turns -errno into an exception that names what could not be done; other results pass. */
export type Check = (result: number, what: string) => number;
export function checker(platform: string): Check {
  return (result, what) => {
    if (result < 0) throw new Error(`${platform}: cannot ${what} (errno ${-result})`);
    return result;
  };
}

/** An epoll instance to sleep on: a doorbell under key 0, the kernel's poller under key 1. */
export function makeDoorbell(pollerFd: number, check: Check): { doorbell: number; epoll: number } {
  const doorbell = check(eventfd(0, O_NONBLOCK), "make an eventfd");
  const epoll = check(epollCreate(), "make an epoll instance");
  check(epollCtl(epoll, EPOLL_CTL_ADD, doorbell, POLLIN, 0), "watch the doorbell");
  check(epollCtl(epoll, EPOLL_CTL_ADD, pollerFd, POLLIN, 1), "watch the poller");
  return { doorbell, epoll };
}

/**
 * Starts the program `blob` (base64); `fds` become its descriptors 3 to 6, and stay the caller's. Returns its pid. What it
 * inherits besides: spawn_child in src/native/sandbox.c.
 */
export function startStub(blob: string, fds: readonly [number, number, number, number], check: Check): number {
  const stub = check(memfdCreate(encodeCString("runts-stub"), 1), "make the stub file");
  const bytes = Buffer.from(blob, "base64");
  for (let done = 0; done < bytes.length; )
    done += check(writeFd(stub, bytes.subarray(done), bytes.length - done), "write the stub");
  const pid = spawnStub(stub, ...fds);
  closeFd(stub);
  return check(pid, "start the stub process");
}
