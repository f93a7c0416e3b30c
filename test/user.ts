/**
 * What was shown as root, once more as an ordinary user: `user/GROUP/TOPIC`. Of each group those cases that need no more
 * rights than such a user has.
 */
import { addingGroup } from "./adding.ts";
import { rootlessPodmanCases } from "./clients/podman-rootless.ts";
import { clockGroup } from "./clock.ts";
import { errorGroup } from "./errors.ts";
import { isRoot, runts } from "./harness/sandbox.ts";
import { type Case, type Group, matches } from "./harness/suite.ts";
import { asUser } from "./harness/user.ts";
import { jailGroup } from "./jail.ts";
import { pluginGroup } from "./plugins/plugins.ts";
import { programGroup } from "./programs.ts";
import { specsGroup } from "./specs/specs.ts";

/** What is run, by the beginning of its name. Of the programs those whose subject has to do with whose files they are. */
const TAKEN = [
  "errors/",
  "specs/",
  "plugins/",
  "jail/",
  "adding/",
  "clock/",
  "podman",
  ...["bash-pipes", "coreutils-tour", "git", "interactive", "python-subprocess", "python-tempfile"].map(
    (name) => `programs/${name}`,
  ),
];

/** What is left out, and why. */
const LEFT: readonly RegExp[] = [
  // Needs rights over the host's namespaces.
  /^specs\/create\/netns/,
  // Cgroups, and rights over the host's namespaces.
  /^specs\/pod\/host-side/,
  // Freezes cgroups, which are root's: a user has some only where systemd delegates them.
  /^specs\/create\/frozen/,
  // Mounts a small file system to fill.
  /^specs\/checkpoint\/full-disk/,
  // Its namespace has no name for the owner of the root directory: nobody's configuration is taken there.
  /^clock\/without-/,
  // Files and devices that belong to root, or that an overlay of root takes.
  /^plugins\/(a file system: (read|private)|a device in)/,
  /^plugins\/example (audit-deny|json-fs@)/,
  // A name server's port is below 1024.
  /^plugins\/network: names that/,
  /^errors\/files-written/,
  // About commands: once is enough. What guests may do on either platform is in the other groups.
  /^specs\/.*@ptrace$/,
  // Say nothing about users, and take long.
  /^plugins\/(broken|types)/,
  /^specs\/hooks\/(hanging|failure)@/,
  /^errors\/(signal|kill-9-of-both|ulimit-[scl])/,
];

export function userGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  // Where the tests have no root, they all are an ordinary user's already.
  if (!isRoot) return { name: "user", cases };
  const groups = [
    specsGroup([]),
    pluginGroup([]),
    programGroup([]),
    errorGroup([]),
    jailGroup([]),
    addingGroup([]),
    clockGroup([]),
  ];
  const all = [...groups.flatMap((group) => group.cases), ...rootlessPodmanCases()];
  for (const one of all) {
    if (!TAKEN.some((start) => one.name.startsWith(start)) || LEFT.some((pattern) => pattern.test(one.name))) continue;
    const mine = asUser(one, runts);
    if (matches(mine.name, filters)) cases.push(mine);
  }
  return { name: "user", cases };
}
