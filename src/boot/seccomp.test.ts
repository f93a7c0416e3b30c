/** The jail's filter where it looks at arguments, in a process of its own: what passes reaches the host, what does not is EPERM. */
import { expect, test } from "bun:test";

const program = `
import { closeFilter } from "${import.meta.dirname}/seccomp.ts";
import { clockMonotonicNs, getSocketOption, sendTo, sendmsg, setSocketOption, socketName, socketpair } from "${import.meta.dirname}/../native/host.ts";
const pair = new Int32Array(2);
socketpair(1, pair);
const fd = pair[0];
const one = Int32Array.of(1);
const bytes = new Uint8Array(28);
const set = (level, name) => setSocketOption(fd, level, name, one, 4);
const tries = {
  keepalive: () => set(1, 9),
  sndbuf: () => set(1, 7),
  nodelay: () => set(6, 1),
  debug: () => set(1, 1),
  mark: () => set(1, 36),
  device: () => set(1, 25),
  filter: () => set(1, 26),
  fastopen: () => set(6, 30),
  repair: () => set(6, 19),
  transparent: () => set(0, 19),
  level: () => set(0x10001, 9),
  name: () => set(1, 0x10009),
  negative: () => set(-1, 9),
  send: () => sendTo(fd, bytes, 1, 0),
  sendFast: () => sendTo(fd, bytes, 1, 0x20000000),
  message: () => sendmsg(fd, bytes, 1, one, 0, 0),
  messageFast: () => sendmsg(fd, bytes, 1, one, 0, 0x20000000),
  name0: () => socketName(fd, 0, bytes, 28),
  name1: () => socketName(fd, 1, bytes, 28),
  error: () => getSocketOption(fd, 1, 4, one, 4),
};
// Bound, and compiled, before the filter stands.
for (const each of Object.values(tries)) each();
clockMonotonicNs();
const closed = closeFilter([]);
const results = Object.fromEntries(Object.entries(tries).map(([name, each]) => [name, each()]));
console.log(JSON.stringify({ closed, ...results }));
`;

test("options, sends that connect, names", async () => {
  const child = Bun.spawn([process.execPath, "-e", program], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect(err).toBe("");
  const { closed, ...results } = JSON.parse(out) as Record<string, number>;
  expect(closed).toBe(0);
  const EPERM = -1;
  // Those of TCP are none of a local socket's: the host says so, not the filter.
  const EOPNOTSUPP = -95;
  expect(results).toEqual({
    keepalive: 0,
    sndbuf: 0,
    nodelay: EOPNOTSUPP,
    debug: EPERM,
    mark: EPERM,
    device: EPERM,
    filter: EPERM,
    fastopen: EPERM,
    repair: EPERM,
    transparent: EPERM,
    level: EPERM,
    name: EPERM,
    negative: EPERM,
    send: 1,
    sendFast: EPERM,
    message: 1,
    messageFast: EPERM,
    name0: 2,
    name1: 2,
    error: 4,
  });
});
