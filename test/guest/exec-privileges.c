/* What execve makes of capabilities: root's, a user's, with no_new_privs, securebits, set-user-ID, shared directories. */
#include "guest.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#define BIT(cap) (1ull << (cap))
enum { EFF, PRM, INH };

static void show(const char *what) {
  char line[256], text[4096], all[512];
  int fd = open("/proc/self/status", O_RDONLY);
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  all[0] = 0;
  const char *names[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
  unsigned long long full = 0;
  for (int i = 0; i < 5; i++) {
    char *at = strstr(text, names[i]);
    /* Not every host's root has SYS_RESOURCE. */
    unsigned long long set = at ? strtoull(at + 7, NULL, 16) & ~BIT(CAP_SYS_RESOURCE) : 0;
    full = (BIT(41) - 1) & ~BIT(CAP_SYS_RESOURCE);
    sprintf(line, " %.3s %s%llx", names[i] + 3, set == full ? "all " : "", set == full ? 0 : set);
    strcat(all, line);
  }
  uid_t r, e, s;
  gid_t gr, ge, gs;
  getresuid(&r, &e, &s);
  getresgid(&gr, &ge, &gs);
  say("%s:%s", what, all);
  say("  uid %d %d %d gid %d %d %d securebits %x nnp %d secure %ld dumpable %d death signal kept %d", r, e, s, gr, ge, gs, prctl(PR_GET_SECUREBITS),
      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), getauxval(AT_SECURE), prctl(PR_GET_DUMPABLE), ({ int sig = 0; prctl(PR_GET_PDEATHSIG, &sig); sig; }) != 0);
}

