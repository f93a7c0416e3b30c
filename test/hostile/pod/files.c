/*
 * Ways out of its own files, as root with every capability where it may be: up through "..", out of a chroot, links in the
 * volume that both have, mounts of everything that can be mounted, nodes of every device, /proc of everybody.
 *
 * prints: ^[1-9]\d* looked at\n$
 */
#include <dirent.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include "pod.h"

static long looked;

static void look(int dir, const char *name) {
  looked++;
  look_into(dir, name);
}

static void climb(void) {
  int dir = open(".", O_RDONLY | O_DIRECTORY);
  char up[512] = "";
  for (int i = 0; i < 100; i++) {
    strcat(up, "../");
    char path[600];
    snprintf(path, sizeof path, "%ssecret", up);
    look(dir, path);
    if (chdir("..") < 0) break;
  }
  close(dir);
}

static void leave_chroot(void) {
  pid_t child = fork();
  if (child == 0) {
    mkdir("/tmp/cage", 0777);
    int root = open("/", O_RDONLY | O_DIRECTORY);
    if (chroot("/tmp/cage") == 0) {
      fchdir(root);
      climb();
      chroot(".");
      look(AT_FDCWD, "/secret");
    }
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

static void links(void) {
  static const char *const targets[] = {"/secret", "/proc/self/root/secret", "/proc/1/root/secret", "../secret", "../../secret", "/../../secret",
    "/proc/self/cwd/../../secret"};
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    char path[64];
    snprintf(path, sizeof path, "/shared/link%zu", i);
    symlink(targets[i], path);
    look(AT_FDCWD, path);
    unlink(path);
  }
  looked++;
  if (link("/proc/1/exe", "/shared/hard") == 0) look(AT_FDCWD, "/shared/hard");
  unlink("/shared/hard");
}

static void proc(const char *where) {
  static const char *const files[] = {"root/secret", "cwd/secret", "environ", "mem", "fd/3", "fd/4", "map_files", "auxv", "maps", "smaps", "pagemap",
    "syscall", "stack", "root/tmp/own", "root/dev/shm/own", "task/1/root/secret"};
  for (int pid = 1; pid < 400; pid++) {
    if (pid == getpid()) continue;
    char path[128];
    snprintf(path, sizeof path, "%s/%d", where, pid);
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    if (dir < 0) continue;
    if (!shares_pids() && pid != 1 && pid != getppid()) harm("%s is there", path);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) look(dir, files[i]);
    int mem = openat(dir, "mem", O_RDWR);
    char bytes[64];
    if (mem >= 0 && has_secret(bytes, pread(mem, bytes, sizeof bytes, (off_t)fact("SECRET")))) harm("memory of %d", pid);
    if (mem >= 0) close(mem);
    for (int fd = 0; fd < 20; fd++) {
      snprintf(path, sizeof path, "fd/%d", fd);
      look(dir, path);
    }
    static const char *const writable[] = {"oom_score_adj", "comm", "timerslack_ns", "coredump_filter", "loginuid", "setgroups", "uid_map", "clear_refs",
      "autogroup", "attr/current"};
    /* Root with CAP_DAC_OVERRIDE may write some, as on Linux. */
    for (size_t i = 0; pid == (int)fact("PID") && getuid() != 0 && i < sizeof writable / sizeof *writable; i++) {
      int fd = openat(dir, writable[i], O_WRONLY);
      looked++;
      if (fd >= 0 && write(fd, "100", 3) == 3) harm("%s of the victim can be written", writable[i]);
      if (fd >= 0) close(fd);
    }
    close(dir);
  }
}

/* Everything below a directory that is not on the way to somewhere else. */
static void walk(const char *path, int depth) {
  DIR *folder = opendir(path);
  if (folder == NULL) return;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    char below[1024];
    if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below) continue;
    struct stat is;
    if (lstat(below, &is) < 0) continue;
    if (S_ISDIR(is.st_mode) && depth > 0) walk(below, depth - 1);
    else if (S_ISREG(is.st_mode)) look(AT_FDCWD, below);
  }
  closedir(folder);
}

