/** The host calls of commands: core's HostCalls interface on top of the native library. */
import type { Socket } from "bun";
import type { HostCalls } from "../core/host-calls.ts";
import type { ProcessRef } from "../core/sandbox.ts";
import { brokerStub, enterStub, openerStub, waiterStub } from "../generated/native-blobs.ts";
import {
  closeFd,
  dup,
  dupTo,
  fchownat,
  flock,
  ioctl,
  ioctlValue,
  memfdCreate,
  openat2,
  sendmsg,
  socketpair,
  unixConnect,
  unixSocket,
  writeFd,
} from "./host.ts";
import { bind, f64, i32, pointer } from "./library.ts";
import { acceptAll, listenTcp } from "./network.ts";

const symbols = bind({
  cm_setns: { args: [i32], returns: i32 },
  cm_copy: { args: [i32, i32, pointer], returns: i32 },
  cm_spawn_waiter: { args: [i32, i32, i32, i32], returns: i32 },
  cm_signal_process: { args: [i32, f64, i32], returns: i32 },
});

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const O_RDWR = 2;
const O_NOCTTY = 0o400;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const MFD_CLOEXEC = 1;
const SOCK_STREAM = 1;
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
/** struct termios: four flag words, then the line discipline and the control characters. */
const IFLAG = 0;
const OFLAG = 1;
const CFLAG = 2;
const LFLAG = 3;
const CC = 17;
const VTIME = 5;
const VMIN = 6;

const path = (text: string) => Buffer.from(`${text}\0`);

function openpty(out: Int32Array): number {
  const master = openat2(AT_FDCWD, path("/dev/ptmx"), O_RDWR | O_NOCTTY | O_CLOEXEC, 0, 0);
  if (master < 0) return master;
  const unlocked = ioctl(master, TIOCSPTLCK, new Int32Array([0]));
  const slave = unlocked < 0 ? unlocked : ioctlValue(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) {
    closeFd(master);
    return slave;
  }
  out[0] = master;
  out[1] = slave;
  return 0;
}

function makeRaw(fd: number, saved: Uint8Array): number {
  const termios = new Uint8Array(64);
  const got = ioctl(fd, TCGETS, termios);
  if (got < 0) return got;
  saved.set(termios);
  const flags = new Uint32Array(termios.buffer);
  // cfmakeraw(3).
  flags[IFLAG]! &= ~(0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000);
  flags[OFLAG]! &= ~0o1;
  flags[LFLAG]! &= ~(0o10 | 0o100 | 0o2 | 0o1 | 0o100000);
  flags[CFLAG]! = (flags[CFLAG]! & ~(0o60 | 0o400)) | 0o60;
  termios[CC + VMIN] = 1;
  termios[CC + VTIME] = 0;
  return ioctl(fd, TCSETS, termios);
}

function sendDescriptor(socketPath: string, name: string, fd: number): number {
  const socket = unixSocket(SOCK_STREAM);
  if (socket < 0) return socket;
  let address = path(socketPath);
  let directory = -1;
  // sun_path is short: a long path is reached through a descriptor of its directory.
  if (address.length > 108) {
    const slash = socketPath.lastIndexOf("/");
    directory = openat2(AT_FDCWD, path(socketPath.slice(0, slash) || "/"), O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0);
    address = path(`/proc/self/fd/${directory}/${socketPath.slice(slash + 1)}`);
  }
  let result = unixConnect(socket, address, address.length);
  if (result >= 0) {
    const bytes = Buffer.from(name);
    result = sendmsg(socket, bytes, bytes.length, new Int32Array([fd]), 1, 0);
  }
  if (directory >= 0) closeFd(directory);
  closeFd(socket);
  return Math.min(result, 0);
}

/** An embedded program as a file in memory; -errno. */
function programFile(name: string, base64: string): number {
  const program = memfdCreate(path(name), MFD_CLOEXEC);
  if (program < 0) return program;
  const bytes = Buffer.from(base64, "base64");
  if (writeFd(program, bytes, bytes.length) === bytes.length) return program;
  closeFd(program);
  return -5;
}

function spawnWaiter(channel: number, terminal: number, sandbox: number): number {
  const program = programFile("runts-waiter", waiterStub);
  if (program < 0) return program;
  const pid = symbols.cm_spawn_waiter(program, channel, terminal, sandbox);
  closeFd(program);
  return pid;
}

/** The program of src/native/opener.stub.c as a file in memory; -errno. */
export const openerFile = (): number => programFile("runts-opener", openerStub);

/** The program of src/native/broker.stub.c as a file in memory; -errno. */
export const brokerFile = (): number => programFile("runts-broker", brokerStub);

/** An empty file in memory; -errno. */
export const memoryFile = (name: string): number => memfdCreate(path(name), MFD_CLOEXEC);

/** Calls `accepted` with each new connection of a listening socket. 0 or -errno. */
function acceptConnections(listener: number, accepted: (fd: number) => void): number {
  const pair = new Int32Array(2);
  const made = socketpair(SOCK_STREAM, pair);
  if (made < 0) return made;
  // The runtime closes its end with the process; the thread's stays open as long.
  let rest = Buffer.alloc(0);
  const data = (_socket: Socket, bytes: Uint8Array) => {
    rest = Buffer.concat([rest, bytes]);
    for (; rest.length >= 4; rest = rest.subarray(4)) accepted(rest.readInt32LE());
  };
  void Bun.connect({ fd: pair[0]!, socket: { data } } as unknown as Parameters<typeof Bun.connect>[0]);
  return acceptAll(listener, pair[1]!);
}

/** Signals the process that started at `startTime`, and no later one of its number. */
export const signalProcess = ({ pid, startTime }: ProcessRef, signal: number): number =>
  symbols.cm_signal_process(pid, startTime, signal);

let enterFile = -1;
/** Path of a program that enters namespaces by way of their user namespace: see src/native/enter.stub.c. */
export function enterProgram(): string {
  if (enterFile < 0) enterFile = programFile("runts-enter", enterStub);
  if (enterFile < 0) throw new Error(`cannot make a file in memory (errno ${-enterFile})`);
  return `/proc/${process.pid}/fd/${enterFile}`;
}

export const hostCalls: HostCalls = {
  flock: (fd, shared) => flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB),
  openpty,
  setWindowSize: (fd, rows, columns) => ioctl(fd, TIOCSWINSZ, new Uint16Array([rows, columns, 0, 0])),
  getWindowSize(fd, out) {
    const size = new Uint16Array(4);
    const result = ioctl(fd, TIOCGWINSZ, size);
    out[0] = size[0]!;
    out[1] = size[1]!;
    return result;
  },
  makeRaw,
  restoreTerminal: (fd, saved) => ioctl(fd, TCSETS, saved),
  changeOwner: (fd, uid, gid) => fchownat(fd, path(""), uid, gid, AT_EMPTY_PATH),
  sendDescriptor,
  socketPair: (out) => socketpair(SOCK_STREAM, out),
  joinNamespace: (fd) => symbols.cm_setns(fd),
  copy: (from, to, done) => symbols.cm_copy(from, to, done),
  dup,
  dupTo,
  spawnWaiter,
  listenTcp: (address, port, out) => listenTcp(path(address), port, out),
  acceptConnections,
  signalProcess,
};
