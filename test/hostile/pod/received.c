/*
 * The victim gives away, over a socket, its root directory, its /proc directory, a pidfd and a namespace: what a descriptor
 * gives by itself is the receiver's, but it opens no way to processes, memory and mounts.
 *
 * as: own-root own-user
 * prints: ^5 rounds\n$
 */
#include <sys/mount.h>
#include "pod.h"

static void use(const int *fds) {
  char bytes[64], path[64];
  siginfo_t info = {.si_code = SI_QUEUE};
  struct iovec there = {(void *)fact("SECRET"), sizeof bytes};
  int root = fds[0], proc = fds[1], pidfd = fds[2], ns = fds[3];
#define NEVER(call) \
  do { \
    if ((call) >= 0) harm("%s", #call); \
  } while (0)
  NEVER(syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 0));
  NEVER(syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 1));
  NEVER(syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 4));
  NEVER(syscall(SYS_pidfd_send_signal, proc, SIGUSR1, NULL, 0));
  NEVER(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
  for (int fd = 0; fd < 16; fd++) NEVER(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
  NEVER(syscall(SYS_process_madvise, pidfd, &there, 1, 4, 0));
  NEVER(syscall(SYS_setns, pidfd, 0x20000));
  NEVER(syscall(SYS_setns, pidfd, 0x20000000));
  NEVER(syscall(SYS_setns, ns, 0));
  NEVER(waitid(3, (id_t)pidfd, &info, WEXITED | WNOHANG));
  static const char *const ways[] = {"mem", "environ", "exe", "root", "cwd", "fd/3", "maps", "task/1/mem", "map_files", "oom_score_adj", "comm", "root/secret",
    "cwd/secret", "fd/4", "auxv", "ns/mnt", "attr/current"};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    int fd = openat(proc, ways[i], O_RDONLY | O_NONBLOCK);
    if (fd >= 0 && has_secret(bytes, pread(fd, bytes, sizeof bytes, strstr(ways[i], "mem") ? (off_t)fact("SECRET") : 0))) harm("the secret by %s", ways[i]);
    if (fd >= 0) close(fd);
    fd = openat(proc, ways[i], O_WRONLY);
    if (fd >= 0 && write(fd, "9", 1) == 1) harm("written: %s", ways[i]);
    if (fd >= 0) close(fd);
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", root);
  /* A received directory can be read by whoever may, but neither mounted on, nor bound, moved or pivoted to. */
  NEVER(mount("tmpfs", path, "tmpfs", 0, ""));
  NEVER(mount(path, "/tmp", NULL, MS_BIND, NULL));
  NEVER(mount(path, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
  NEVER(mount(path, "/tmp", NULL, MS_MOVE, NULL));
  NEVER(umount2(path, MNT_DETACH));
  pid_t child = fork();
  if (child == 0) {
    if (fchdir(root) == 0) {
      NEVER(umount2("tmp", MNT_DETACH));
      NEVER(umount2("proc", MNT_DETACH));
      NEVER(mount("tmpfs", "tmp", "tmpfs", 0, ""));
      NEVER(syscall(SYS_pivot_root, ".", "tmp"));
      if (chroot(".") == 0) {
        /* Its root is the victim's now, and still nothing there is its to rearrange. */
        NEVER(mount("tmpfs", "/tmp", "tmpfs", 0, ""));
        NEVER(umount2("/tmp", MNT_DETACH));
        NEVER(syscall(SYS_pivot_root, ".", "/tmp"));
        if (unshare(CLONE_NEWNS) == 0) mount("tmpfs", "/tmp", "tmpfs", 0, "");
        look_into(AT_FDCWD, "/proc/1/environ");
        look_into(AT_FDCWD, "/proc/self/root/proc/1/environ");
        /* Numbers there are the victim's, calls are ours. */
        int own = open("/proc/1/oom_score_adj", O_WRONLY);
        if (own >= 0 && write(own, "5", 1) == 1) harm("oom_score_adj of the victim");
      }
      int console = openat(root, "dev/console", O_RDWR | O_NONBLOCK);
      if (console >= 0) close(console);
    }
    _exit(0);
  }
  waitpid(child, NULL, 0);
  if (fchdir(root) == 0) chdir("/");
}

int main(void) {
  for (int signo = 1; signo < 65; signo++) signal(signo, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  for (int round = 0; round < 5; round++) {
    int fds[4], peer = call_victim();
    char control[CMSG_SPACE(sizeof fds)], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct ucred cred;
    socklen_t length = sizeof cred;
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &length) == 0 && cred.pid != 0) harm("SO_PEERCRED tells pid %d", cred.pid);
    if (recvmsg(peer, &message, 0) != 1) cannot("recvmsg");
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head == NULL || head->cmsg_len != CMSG_LEN(sizeof fds)) cannot("no descriptors came");
    memcpy(fds, CMSG_DATA(head), sizeof fds);
    use(fds);
    char info[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fds[2]);
    FILE *file = fopen(path, "r");
    long pid = 0;
    while (file != NULL && fgets(info, sizeof info, file) != NULL)
      if (sscanf(info, "Pid: %ld", &pid) == 1 && pid > 0) harm("fdinfo tells pid %ld", pid);
    if (file != NULL) fclose(file);
    for (int i = 0; i < 4; i++) close(fds[i]);
    /* Credentials that are not ours. */
    struct ucred lie = {(pid_t)fact("PID") + 500, getuid(), getgid()};
    char forged[CMSG_SPACE(sizeof lie)];
    message.msg_control = forged;
    message.msg_controllen = sizeof forged;
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_CREDENTIALS;
    head->cmsg_len = CMSG_LEN(sizeof lie);
    memcpy(CMSG_DATA(head), &lie, sizeof lie);
    if (sendmsg(peer, &message, MSG_NOSIGNAL) >= 0) harm("credentials of nobody could be sent");
    close(peer);
  }
  printf("5 rounds\n");
  return 0;
}
