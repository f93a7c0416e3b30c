import { expect, test } from "bun:test";
import type { PlatformMaker } from "../core/plugin.ts";
import { FakePlatform } from "../kernel/testing/fake-platform.ts";
import type { Platform } from "../platform/platform.ts";
import { Platforms } from "./platforms.ts";

const fake = (hostCalls: string[], create: PlatformMaker["create"] = () => new FakePlatform()): PlatformMaker => ({
  create,
  hostCalls,
});

test("a platform is made by its name, with the poller, and its host calls are let through", () => {
  const platforms = new Platforms();
  let poller = -1;
  platforms.add("other", fake(["mbind"]));
  platforms.add(
    "mine",
    fake(["ptrace", "getpid"], ({ pollerFd }) => {
      poller = pollerFd;
      return new FakePlatform();
    }),
  );
  expect(platforms.make("mine", 7)).toBeInstanceOf(FakePlatform);
  expect(poller).toBe(7);
  expect([...platforms.hostCalls]).toEqual(["ptrace", "getpid"]);
});

test("one may be built upon another: then the calls of both are let through", () => {
  const platforms = new Platforms();
  const base: Platform = new FakePlatform();
  platforms.add(
    "above",
    fake(["getcpu"], ({ make }) => make("below")),
  );
  platforms.add(
    "below",
    fake(["ptrace"], () => base),
  );
  expect(platforms.make("above", 3)).toBe(base);
  expect([...platforms.hostCalls].sort()).toEqual(["getcpu", "ptrace"]);
});

test("a name that nobody registered, one that is taken, and a call that is none are errors", () => {
  const platforms = new Platforms();
  expect(() => platforms.make("kvm", 3)).toThrow('unknown platform "kvm" (in this sandbox there are: none)');
  platforms.add("mine", fake([]));
  expect(() => platforms.make("kvm", 3)).toThrow("there are: mine)");
  expect(() => platforms.add("mine", fake([]))).toThrow('there is a platform "mine" already');
  expect(() => platforms.add("odd", fake(["ptraze"]))).toThrow('platform "odd": no system call is named ptraze');
});
