import { expect, test } from "bun:test";
import { closeFd, dup, eventfd } from "./host.ts";
import { HostPoller } from "./poller.ts";

test("what was told of a closed descriptor is not for the next one of its number", () => {
  const poller = new HostPoller();
  const fds = [eventfd(1, 0), eventfd(1, 0)];
  const told: string[] = [];
  const idle = eventfd(0, 0);
  let replaced = -1;
  // Whichever comes first closes the other, whose number the next descriptor gets.
  for (const [n, fd] of fds.entries())
    poller.watch(fd, 1, {
      hostReady: () => {
        told.push("first");
        const other = fds[1 - n]!;
        poller.unwatch(other);
        closeFd(other);
        replaced = dup(idle);
        expect(replaced).toBe(other);
        poller.watch(replaced, 1, { hostReady: () => told.push("replaced") });
        poller.unwatch(fd);
        closeFd(fd);
      },
    });
  poller.dispatch();
  expect(told).toEqual(["first"]);
  poller.unwatch(replaced);
  closeFd(replaced);
  closeFd(idle);
  poller.close();
});
