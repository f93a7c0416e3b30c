/*
 * Small programs that come and go: each kind below is run again and again in a process of its own, which leaves
 * everything as it is when it ends. Three ways to end take turns: it exits, it has been executed and exits, it is killed.
 *
 * Twice everything has ended, and the sandbox should hold what it held before: there the program copies /dev/census (the
 * plugin beside this file) between two lines, and goes on when a line comes on standard input. It prints besides what did
 * not work.
 *
 *   churn BEFORE AFTER KIND     so many rounds up to the first time, and to the second; "all" or one kind
 */
#include "../guest/guest.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static char dir[64];
static const char *doing;

static void wrong(const char *what, int line) {
  dprintf(1, "%s: %s in line %d: %s\n", doing, what, line, errno_name(errno));
}
#define MUST(x)                                                                                                        \
  ({                                                                                                                   \
    long result_ = (long)(x);                                                                                          \
    if (result_ == -1) wrong(#x, __LINE__);                                                                            \
    result_;                                                                                                           \
  })
#define HOLDS(x)                                                                                                       \
  do {                                                                                                                 \
    if (!(x)) wrong(#x, __LINE__);                                                                                     \
  } while (0)

/* A name that no other run has. */
static const char *name(const char *what) {
  static char text[4][128];
  static int turn;
  char *out = text[turn++ & 3];
  snprintf(out, sizeof text[0], "%s/%s-%d", dir, what, getpid());
  return out;
}

static pid_t child(void (*run)(void)) {
  pid_t pid = MUST(fork());
  if (pid == 0) {
    run();
    _exit(0);
  }
  return pid;
}
static void sleeps(void) { pause(); }
static void nothing(void) {}

static void k_fork_exec(void) {
  pid_t pid = MUST(fork());
  if (pid == 0) {
    char *argv[] = {"churn", "nothing", NULL};
    execv("/proc/self/exe", argv);
    _exit(1);
  }
  int status;
  MUST(waitpid(pid, &status, 0));
  HOLDS(status == 0);
}

static void k_failed_execs(void) {
  char *argv[] = {"x", NULL};
  HOLDS(execv(name("none"), argv) == -1 && errno == ENOENT);
  HOLDS(execv("/etc/passwd", argv) == -1 && errno == EACCES);
  int fd = MUST(open(name("garbage"), O_CREAT | O_WRONLY, 0755));
  MUST(write(fd, "\1\2garbage", 9));
  close(fd);
  HOLDS(execv(name("garbage"), argv) == -1 && errno == ENOEXEC);
  /* A header that is right, with segments that are not there. */
  char header[128];
  int self = MUST(open("/proc/self/exe", O_RDONLY));
  MUST(read(self, header, sizeof header));
  fd = MUST(open(name("half"), O_CREAT | O_WRONLY, 0755));
  MUST(write(fd, header, sizeof header));
  close(fd);
  HOLDS(execv(name("half"), argv) == -1);
  unlink(name("garbage"));
  unlink(name("half"));
}

static void k_zombies_and_orphans(void) {
  child(nothing);
  pid_t middle = MUST(fork());
  if (middle == 0) {
    pid_t pid = child(nothing);
    child(sleeps);
    setpgid(pid, pid);
    setsid();
    kill(0, SIGKILL);
    pause();
  }
  MUST(waitpid(middle, NULL, 0));
}

static void crashes(void) { *(volatile int *)BAD = 1; }
static void k_crash(void) {
  int status;
  MUST(waitpid(child(crashes), &status, 0));
  HOLDS(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void k_pipes(void) {
  int p[2], q[2];
  MUST(pipe(p));
  MUST(pipe2(q, O_NONBLOCK));
  MUST(write(p[1], dir, sizeof dir));
  MUST(tee(p[0], q[1], 16, 0));
  MUST(splice(p[0], NULL, q[1], NULL, 16, 0));
  fcntl(q[0], F_SETPIPE_SZ, 1 << 20);
  if (MUST(fork()) == 0) {
    close(q[1]);
    char c[256];
    for (;;) read(p[0], c, sizeof c) > 0 ? 0 : pause();
  }
  MUST(mkfifo(name("fifo"), 0600));
  MUST(open(name("fifo"), O_RDWR));
  MUST(unlink(name("fifo")));
}

static int send_fd(int socket, int fd) {
  char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 'x';
  struct iovec iov = {&byte, 1};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(c), &fd, sizeof fd);
  return sendmsg(socket, &m, 0);
}

static void k_unix(void) {
  int s[2], t[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, t));
  MUST(write(s[0], dir, sizeof dir));
  MUST(send(t[0], dir, 5, 0));
  /* Sockets that hold themselves. */
  MUST(send_fd(s[0], s[1]));
  MUST(send_fd(s[1], s[0]));
  MUST(send_fd(t[0], t[1]));
  MUST(send_fd(t[0], s[0]));
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  snprintf(a.sun_path + 1, 60, "churn-%d", getpid());
  MUST(bind(l, (void *)&a, sizeof a));
  MUST(listen(l, 5));
  for (int i = 0; i < 3; i++) {
    int c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(c, (void *)&a, sizeof a));
    MUST(write(c, "data", 4));
  }
  MUST(accept(l, NULL, NULL));
  int p = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  strcpy(a.sun_path, name("socket"));
  MUST(bind(p, (void *)&a, sizeof a));
  MUST(listen(p, 1));
  MUST(unlink(a.sun_path));
}

static void k_tcp(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof a;
  int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(l, (void *)&a, sizeof a));
  MUST(listen(l, 5));
  MUST(getsockname(l, (void *)&a, &length));
  int c[3];
  for (int i = 0; i < 3; i++) {
    c[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(c[i], (void *)&a, sizeof a));
    MUST(write(c[i], "unread", 6));
  }
  int s = MUST(accept(l, NULL, NULL));
  MUST(write(s, "unread", 6));
  /* Over at once: no time of waiting after the end. */
  struct linger at_once = {1, 0};
  for (int i = 0; i < 3; i++) MUST(setsockopt(c[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
  MUST(setsockopt(s, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
  /* One that nobody listens for, and one that is never finished. */
  close(l);
  int n = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  HOLDS(connect(n, (void *)&a, sizeof a) == -1);
}

static void k_udp_netlink(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof a;
  int u = MUST(socket(AF_INET, SOCK_DGRAM, 0)), v = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  MUST(bind(u, (void *)&a, sizeof a));
  MUST(getsockname(u, (void *)&a, &length));
  for (int i = 0; i < 5; i++) MUST(sendto(v, dir, sizeof dir, 0, (void *)&a, sizeof a));
  int n = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  struct {
    struct nlmsghdr h;
    char family[4];
  } ask = {{sizeof ask, 18 /* RTM_GETLINK */, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {0}};
  MUST(send(n, &ask, sizeof ask, 0));
  /* One that listens to groups, and a list of sockets that nobody reads. */
  int group = 1 /* RTNLGRP_LINK */;
  MUST(setsockopt(n, 270 /* SOL_NETLINK */, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
  struct {
    struct nlmsghdr h;
    unsigned char family, protocol, ext, pad;
    unsigned states;
    char id[48];
  } list = {{sizeof list, 20 /* SOCK_DIAG_BY_FAMILY */, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, AF_INET, IPPROTO_UDP, 0, 0, -1u, ""};
  int d = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
  MUST(send(d, &list, sizeof list, 0));
  int stats = MUST(open("/sys/class/net/lo/statistics/rx_bytes", O_RDONLY));
  char text[32];
  HOLDS(read(stats, text, sizeof text) > 0);
}

static void k_files(void) {
  const char *one = name("one"), *two = name("two"), *folder = name("folder");
  int fd = MUST(open(one, O_CREAT | O_RDWR, 0644));
  MUST(ftruncate(fd, 1 << 16));
  char *m = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  HOLDS(m != MAP_FAILED);
  m[100] = 1;
  MUST(link(one, two));
  MUST(symlink(one, folder));
  MUST(unlink(folder));
  MUST(mkdir(folder, 0755));
  MUST(rename(two, one));
  MUST(unlink(two));
  MUST(unlink(one));
  HOLDS(stat(one, &(struct stat){0}) == -1 && errno == ENOENT);
  DIR *d = opendir(dir);
  HOLDS(d && readdir(d));
  int held = MUST(open(folder, O_RDONLY | O_DIRECTORY));
  HOLDS(openat(held, "none", O_RDONLY) == -1);
  int inside = MUST(openat(held, "inside", O_CREAT | O_RDWR, 0600));
  MUST(write(inside, dir, 10));
  MUST(unlinkat(held, "inside", 0));
  MUST(chdir(folder));
  MUST(rmdir(folder));
  HOLDS(open("/usr/include/none", O_RDONLY) == -1);
  MUST(open("/etc/passwd", O_RDONLY));
}

static void k_locks(void) {
  int fd = MUST(open(name("locked"), O_CREAT | O_RDWR, 0644));
  int other = MUST(open(name("locked"), O_RDWR));
  MUST(unlink(name("locked")));
  struct flock all = {.l_type = F_WRLCK}, some = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
  MUST(fcntl(fd, F_SETLK, &some));
  MUST(fcntl(fd, F_OFD_SETLK, &(struct flock){.l_type = F_RDLCK, .l_start = 100, .l_len = 5}));
  MUST(flock(fd, LOCK_EX));
  if (MUST(fork()) == 0) {
    fcntl(fd, F_SETLKW, &all);
    pause();
  }
  if (MUST(fork()) == 0) {
    flock(other, LOCK_EX);
    pause();
  }
}

static void k_watches(void) {
  int i = MUST(inotify_init1(0));
  MUST(inotify_add_watch(i, dir, IN_ALL_EVENTS));
  int fd = MUST(open(name("watched"), O_CREAT | O_RDWR, 0644));
  MUST(inotify_add_watch(i, name("watched"), IN_ALL_EVENTS));
  MUST(write(fd, dir, 1));
  MUST(unlink(name("watched")));
}

static void k_epoll(void) {
  int e = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0)), p[2];
  MUST(pipe(p));
  int fds[] = {p[0], p[1], MUST(eventfd(1, 0)), MUST(timerfd_create(CLOCK_MONOTONIC, 0)), 0};
  for (int i = 0; i < 5; i++)
    epoll_ctl(e, EPOLL_CTL_ADD, fds[i], &(struct epoll_event){.events = EPOLLIN | (i & 1 ? EPOLLET : 0)});
  MUST(epoll_ctl(outer, EPOLL_CTL_ADD, e, &(struct epoll_event){.events = EPOLLIN}));
  struct epoll_event got[8];
  MUST(epoll_wait(outer, got, 8, 0));
  close(fds[2]);
  dup(p[0]);
  close(p[0]);
  if (MUST(fork()) == 0) {
    epoll_wait(e, got, 8, -1);
    pause();
  }
}

static void k_timers(void) {
  struct itimerspec far = {{100, 0}, {100, 0}};
  int t = MUST(timerfd_create(CLOCK_REALTIME, 0));
  MUST(timerfd_settime(t, 0, &far, NULL));
  timer_t id;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  MUST(timer_create(CLOCK_MONOTONIC, &event, &id));
  MUST(timer_settime(id, 0, &far, NULL));
  struct itimerval virtual = {{100, 0}, {100, 0}};
  MUST(setitimer(ITIMER_PROF, &virtual, NULL));
  MUST(setitimer(ITIMER_VIRTUAL, &virtual, NULL));
  MUST(setrlimit(RLIMIT_CPU, &(struct rlimit){100, 200}));
  MUST(nanosleep(&(struct timespec){0, 1000}, NULL));
  MUST(poll(NULL, 0, 1));
  child(sleeps);
}

static void k_pty(void) {
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  char slave[64];
  MUST(ptsname_r(master, slave, sizeof slave));
  pid_t pid = MUST(fork());
  if (pid == 0) {
    MUST(setsid());
    int fd = MUST(open(slave, O_RDWR));
    MUST(write(fd, "hello\n", 6));
    char c;
    read(fd, &c, 1);
    pause();
  }
  char text[16];
  MUST(read(master, text, sizeof text));
  MUST(write(master, "typed", 5));
}

static void k_memory(void) {
  char *m = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  HOLDS(m != MAP_FAILED);
  for (int i = 0; i < 64; i += 2) {
    m[i * 4096] = 1;
    MUST(mprotect(m + i * 4096, 4096, PROT_READ));
  }
  MUST(munmap(m + 8192, 4096));
  HOLDS(mremap(m + 4 * 4096, 4096, 16 * 4096, MREMAP_MAYMOVE) != MAP_FAILED);
  char *shared = mmap(NULL, 4096 * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  HOLDS(shared != MAP_FAILED);
  int fd = MUST(memfd_create("churn", MFD_ALLOW_SEALING));
  MUST(ftruncate(fd, 8192));
  HOLDS(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
  HOLDS(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, MUST(open("/etc/passwd", O_RDONLY)), 0) != MAP_FAILED);
  shared[0] = 1;
  HOLDS(sbrk(1 << 20) != (void *)-1);
  child(sleeps);
}

static void ignored(int signal) { (void)signal; }
static void k_signals(void) {
  sigset_t all;
  sigfillset(&all);
  signal(SIGUSR1, ignored);
  raise(SIGUSR1);
  MUST(sigprocmask(SIG_BLOCK, &all, NULL));
  for (int i = 0; i < 10; i++) MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){i}));
  kill(getpid(), SIGUSR2);
  MUST(signalfd(-1, &all, 0));
  pid_t pid = child(sleeps);
  MUST(kill(pid, SIGSTOP));
  MUST(waitpid(pid, NULL, WUNTRACED));
  MUST(kill(pid, SIGCONT));
  MUST(kill(pid, SIGKILL));
}

static int futex_word;
static void *waits(void *how) {
  int p[2];
  if ((long)how == 0) syscall(SYS_futex, &futex_word, 0, 0, NULL, NULL, 0);
  if ((long)how == 1 && pipe(p) == 0) read(p[0], p, 1);
  if ((long)how == 2) poll(NULL, 0, -1);
  return NULL;
}
static void *ends(void *how) { return how; }
static void k_threads(void) {
  pthread_t id;
  for (long i = 0; i < 3; i++) HOLDS(pthread_create(&id, NULL, waits, (void *)i) == 0);
  HOLDS(pthread_create(&id, NULL, ends, NULL) == 0);
  pthread_join(id, NULL);
  usleep(1000);
}

static void *executes(void *argument) {
  char *argv[] = {"churn", "nothing", NULL};
  execv("/proc/self/exe", argv);
  return argument;
}
static void k_exec_of_a_thread(void) {
  pid_t pid = MUST(fork());
  if (pid == 0) {
    pthread_t id;
    pthread_create(&id, NULL, waits, (void *)1);
    pthread_create(&id, NULL, executes, NULL);
    pthread_join(id, NULL);
    _exit(1);
  }
  int status;
  MUST(waitpid(pid, &status, 0));
  HOLDS(status == 0);
}

static void k_vfork(void) {
  char *argv[] = {"churn", "nothing", NULL};
  pid_t pid = vfork();
  if (pid == 0) {
    execv("/proc/self/exe", argv);
    _exit(1);
  }
  MUST(waitpid(pid, NULL, 0));
}

static void k_proc(void) {
  pid_t pid = child(sleeps);
  char path[64];
  for (int i = 0; i < 5; i++) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, (const char *[]){"status", "maps", "fd", "fdinfo", "task"}[i]);
    char text[256];
    int fd = MUST(open(path, O_RDONLY));
    if (i < 2) MUST(read(fd, text, sizeof text));
  }
  int pidfd = MUST(syscall(SYS_pidfd_open, pid, 0));
  HOLDS(pidfd >= 0);
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  MUST(open(path, O_RDONLY));
  snprintf(path, sizeof path, "/proc/%d", pid);
  MUST(chdir(path));
  MUST(kill(pid, SIGKILL));
  MUST(waitpid(pid, NULL, 0));
  HOLDS(open("status", O_RDONLY) == -1);
}

static void k_mounts(void) {
  const char *place = name("place");
  MUST(mkdir(place, 0755));
  MUST(mount("none", place, "tmpfs", 0, "size=1m"));
  char file[160];
  snprintf(file, sizeof file, "%s/file", place);
  int fd = MUST(open(file, O_CREAT | O_RDWR, 0644));
  MUST(write(fd, dir, sizeof dir));
  close(fd);
  MUST(umount(place));
  MUST(mount("proc", place, "proc", 0, NULL));
  MUST(chdir(place));
  MUST(umount2(place, MNT_DETACH));
  MUST(mount("/etc", place, NULL, MS_BIND, NULL));
  MUST(umount(place));
  MUST(rmdir(place));
}

static void k_seccomp(void) {
  struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  for (int i = 0; i < 2; i++)
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){1, allow}));
  child(nothing);
}

