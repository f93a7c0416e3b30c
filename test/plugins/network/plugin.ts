/** A third party's plugin that watches, denies and delays what guests do with the network. */
import { definePlugin, errno, type NetworkAttempt } from "runts";

const text = ({ task, family, address, port, protocol, inside, names }: NetworkAttempt) =>
  [task.comm, protocol, `ip${family}`, address, port, inside ? "inside" : "outside", ...names].join(" ");

export default definePlugin({
  name: "network",
  sandbox(kernel) {
    kernel.onConnect((attempt) => {
      kernel.log.warn(`connects: ${text(attempt)}`);
      switch (attempt.port) {
        case 4001:
          return -errno.EACCES;
        case 4002:
          return Bun.sleep(300).then(() => "continue" as const);
        case 4003:
          return Bun.sleep(300).then(() => -errno.EPERM);
        case 4004:
          throw new TypeError("thrown by the hook");
        case 4005:
          return undefined as unknown as "continue";
        case 4006:
          return Bun.sleep(60_000).then(() => "continue" as const);
        default:
          return "continue";
      }
    });
    // Asked after the first, and only where that has not refused.
    kernel.onConnect(({ port }) => {
      if (port > 4000 && port < 4010) kernel.log.warn(`second: ${port}`);
      return "continue";
    });
    let accepted = 0;
    kernel.onAccept(async (attempt) => {
      kernel.log.warn(`accepts: ${text(attempt)}`);
      await Bun.sleep(50);
      return ++accepted === 2 ? -errno.EPERM : "continue";
    });
    kernel.onBind(({ port, address }) => {
      kernel.log.warn(`binds: ${address} ${port}`);
      return port === 4009 ? -errno.EACCES : "continue";
    });
    kernel.onSend((attempt) => {
      kernel.log.warn(`sends: ${text(attempt)}`);
      return attempt.port === 4013 ? -errno.EACCES : "continue";
    });
  },
});
