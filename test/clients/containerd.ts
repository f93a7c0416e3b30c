/** containerd 1.6, driven by ctr with io.containerd.runc.v2, which runs the executable in runc's place. */
import type { Case } from "../harness/suite.ts";
import { type Client, clientCases } from "./session.ts";

export const containerdCases = (filters: readonly string[]): Case[] =>
  clientCases<Client>(
    { name: "containerd", needs: ["containerd"], open: () => Promise.reject(new Error("not yet")), tests: [] },
    filters,
  );