static void k_credentials(void) {
  /* Somebody else each time. */
  uid_t uid = 2000 + getpid();
  MUST(setgroups(1, &uid));
  MUST(setresgid(uid, uid, uid));
  MUST(setresuid(uid, uid, uid));
  MUST(umask(077));
  int p[2];
  MUST(pipe(p));
  MUST(eventfd(0, 0));
  child(sleeps);
}

static void k_async_io(void) {
  int s[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  signal(SIGIO, SIG_IGN);
  MUST(fcntl(s[0], F_SETOWN, getpid()));
  MUST(fcntl(s[0], F_SETFL, O_ASYNC));
  MUST(write(s[1], "x", 1));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(s[1], &set);
  MUST(select(s[1] + 1, &set, NULL, NULL, &(struct timeval){0, 1000}));
}

static void k_nothing(void) {}

#define KIND(x) {#x, k_##x}
static const struct {
  const char *name;
  void (*run)(void);
} kinds[] = {
    KIND(fork_exec), KIND(failed_execs), KIND(zombies_and_orphans), KIND(crash),   KIND(pipes),
    KIND(unix),      KIND(tcp),          KIND(udp_netlink),         KIND(files),   KIND(locks),
    KIND(watches),   KIND(epoll),        KIND(timers),              KIND(pty),     KIND(memory),
    KIND(signals),   KIND(threads),      KIND(exec_of_a_thread),    KIND(vfork),   KIND(proc),
    KIND(mounts),    KIND(seccomp),      KIND(credentials),         KIND(async_io), KIND(nothing),
};
#define KINDS (int)(sizeof kinds / sizeof kinds[0])

/* Ends everything that is left of a run: whatever it has begun is our child by now, or a child of such. */
static void sweep(void) {
  for (;;) {
    kill(-1, SIGKILL);
    pid_t pid = waitpid(-1, NULL, 0);
    if (pid < 0 && errno == ECHILD) return;
  }
}

static void run(int kind, int way) {
  doing = kinds[kind].name;
  int done[2];
  MUST(pipe(done));
  pid_t pid = MUST(fork());
  if (pid == 0) {
    alarm(20);
    if (way == 1) {
      char *argv[] = {"churn", (char *)kinds[kind].name, dir, NULL};
      MUST(execv("/proc/self/exe", argv));
      _exit(1);
    }
    kinds[kind].run();
    if (way == 2) {
      MUST(write(done[1], "", 1));
      pause();
    }
    _exit(0);
  }
  char byte;
  if (way == 2) {
    MUST(read(done[0], &byte, 1));
    MUST(kill(pid, SIGKILL));
  }
  int status;
  MUST(waitpid(pid, &status, 0));
  if (way == 2 ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status != 0)
    dprintf(1, "%s, way %d: ended with 0x%x\n", doing, way, status);
  close(done[0]);
  close(done[1]);
  sweep();
}

static void census(void) {
  /* What ends in the background may do so. */
  usleep(300000);
  dprintf(1, "census\n");
  char text[4096];
  int fd = MUST(open("/dev/census", O_RDONLY));
  for (long n; (n = MUST(read(fd, text, sizeof text))) > 0;) write(1, text, n);
  close(fd);
  dprintf(1, "\nready\n");
  char line[16];
  if (read(0, line, sizeof line) <= 0) _exit(1);
}

int main(int argc, char **argv) {
  if (argc == 2) return 0;
  if (argc == 3) {
    strcpy(dir, argv[2]);
    doing = argv[1];
    for (int i = 0; i < KINDS; i++)
      if (strcmp(kinds[i].name, argv[1]) == 0) kinds[i].run();
    return 0;
  }
  if (argc != 4) return 2;
  /* It kills whatever it can. */
  if (getpid() != 1) return 3;
  int before = atoi(argv[1]), after = atoi(argv[2]);
  const char *only = argv[3];
  strcpy(dir, "/tmp/churn-XXXXXX");
  if (mkdtemp(dir) == NULL) return 4;
  for (int phase = 0; phase < 2; phase++) {
    for (int round = 0; round < (phase == 0 ? before : after); round++)
      for (int kind = 0; kind < KINDS; kind++)
        if (strcmp(only, "all") == 0 || strcmp(only, kinds[kind].name) == 0) run(kind, round % 3);
    doing = "census";
    census();
  }
  rmdir(dir);
  return 0;
}