static void mounts(void) {
  static const char *const types[] = {"proc", "sysfs", "devpts", "devtmpfs", "tmpfs", "mqueue", "cgroup", "cgroup2", "overlay", "bind", "debugfs", "hostfs"};
  mkdir("/tmp/at", 0777);
  mkdir("/tmp/upper", 0777);
  mkdir("/tmp/work", 0777);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    looked++;
    if (mount(types[i], "/tmp/at", types[i], 0, strcmp(types[i], "overlay") == 0 ? "lowerdir=/..,upperdir=/tmp/upper,workdir=/tmp/work" : "") < 0) continue;
    if (strcmp(types[i], "proc") == 0) proc("/tmp/at");
    else walk("/tmp/at", 3);
    umount2("/tmp/at", MNT_DETACH);
  }
  for (int pid = 1; pid < 100; pid++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/root", pid);
    if (pid == getpid() || mount(path, "/tmp/at", NULL, MS_BIND | MS_REC, NULL) < 0) continue;
    look(AT_FDCWD, "/tmp/at/secret");
    umount2("/tmp/at", MNT_DETACH);
  }
  if (unshare(CLONE_NEWNS) == 0) look(AT_FDCWD, "/../../secret");
  mkdir("/tmp/next", 0777);
  mount("tmpfs", "/tmp/next", "tmpfs", 0, "");
  mkdir("/tmp/next/old", 0777);
  if (syscall(SYS_pivot_root, "/tmp/next", "/tmp/next/old") == 0) {
    look(AT_FDCWD, "/old/secret");
    look(AT_FDCWD, "/old/../secret");
    look(AT_FDCWD, "/../secret");
  }
}

static void nodes(void) {
  for (unsigned major = 0; major < 260; major++)
    for (unsigned minor = 0; minor < 12; minor++) {
      looked++;
      if (mknod("/tmp/node", S_IFCHR | 0666, makedev(major, minor)) < 0) return;
      int fd = open("/tmp/node", O_RDWR | O_NONBLOCK | O_NOCTTY);
      /* Terminals: whatever opens must not be the victim's. */
      if (fd >= 0 && major != 1) {
        char bytes[64];
        write(fd, "x\n", 2);
        read(fd, bytes, sizeof bytes);
        ioctl(fd, 0x5412 /* TIOCSTI */, "x");
        int group = 2;
        ioctl(fd, 0x5410 /* TIOCSPGRP */, &group);
      }
      if (fd >= 0) close(fd);
      unlink("/tmp/node");
    }
}

int main(void) {
  for (int signo = 1; signo < 65; signo++) signal(signo, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  look(AT_FDCWD, "/dev/shm/own");
  for (int i = 0; i < 10; i++) {
    char path[32];
    snprintf(path, sizeof path, "/dev/pts/%d", i);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY);
    looked++;
    if (fd >= 0) harm("%s is there", path);
    if (fd >= 0) close(fd);
  }
  int console = open("/dev/console", O_RDWR | O_NONBLOCK | O_NOCTTY);
  if (console >= 0) write(console, "x", 1);
  climb();
  chdir("/");
  links();
  proc("/proc");
  walk("/sys", 6);
  walk("/shared", 3);
  walk("/dev", 3);
  leave_chroot();
  nodes();
  sethostname("taken", 5);
  setdomainname("taken", 5);
  static const char *const settings[] = {"kernel/hostname", "kernel/pid_max", "kernel/core_pattern", "vm/swappiness", "kernel/dmesg_restrict"};
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/sys/%s", settings[i]);
    int fd = open(path, O_WRONLY);
    if (fd >= 0 && write(fd, "1", 1) == 1) looked++;
    if (fd >= 0) close(fd);
  }
  mounts();
  printf("%ld looked at\n", looked);
  return 0;
}
