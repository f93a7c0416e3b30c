/** Podman 4.3, which keeps a conmon per container. */
import type { Case } from "../harness/suite.ts";
import { type Client, clientCases } from "./session.ts";

export const podmanCases = (filters: readonly string[]): Case[] =>
  clientCases<Client>(
    { name: "podman", needs: ["podman"], open: () => Promise.reject(new Error("not yet")), tests: [] },
    filters,
  );
