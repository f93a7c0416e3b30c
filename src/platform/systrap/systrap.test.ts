/** The systrap platform alone. */
import { platformConformance } from "../conformance.ts";
import { SystrapPlatform } from "./systrap.ts";

platformConformance("systrap", (pollerFd) => new SystrapPlatform({ emptyRoot: -1, namespaces: 0, pollerFd }));
