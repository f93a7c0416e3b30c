/** The ptrace platform alone, with and without the seccomp filter. */
import { platformConformance } from "../conformance.ts";
import { PtracePlatform } from "./ptrace.ts";

for (const withoutFilter of [false, true])
  platformConformance(
    withoutFilter ? "ptrace without seccomp" : "ptrace",
    (pollerFd) => new PtracePlatform({ emptyRoot: -1, namespaces: 0, pollerFd, withoutFilter }),
    { deaf: true },
  );
