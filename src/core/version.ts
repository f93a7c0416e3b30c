/** What `--version`, `features` and `state` say of this build. The commit is put in by build.ts. */
import { version } from "../../package.json";

declare const RUNTS_COMMIT: string | undefined;

export const RUNTS_VERSION: string = version;
export const COMMIT: string = typeof RUNTS_COMMIT === "string" ? RUNTS_COMMIT : "unknown";
/** The OCI runtime-spec that is implemented; also the newest `ociVersion` that is taken without a remark. */
export const SPEC_VERSION = "1.3.0";

/** The text of `runts --version`: runc's lines, which Docker and go-runc read. */
export function versionText(): string {
  return `runts version ${RUNTS_VERSION}\ncommit: ${COMMIT}\nspec: ${SPEC_VERSION}\nbun: ${Bun.version}\n`;
}
