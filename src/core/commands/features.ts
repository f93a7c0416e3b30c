/** `runts features`: runtime-spec's features document (features.md), which Docker and CRI-O read. */
import { command } from "../command.ts";
import { detectCgroups } from "../container/cgroup.ts";
import { allCapabilities } from "../spec/capabilities.ts";
import { NAMESPACES, SECCOMP_ACTIONS, SECCOMP_ARCHITECTURES, SECCOMP_OPERATORS } from "../spec/validate.ts";
import { COMMIT, SPEC_VERSION, VERSION } from "../version.ts";

/** What mounts of a spec may have as options. */
const MOUNT_OPTIONS = [
  "async",
  "atime",
  "bind",
  "defaults",
  "dev",
  "diratime",
  "dirsync",
  "exec",
  "noatime",
  "nodev",
  "nodiratime",
  "noexec",
  "norelatime",
  "nostrictatime",
  "nosuid",
  "private",
  "rbind",
  "relatime",
  "remount",
  "ro",
  "rprivate",
  "rshared",
  "rslave",
  "runbindable",
  "rw",
  "shared",
  "slave",
  "strictatime",
  "suid",
  "sync",
  "unbindable",
];

export default command({
  name: "features",
  summary: "tell what this runtime and this host can do",
  description: `
JSON, as the OCI runtime specification defines it; the annotations tell of
platforms and plugins.`,
  run(context) {
    const { plugins } = context;
    const platforms = plugins.platforms.map((each) => {
      const missing = each.missing();
      return [`dev.runts.platform.${each.name}`, missing === null ? "available" : `not available: ${missing}`];
    });
    const hooks = plugins.listens("container:create-runtime")
      ? ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
      : [];
    const cgroups = detectCgroups();
    context.out(
      `${JSON.stringify(
        {
          ociVersionMin: "1.0.0",
          ociVersionMax: SPEC_VERSION,
          hooks,
          mountOptions: MOUNT_OPTIONS,
          linux: {
            namespaces: NAMESPACES.filter((name) => name !== "time"),
            capabilities: allCapabilities,
            cgroup: {
              v1: cgroups.v1.size > 0,
              v2: cgroups.v2 !== null,
              systemd: false,
              systemdUser: false,
              rdma: false,
            },
            seccomp: {
              enabled: true,
              actions: SECCOMP_ACTIONS.filter((name) => name !== "SCMP_ACT_NOTIFY"),
              operators: SECCOMP_OPERATORS,
              archs: SECCOMP_ARCHITECTURES.filter((name) => name === "SCMP_ARCH_X86_64"),
              knownFlags: ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"],
              supportedFlags: [
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_LOG",
              ],
            },
            apparmor: { enabled: false },
            selinux: { enabled: false },
            intelRdt: { enabled: false },
            mountExtensions: { idmap: { enabled: false } },
          },
          annotations: {
            "dev.runts.version": VERSION,
            "dev.runts.commit": COMMIT,
            ...Object.fromEntries(platforms),
            "dev.runts.network": "sandbox,host,none",
            "dev.runts.plugins": plugins.plugins.map((each) => each.name).join(","),
          },
        },
        null,
        4,
      )}\n`,
    );
  },
});
