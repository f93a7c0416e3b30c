/**
 * Real clients from Debian's packages drive the runtime unchanged: what they type, read and match (docs/contract.md).
 * Each runs in an arena of its own (arena.ts) and must leave nothing there.
 */
import type { Case, Group } from "../harness/suite.ts";
import { containerdCases } from "./containerd.ts";
import { criCases } from "./cri.ts";
import { dockerCases } from "./docker.ts";
import { dockerNetworkCases } from "./docker-network.ts";
import { podmanCases } from "./podman.ts";
import { podmanCheckpointCases } from "./podman-checkpoint.ts";
import { podmanPodCases } from "./podman-pods.ts";

const clients = [
  containerdCases,
  criCases,
  dockerCases,
  dockerNetworkCases,
  podmanCases,
  podmanCheckpointCases,
  podmanPodCases,
];

/** In turns, so that the clients run beside one another: the tests of one of them wait for each other. */
function interleave(lists: Case[][]): Case[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, at) => lists.flatMap((list) => list[at] ?? [])).flat();
}

export function clientGroup(filters: readonly string[]): Group {
  return { name: "clients", cases: interleave(clients.map((cases) => cases(filters))) };
}
