import { expect, test } from "bun:test";
import {
  closeOfUser,
  forGuest,
  giveShareBack,
  guestDescriptors,
  guestPart,
  ofUser,
  takeShare,
} from "./guest-descriptors.ts";
import { dup, fcntl } from "./host.ts";

const F_DUPFD_CLOEXEC = 1030;
const F_GETFD = 1;

test("the kernel keeps an eighth, at least 512, at most half", () => {
  expect(guestPart(1 << 20)).toBe((1 << 20) - (1 << 17));
  expect(guestPart(65536)).toBe(57344);
  expect(guestPart(2048)).toBe(1536);
  expect(guestPart(256)).toBe(128);
});

test("a descriptor of the kernel's part is closed and refused, errors and others pass", () => {
  const low = dup(0);
  expect(forGuest(low)).toBe(low);
  expect(forGuest(-2)).toBe(-2);
  const high = fcntl(low, F_DUPFD_CLOEXEC, guestDescriptors());
  expect(high).toBeGreaterThanOrEqual(guestDescriptors());
  expect(forGuest(high)).toBe(-23);
  expect(fcntl(high, F_GETFD, 0)).toBe(-9);
});

test("a descriptor of a user counts until it is closed", () => {
  const half = Math.ceil(guestDescriptors() / 2);
  const fd = ofUser(1234, dup(0));
  for (let i = 1; i < half; i++) takeShare(1234);
  expect(ofUser(1234, -2)).toBe(-2);
  expect(ofUser(1234, dup(0))).toBe(-23);
  closeOfUser(fd);
  const again = ofUser(1234, dup(0));
  expect(again).toBeGreaterThanOrEqual(0);
  closeOfUser(again);
  for (let i = 1; i < half; i++) giveShareBack(1234);
  expect(takeShare(1234)).toBe(0);
  giveShareBack(1234);
});

test("a user other than root has half of the guests' part", () => {
  const half = Math.ceil(guestDescriptors() / 2);
  let had = 0;
  while (had < half + 10 && takeShare(1234) === 0) had++;
  expect(had).toBe(half);
  expect(takeShare(0)).toBe(0);
  expect(takeShare(1235)).toBe(0);
  giveShareBack(1235);
  giveShareBack(1234);
  expect(takeShare(1234)).toBe(0);
  for (let i = 0; i < half; i++) giveShareBack(1234);
});
