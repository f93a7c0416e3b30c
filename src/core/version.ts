/** What `--version`, `features` and `state` say of this build. */
import { COMMIT, VERSION } from "../generated/version.ts";

export { COMMIT, VERSION };
/** The OCI runtime-spec that is implemented; also the newest `ociVersion` that is taken without a remark. */
export const SPEC_VERSION = "1.3.0";

/** The text of `runts --version`: runc's lines, which Docker and go-runc read. */
export function versionText(): string {
  return `runts version ${VERSION}\ncommit: ${COMMIT}\nspec: ${SPEC_VERSION}\nbun: ${Bun.version}\n`;
}
