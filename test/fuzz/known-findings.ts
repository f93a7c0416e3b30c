/**
 * Findings of the fuzzer that stand, dated and explained. An entry goes when its cause has been mended; the test run then
 * fails again if it comes back.
 */
export interface KnownFinding {
  kind: string;
  platform?: string;
  signature: RegExp;
  since: string;
  why: string;
}

export const knownFindings: readonly KnownFinding[] = [];

export const isKnown = (kind: string, platform: string, signature: string): KnownFinding | undefined =>
  knownFindings.find(
    (f) => f.kind === kind && (f.platform === undefined || f.platform === platform) && f.signature.test(signature),
  );
