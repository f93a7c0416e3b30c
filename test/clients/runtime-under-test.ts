/**
 * The runtime that clients of pods are told to use. RUNTS_CRI_RUNTIME names another one (`runc`), which tells what a test
 * expects of any runtime from what it expects of ours alone.
 */
import { runts } from "../harness/sandbox.ts";

const other = process.env["RUNTS_CRI_RUNTIME"];

/** Is it ours? What a test expects of a pod that is one sandbox does not hold for others. */
export const isOurs = other === undefined;

export const runtimeUnderTest = other ?? runts;

/** Its global flags. */
export const platformFlags = (platform: string): string[] => (isOurs ? [`--platform=${platform}`] : []);