static void set(unsigned long long eff, unsigned long long prm, unsigned long long inh) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2] = {{eff, prm, inh}, {eff >> 32, prm >> 32, inh >> 32}};
  TRY(syscall(SYS_capset, &h, d));
}
#define SOME (BIT(CAP_KILL) | BIT(CAP_CHOWN) | BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP))
static void bound(unsigned long long keep) {
  for (int cap = 0; cap <= 40; cap++) if (!(keep & BIT(cap))) prctl(PR_CAPBSET_DROP, cap);
}
static void ambient(int cap) { TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0)); }
static void nnp(void) { NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
static void user(int id) { setgroups(0, NULL); NEED(setresgid(id, id, id)); NEED(setresuid(id, id, id)); }
static void again(const char *program) {
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  execl(program, "self", "after", NULL);
  say("exec: %s", errno_name(errno));
}
#define SELF again("/proc/self/exe")

static int hold(void *arg) { (void)arg; for (;;) pause(); }
/* Another process that shares root and directory. */
static pid_t share_fs(void) {
  static char stack[65536];
  return clone(hold, stack + sizeof stack, CLONE_FS | SIGCHLD, NULL);
}

static void *wait_for_ever(void *p) { for (;;) pause(); return p; }
static void *exec_self(void *p) { SELF; return p; }

int main(int argc, char **argv) {
  if (argc > 1) { show(argv[1]); _exit(0); }
  begin();
  chmod(".", 0755);
  char exe[PATH_MAX], block[65536];
  exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = 0;
  const char *copies[] = {"plain", "suid-root", "suid-user", "sgid", "unreadable"};
  mode_t modes[] = {0755, 04755, 04755, 02755, 0711};
  for (int i = 0; i < 5; i++) {
    int in = NEED(open("/proc/self/exe", O_RDONLY)), out = NEED(open(copies[i], O_CREAT | O_WRONLY, 0755));
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;) write(out, block, n);
    close(in);
    close(out);
    if (i == 2) chown(copies[i], 1234, 0);
    if (i == 3) chown(copies[i], 0, 1234);
    chmod(copies[i], modes[i]);
  }

  say("-- root with a reduced permitted set");
  CHILD("gets all of the bounding set back", { bound(SOME); set(BIT(CAP_KILL), BIT(CAP_KILL), 0); SELF; });
  CHILD("inheritable outside of the bounding set counts", { set(SOME, SOME, BIT(CAP_NET_RAW)); bound(SOME); show("before"); SELF; });
  CHILD("not with no_new_privs", { bound(SOME); set(BIT(CAP_KILL), BIT(CAP_KILL), 0); nnp(); SELF; });
  CHILD("effective becomes permitted", { bound(SOME); set(0, SOME, 0); nnp(); SELF; });
  CHILD("permitted outside of the bounding set is lost", { bound(BIT(CAP_CHOWN)); set(SOME, SOME, 0); nnp(); SELF; });
  CHILD("inheritable does not make up for it", { bound(SOME); set(BIT(CAP_KILL), BIT(CAP_KILL), BIT(CAP_CHOWN)); nnp(); SELF; });
  CHILD("without any capability", { set(0, 0, 0); nnp(); SELF; });
  CHILD("without any capability, nor SETUID, shared", { pid_t kid = share_fs(); set(0, 0, 0); prctl(PR_SET_PDEATHSIG, SIGCONT); CHILD("it", SELF); SELF; kill(kid, SIGKILL); });
  CHILD("a process that shares the directory", {
    pid_t kid = share_fs();
    bound(SOME);
    set(SOME & ~BIT(CAP_KILL), SOME & ~BIT(CAP_KILL), 0);
    pid_t me = getpid();
    if (fork() == 0) { sleep_ms(300); kill(kid, SIGKILL); kill(me, SIGCONT); _exit(0); }
    SELF;
  });

  CHILD("threads of its own do not count", { pthread_t t; pthread_create(&t, NULL, wait_for_ever, NULL); set(0, 0, 0); SELF; });
  CHILD("from another thread", { set(0, 0, 0); pthread_t t; pthread_create(&t, NULL, exec_self, NULL); pthread_join(t, NULL); });

  say("-- securebits");
  CHILD("noroot", { NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); SELF; });
  CHILD("noroot, ambient", { set(SOME, SOME, SOME); ambient(CAP_KILL); NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); SELF; });
  CHILD("no setuid fixup", { NEED(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)); set(SOME, SOME, SOME); ambient(CAP_KILL); setresuid(5, 5, 5); show("user"); SELF; });
  CHILD("keep caps", { NEED(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NOROOT_LOCKED)); set(SOME, SOME, 0); user(5); show("user"); SELF; });
  CHILD("locks", {
    TRY(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED));
    TRY(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
    TRY(prctl(PR_SET_SECUREBITS, 0));
    TRY(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT_LOCKED));
    TRY(prctl(PR_SET_KEEPCAPS, 0));
    TRY(prctl(PR_SET_SECUREBITS, 0x1000));
    TRY(prctl(PR_GET_SECUREBITS));
    TRY(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE));
    set(SOME, SOME, SOME);
    ambient(CAP_KILL);
    set(SOME & ~BIT(CAP_SETPCAP), SOME, SOME);
    TRY(prctl(PR_SET_SECUREBITS, 0xff));
    TRY(prctl(PR_CAPBSET_DROP, CAP_KILL));
    TRY(prctl(PR_CAPBSET_DROP, 99));
    TRY(prctl(PR_CAPBSET_READ, 99));
  });

  say("-- a user");
  CHILD("nothing", { user(5); SELF; });
  CHILD("permitted alone is lost", { prctl(PR_SET_KEEPCAPS, 1); user(5); set(SOME, SOME, SOME); SELF; });
  CHILD("ambient is kept", { prctl(PR_SET_KEEPCAPS, 1); user(5); set(SOME, SOME, SOME); ambient(CAP_KILL); SELF; });
  CHILD("ambient is kept with no_new_privs", { prctl(PR_SET_KEEPCAPS, 1); user(5); set(SOME, SOME, SOME); ambient(CAP_KILL); nnp(); SELF; });
  CHILD("ambient rules", {
    ambient(CAP_KILL);
    set(SOME, SOME, BIT(CAP_KILL));
    ambient(CAP_CHOWN);
    ambient(CAP_KILL);
    ambient(41);
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 1, 0));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 41, 0, 0));
    TRY(prctl(PR_CAP_AMBIENT, 9, CAP_KILL, 0, 0));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    show("raised");
    set(SOME & ~BIT(CAP_KILL), SOME & ~BIT(CAP_KILL), BIT(CAP_KILL));
    show("goes with permitted");
  });
  CHILD("ambient goes with inheritable", { set(SOME, SOME, SOME); ambient(CAP_KILL); set(SOME, SOME, 0); show("now"); });
  CHILD("ambient goes with root's ids", { set(SOME, SOME, SOME); ambient(CAP_KILL); prctl(PR_SET_KEEPCAPS, 1); setresuid(5, 5, 5); show("now"); });
  CHILD("inheritable beyond the bounding set", { bound(SOME); set(SOME, SOME, BIT(CAP_NET_RAW)); set(SOME & ~BIT(CAP_SETPCAP), SOME, 0); set(0, SOME, SOME); });
  CHILD("more than permitted", { set(SOME, SOME, 0); set(SOME, BIT(CAP_KILL), 0); set(0, SOME | BIT(CAP_NET_RAW), 0); });

  say("-- real and effective ids apart");
  CHILD("effective user", { NEED(setresuid(0, 5, 5)); SELF; });
  CHILD("effective root", { NEED(setresuid(5, 0, 0)); SELF; });
  CHILD("effective group", { NEED(setresgid(0, 6, 6)); SELF; });
  CHILD("effective group of a user", { setgroups(0, NULL); NEED(setresgid(6, 7, 7)); NEED(setresuid(5, 5, 5)); SELF; });

  say("-- set-id programs");
  CHILD("root's", { user(5); again("./suid-root"); });
  CHILD("root's, no_new_privs", { user(5); nnp(); again("./suid-root"); });
  CHILD("root's, bounded", { bound(SOME); user(5); again("./suid-root"); });
  CHILD("root's, noroot", { NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); user(5); again("./suid-root"); });
  CHILD("root's, by root", { again("./suid-root"); });
  CHILD("root's, by a user with ambient", { prctl(PR_SET_KEEPCAPS, 1); user(5); set(SOME, SOME, SOME); ambient(CAP_KILL); again("./suid-root"); });
  CHILD("a user's, by root", { again("./suid-user"); });
  CHILD("a user's, by root, no_new_privs", { nnp(); again("./suid-user"); });
  CHILD("a user's, by a user with ambient", { prctl(PR_SET_KEEPCAPS, 1); user(5); set(SOME, SOME, SOME); ambient(CAP_KILL); again("./suid-user"); });
  CHILD("a user's, by that user", { user(1234); again("./suid-user"); });
  CHILD("a group's", { user(5); again("./sgid"); });
  CHILD("a group's, by a member", { gid_t one[] = {1234}; setgroups(1, one); setresgid(5, 5, 5); setresuid(5, 5, 5); again("./sgid"); });
  CHILD("shared directory", { pid_t kid = share_fs(); user(5); pid_t me = getpid(); (void)me; if (fork() == 0) { again("./suid-root"); _exit(0); } wait(NULL); again("./suid-root"); kill(kid, SIGKILL); });

  say("-- unreadable programs");
  CHILD("by a user", { user(5); again("./unreadable"); });
  CHILD("by root", { again("./unreadable"); });
  return 0;
}
