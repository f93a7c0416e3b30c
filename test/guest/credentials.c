/* User and group ids: the set*id rules, saved ids, groups, set-user-id programs, what dies with a uid change. */
#include "guest.h"
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void show(const char *what) {
  uid_t r, e, s;
  gid_t gr, ge, gs;
  getresuid(&r, &e, &s);
  getresgid(&gr, &ge, &gs);
  say("%s: uid %d %d %d fs %d, gid %d %d %d fs %d", what, r, e, s, setfsuid(-1), gr, ge, gs, setfsgid(-1));
}

static int fds[2];
static void *watch(void *p) {
  char c;
  read(fds[0], &c, 1);
  show("thread");
  return p;
}

int main(int argc, char **argv) {
  if (argc > 1) {
    show(argv[1]);
    say("no_new_privs %d, dumpable %s", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_DUMPABLE) == 1 ? "yes" : "no");
    _exit(0);
  }
  begin();
  chmod(".", 0755);
  show("start");
  CHILD("setuid as root sets all three", { TRY(setuid(1000)); show("now"); TRY(setuid(0)); TRY(seteuid(0)); });
  CHILD("seteuid and back", { TRY(seteuid(1000)); show("now"); TRY(seteuid(0)); show("back"); });
  CHILD("setreuid", { TRY(setreuid(1000, 2000)); show("now"); TRY(setreuid(2000, 1000)); show("swapped"); TRY(setreuid(3000, -1)); TRY(setreuid(-1, -1)); });
  CHILD("setresuid", {
    TRY(setresuid(1, 2, 3));
    show("now");
    TRY(setresuid(3, 1, 2));
    show("turned");
    TRY(setresuid(-1, 4, -1));
    TRY(setuid(2));
    show("setuid to the saved one");
    TRY(setuid(9));
  });
  CHILD("groups", {
    TRY(setgid(50));
    TRY(setegid(51));
    TRY(setresgid(60, 61, 62));
    show("now");
    gid_t list[] = {7, 8, 9};
    gid_t got[10] = {0};
    TRY(setgroups(3, list));
    TRY(getgroups(0, NULL));
    TRY(getgroups(2, got));
    TRY(getgroups(10, got));
    say("%d %d %d", got[0], got[1], got[2]);
    TRY(getgroups(-1, got));
    TRY(syscall(SYS_setgroups, 70000, list));
    TRY(syscall(SYS_setgroups, 2, BAD));
    TRY(syscall(SYS_getgroups, 10, BAD));
    TRY(setuid(1000));
    TRY(setgroups(1, list));
    TRY(setgid(61));
    TRY(setgid(99));
    TRY(setresgid(62, 60, 61));
    show("turned");
  });
  CHILD("setfsuid", { setfsuid(1000); show("fs only"); TRY(setresuid(0, 0, 0)); show("euid takes it along"); });
  TRY(setuid(-1));
  TRY(setresuid(-1, -1, -1));
  TRY(syscall(SYS_getresuid, BAD, BAD, BAD));
  TRY(syscall(SYS_getresgid, BAD, BAD, BAD));

  say("-- threads change together");
  CHILD("threads", {
    NEED(pipe(fds));
    pthread_t t;
    pthread_create(&t, NULL, watch, NULL);
    NEED(setresuid(5, 5, 5));
    write(fds[1], "x", 1);
    pthread_join(t, NULL);
  });

  say("-- set-user-id programs");
  char exe[PATH_MAX], block[65536];
  exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = 0;
  int in = NEED(open("/proc/self/exe", O_RDONLY)), out = NEED(open("suid", O_CREAT | O_WRONLY, 0755));
  for (ssize_t n; (n = read(in, block, sizeof block)) > 0;) write(out, block, n);
  close(out);
  chown("suid", 1234, 5678);
  chmod("suid", 06755);
  CHILD("as nobody", { setgroups(0, NULL); setresgid(65534, 65534, 65534); setresuid(65534, 65534, 65534); execl("./suid", "suid", "set-id", NULL); });
  CHILD("with no_new_privs", {
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    execl("./suid", "suid", "set-id", NULL);
  });
  chmod("suid", 04755);
  CHILD("user only", { setresgid(65534, 65534, 65534); setresuid(65534, 65534, 65534); execl("./suid", "suid", "set-uid", NULL); });
  chmod("suid", 02745);
  CHILD("set-gid without group execute is nothing", { execl("./suid", "suid", "plain", NULL); });
  put_file("script", "#!/bin/sh\nid -u\n", 0755);
  chown("script", 1234, 0);
  chmod("script", 04755);
  CHILD("scripts never", { execl("./script", "script", NULL); });

  say("-- kill needs the same user");
  pid_t kid = fork();
  if (!kid) { setresuid(100, 200, 300); for (;;) pause(); }
  until_blocked(kid, kid);
  uid_t users[] = {100, 200, 300, 400};
  for (int i = 0; i < 4; i++) {
    CHILD("sender", {
      setresuid(users[i], users[i], users[i]);
      int r = kill(kid, 0);
      say("uid %d: %s", users[i], r ? errno_name(errno) : "ok");
    });
  }
  CHILD("SIGCONT within the session is always allowed", { setresuid(400, 400, 400); TRY(kill(kid, SIGCONT)); TRY(kill(kid, SIGTERM)); });
  kill(kid, SIGKILL);
  waitpid(kid, NULL, 0);
  return 0;
}
