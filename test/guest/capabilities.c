/* capget, capset, prctl: sets across setuid, dropping, bounding, ambient, exec; what a capability allows. */
#include "guest.h"
#include <linux/capability.h>
#include <sys/prctl.h>

static bool has(int set, int cap) { /* 0 effective, 1 permitted, 2 inheritable */
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  if (syscall(SYS_capget, &h, d)) return false;
  unsigned w = set == 0 ? d[cap / 32].effective : set == 1 ? d[cap / 32].permitted : d[cap / 32].inheritable;
  return w >> (cap % 32) & 1;
}

static void show(const char *what) {
  say("%s: CHOWN %d%d%d SETUID %d%d%d NET_BIND %d%d%d", what, has(0, CAP_CHOWN), has(1, CAP_CHOWN), has(2, CAP_CHOWN), has(0, CAP_SETUID), has(1, CAP_SETUID),
      has(2, CAP_SETUID), has(0, CAP_NET_BIND_SERVICE), has(1, CAP_NET_BIND_SERVICE), has(2, CAP_NET_BIND_SERVICE));
}

static long change(int effective, int permitted, int inheritable, int cap) { /* 1 add, -1 drop, 0 keep */
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  syscall(SYS_capget, &h, d);
  unsigned bit = 1u << (cap % 32);
  if (effective) d[cap / 32].effective = effective > 0 ? d[cap / 32].effective | bit : d[cap / 32].effective & ~bit;
  if (permitted) d[cap / 32].permitted = permitted > 0 ? d[cap / 32].permitted | bit : d[cap / 32].permitted & ~bit;
  if (inheritable) d[cap / 32].inheritable = inheritable > 0 ? d[cap / 32].inheritable | bit : d[cap / 32].inheritable & ~bit;
  return syscall(SYS_capset, &h, d);
}

int main(int argc, char **argv) {
  if (argc > 1) { show(argv[1]); _exit(0); }
  begin();
  put_file("f", "", 0600);
  show("root");
  CHILD("setuid drops them", { setresuid(1000, 1000, 1000); show("user"); TRY(chown("f", 1, 1)); });
  CHILD("keepcaps", { prctl(PR_SET_KEEPCAPS, 1); setresuid(1000, 1000, 1000); show("user"); TRY(change(1, 0, 0, CAP_CHOWN)); TRY(chown("f", 1, 1)); });
  CHILD("seteuid hides the effective ones", { seteuid(1000); show("hidden"); seteuid(0); show("back"); });
  CHILD("dropping one", {
    TRY(change(-1, 0, 0, CAP_CHOWN));
    TRY(chown("f", 2, 2));
    TRY(change(1, 0, 0, CAP_CHOWN));
    TRY(chown("f", 2, 2));
    TRY(change(-1, -1, 0, CAP_CHOWN));
    TRY(change(0, 1, 0, CAP_CHOWN));
    TRY(change(1, 0, 0, CAP_CHOWN));
    TRY(chown("f", 3, 3));
    show("dropped");
    execl("/proc/self/exe", "self", "exec as root gets it back", NULL);
  });
  CHILD("bounding set", {
    TRY(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    TRY(prctl(PR_CAPBSET_READ, CAP_CHOWN));
    show("still there");
    execl("/proc/self/exe", "self", "gone at exec", NULL);
  });
  CHILD("ambient", {
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
    TRY(change(0, 0, 1, CAP_NET_BIND_SERVICE));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0));
    prctl(PR_SET_KEEPCAPS, 1);
    setresuid(1000, 1000, 1000);
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
    execl("/proc/self/exe", "self", "ambient survives exec", NULL);
  });
  CHILD("user exec", { setresuid(1000, 1000, 1000); execl("/proc/self/exe", "self", "a user has none", NULL); });
  CHILD("DAC_OVERRIDE dropped", { change(-1, 0, 0, CAP_DAC_OVERRIDE); change(-1, 0, 0, CAP_DAC_READ_SEARCH); chmod("f", 0); OK(open("f", O_RDONLY)); });
  CHILD("SETUID dropped", { change(-1, -1, 0, CAP_SETUID); TRY(setuid(5)); TRY(setuid(0)); });
  CHILD("KILL dropped", {
    pid_t victim = fork();
    if (!victim) { setresuid(7, 7, 7); for (;;) pause(); }
    until_blocked(victim, victim);
    change(-1, -1, 0, CAP_KILL);
    TRY(kill(victim, 0));
    CHILD("itself", {});
    kill(victim, SIGCONT);
    pid_t killer = fork();
    if (!killer) { execlp("true", "true", NULL); _exit(1); }
    waitpid(killer, NULL, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    setresuid(7, 7, 7);
    TRY(kill(victim, SIGKILL));
    waitpid(victim, NULL, 0);
  });
  say("-- errors");
  struct __user_cap_header_struct h = {0x12345, 0};
  struct __user_cap_data_struct d[2] = {0};
  TRY(syscall(SYS_capget, &h, d));
  YES(h.version == _LINUX_CAPABILITY_VERSION_3);
  h.version = 0x12345;
  TRY(syscall(SYS_capget, &h, NULL));
  h.version = _LINUX_CAPABILITY_VERSION_3;
  h.pid = 99999999;
  TRY(syscall(SYS_capget, &h, d));
  h.pid = -1;
  TRY(syscall(SYS_capget, &h, d));
  CHILD("another process", { h.pid = getppid(); TRY(syscall(SYS_capset, &h, d)); TRY(syscall(SYS_capget, &h, d)); });
  TRY(syscall(SYS_capget, BAD, d));
  h.pid = 0;
  TRY(syscall(SYS_capget, &h, BAD));
  return 0;
}
