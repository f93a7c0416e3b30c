/**
 * /proc/sys: settings of the kernel. Those that mean something here act or show what is; the others hold the value that
 * Linux has by default, and root may write them without effect, as programs expect.
 *
 * Source: proc_sys_kernel(5), proc_sys_vm(5), proc_sys_fs(5), Documentation/admin-guide/sysctl.
 */

import { getrandom } from "../../../native/host.ts";
import { EINVAL, EPERM } from "../../abi/errno.ts";
import { KERNEL_NAME, KERNEL_RELEASE, KERNEL_VERSION } from "../../abi/version.ts";
import { PIPE_MAX_SIZE } from "../../ipc/pipe.ts";
import { CAP_LAST, CAP_SYS_ADMIN, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { PTY_MAX } from "../../tty/pty-table.ts";
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile, parseNumber } from "../pseudo/text.ts";
import type { ProcFs } from "./proc-fs.ts";

/** A random UUID in its usual text form (version 4). */
function uuid(): string {
  const bytes = new Uint8Array(16);
  getrandom(bytes, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const text = Buffer.from(bytes).toString("hex");
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}\n`;
}

/** Settings that only show a value. */
const FIXED: Readonly<Record<string, string | number>> = {
  "kernel/ostype": KERNEL_NAME,
  "kernel/osrelease": KERNEL_RELEASE,
  "kernel/version": KERNEL_VERSION,
  "kernel/arch": "x86_64",
  "kernel/cap_last_cap": CAP_LAST,
  "kernel/ngroups_max": 65536,
  "kernel/random/entropy_avail": 256,
  "kernel/random/poolsize": 256,
  "kernel/overflowuid": 65534,
  "kernel/overflowgid": 65534,
  "kernel/pty/max": PTY_MAX,
  "kernel/pty/reserve": 1024,
  "kernel/seccomp/actions_avail": "kill_process kill_thread trap errno user_notif trace log allow",
  "kernel/tainted": 0,
  "kernel/bootloader_type": 0,
  "fs/nr_open": 1048576,
  "fs/overflowuid": 65534,
  "fs/overflowgid": 65534,
  "fs/pipe-max-size": PIPE_MAX_SIZE,
  "fs/aio-nr": 0,
  "fs/inode-state": "0\t0\t0\t0\t0\t0\t0",
  "fs/inode-nr": "0\t0",
  "fs/dentry-state": "0\t0\t45\t0\t0\t0",
};

/** Settings of devices: of all, of those to come, of lo. Those of others are not shown. */
function ofDevices(path: string, settings: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    ["all", "default", "lo"].flatMap((device) =>
      Object.entries(settings).map(([name, value]) => [`${path}/${device}/${name}`, value]),
    ),
  );
}

/** Settings that hold what is written to them: path → default. Numbers only accept numbers. */
const KEPT: Readonly<Record<string, string | number>> = {
  "kernel/pid_max": 4194304,
  "kernel/threads-max": 16384,
  "kernel/shmmax": "18446744073692774399",
  "kernel/shmall": "18446744073692774399",
  "kernel/shmmni": 4096,
  "kernel/shm_rmid_forced": 0,
  "kernel/msgmax": 8192,
  "kernel/msgmnb": 16384,
  "kernel/msgmni": 32000,
  "kernel/sem": "32000\t1024000000\t500\t32000",
  "kernel/printk": "4\t4\t1\t7",
  "kernel/core_pattern": "core",
  "kernel/core_uses_pid": 0,
  "kernel/core_pipe_limit": 0,
  "kernel/randomize_va_space": 2,
  "kernel/dmesg_restrict": 0,
  "kernel/kptr_restrict": 0,
  "kernel/panic": 0,
  "kernel/panic_on_oops": 0,
  "kernel/sysrq": 0,
  "kernel/perf_event_paranoid": 2,
  "kernel/perf_event_mlock_kb": 516,
  "kernel/perf_event_max_sample_rate": 100000,
  "kernel/unprivileged_bpf_disabled": 2,
  "kernel/io_uring_disabled": 2,
  "kernel/sched_autogroup_enabled": 1,
  "kernel/sched_rr_timeslice_ms": 100,
  "kernel/sched_rt_period_us": 1000000,
  "kernel/sched_rt_runtime_us": 950000,
  "kernel/numa_balancing": 0,
  "kernel/hung_task_timeout_secs": 120,
  "kernel/watchdog": 0,
  "kernel/keys/maxkeys": 200,
  "kernel/keys/maxbytes": 20000,
  "kernel/keys/root_maxkeys": 1000000,
  "kernel/keys/root_maxbytes": 25000000,
  "vm/overcommit_memory": 0,
  "vm/overcommit_ratio": 50,
  "vm/overcommit_kbytes": 0,
  "vm/max_map_count": 65530,
  "vm/mmap_min_addr": 65536,
  "vm/swappiness": 60,
  "vm/dirty_ratio": 20,
  "vm/dirty_background_ratio": 10,
  "vm/dirty_expire_centisecs": 3000,
  "vm/dirty_writeback_centisecs": 500,
  "vm/dirty_bytes": 0,
  "vm/dirty_background_bytes": 0,
  "vm/min_free_kbytes": 67584,
  "vm/vfs_cache_pressure": 100,
  "vm/page-cluster": 3,
  "vm/panic_on_oom": 0,
  "vm/oom_kill_allocating_task": 0,
  "vm/oom_dump_tasks": 1,
  "vm/nr_hugepages": 0,
  "vm/nr_overcommit_hugepages": 0,
  "vm/hugetlb_shm_group": 0,
  "vm/zone_reclaim_mode": 0,
  "vm/legacy_va_layout": 0,
  "vm/unprivileged_userfaultfd": 0,
  "vm/drop_caches": 0,
  "vm/compact_memory": 0,
  "vm/user_reserve_kbytes": 131072,
  "vm/admin_reserve_kbytes": 8192,
  "fs/file-max": "9223372036854775807",
  "fs/aio-max-nr": 65536,
  "fs/lease-break-time": 45,
  "fs/leases-enable": 1,
  "fs/mount-max": 100000,
  "fs/pipe-user-pages-hard": 0,
  "fs/pipe-user-pages-soft": 16384,
  "fs/protected_fifos": 1,
  "fs/protected_hardlinks": 1,
  "fs/protected_regular": 2,
  "fs/protected_symlinks": 1,
  "fs/suid_dumpable": 0,
  "fs/epoll/max_user_watches": 5373910,
  "fs/inotify/max_queued_events": 16384,
  "fs/inotify/max_user_instances": 128,
  "fs/inotify/max_user_watches": 524288,
  "fs/mqueue/msg_default": 10,
  "fs/mqueue/msg_max": 10,
  "fs/mqueue/msgsize_default": 8192,
  "fs/mqueue/msgsize_max": 8192,
  "fs/mqueue/queues_max": 256,
  "net/core/somaxconn": 4096,
  "net/core/rmem_default": 212992,
  "net/core/rmem_max": 212992,
  "net/core/wmem_default": 212992,
  "net/core/wmem_max": 212992,
  "net/core/netdev_max_backlog": 1000,
  "net/core/optmem_max": 131072,
  "net/core/default_qdisc": "pfifo_fast",
  "net/unix/max_dgram_qlen": 512,
  "net/ipv4/ip_forward": 0,
  "net/ipv4/ip_default_ttl": 64,
  "net/ipv4/ip_local_port_range": "32768\t60999",
  "net/ipv4/ip_local_reserved_ports": "",
  "net/ipv4/ip_unprivileged_port_start": 1024,
  "net/ipv4/ip_nonlocal_bind": 0,
  "net/ipv4/ping_group_range": "1\t0",
  "net/ipv4/tcp_congestion_control": "cubic",
  "net/ipv4/tcp_available_congestion_control": "reno cubic",
  "net/ipv4/tcp_allowed_congestion_control": "reno cubic",
  "net/ipv4/tcp_fin_timeout": 60,
  "net/ipv4/tcp_keepalive_time": 7200,
  "net/ipv4/tcp_keepalive_intvl": 75,
  "net/ipv4/tcp_keepalive_probes": 9,
  "net/ipv4/tcp_max_syn_backlog": 1024,
  "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
  "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
  "net/ipv4/tcp_sack": 1,
  "net/ipv4/tcp_syncookies": 1,
  "net/ipv4/tcp_syn_retries": 6,
  "net/ipv4/tcp_synack_retries": 5,
  "net/ipv4/tcp_timestamps": 1,
  "net/ipv4/tcp_tw_reuse": 2,
  "net/ipv4/tcp_window_scaling": 1,
  "net/ipv4/tcp_fastopen": 1,
  "net/ipv6/bindv6only": 0,
  ...ofDevices("net/ipv4/conf", {
    forwarding: 0,
    rp_filter: 0,
    accept_redirects: 0,
    accept_source_route: 0,
    send_redirects: 1,
    arp_ignore: 0,
    arp_announce: 0,
    disable_policy: 0,
  }),
  ...ofDevices("net/ipv6/conf", { disable_ipv6: 0, forwarding: 0, accept_ra: 1, use_tempaddr: 0 }),
  "user/max_cgroup_namespaces": 0,
  "user/max_ipc_namespaces": 0,
  "user/max_mnt_namespaces": 0,
  "user/max_net_namespaces": 0,
  "user/max_pid_namespaces": 0,
  "user/max_time_namespaces": 0,
  "user/max_user_namespaces": 0,
  "user/max_uts_namespaces": 0,
};

/** A setting that may be read by few. */
const SECRET = new Set(["vm/drop_caches", "vm/compact_memory"]);

export function addSysctls(fs: ProcFs, root: PseudoDirectory): void {
  const place = (path: string): [PseudoDirectory, string] => {
    const slash = path.lastIndexOf("/");
    return [root.directory(path.slice(0, slash)), path.slice(slash + 1)];
  };
  const show = (path: string, read: (task: Task) => string | number) => {
    const [directory, name] = place(path);
    directory.add(name, new GeneratedFile(fs, (task) => `${read(task)}\n`));
  };
  for (const [path, value] of Object.entries(FIXED)) show(path, () => value);

  for (const [path, initial] of Object.entries(KEPT)) {
    const [directory, name] = place(path);
    directory.add(
      name,
      new GeneratedFile(
        fs,
        (task) => `${task.container.sysctl(path) ?? initial}\n`,
        (task, text) => {
          if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
          const line = text.split("\n")[0]!.trim();
          if (typeof initial === "number" && parseNumber(line) === null) return -EINVAL;
          task.container.setSysctl(path, line.slice(0, 4096));
          return 0;
        },
        SECRET.has(path) ? 0o200 : 0o644,
      ),
    );
  }

  const named = (path: string, name: "hostname" | "domainname") => {
    const [directory, entry] = place(path);
    directory.add(
      entry,
      new GeneratedFile(
        fs,
        (task) => `${task.container.uts[name]}\n`,
        (task, text) => {
          if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
          task.container.uts[name] = text.split("\n")[0]!.slice(0, 64);
          return 0;
        },
      ),
    );
  };
  named("kernel/hostname", "hostname");
  named("kernel/domainname", "domainname");

  show("kernel/random/boot_id", ({ kernel }) => {
    kernel.bootId ||= uuid().trimEnd();
    return kernel.bootId;
  });
  const [random] = place("kernel/random/uuid");
  random.add("uuid", new GeneratedFile(fs, uuid));
  show("kernel/pty/nr", ({ container }) => container.ptys.count);
  show("kernel/ns_last_pid", () => fs.pids.newest);
  show("fs/file-nr", () => `${openFiles(fs)}\t0\t9223372036854775807`);
}

/** Open descriptors of all processes; shared tables count once. */
function openFiles(fs: ProcFs): number {
  const tables = new Set<object>();
  let count = 0;
  for (const task of fs.kernel.tasks) {
    if (tables.has(task.files)) continue;
    tables.add(task.files);
    count += task.files.count;
  }
  return count;
}
