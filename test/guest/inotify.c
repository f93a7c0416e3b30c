/* inotify: create, modify, attributes, close, rename with cookies, delete, masks, one-shot, overflow of a read, errors. */
#include "guest.h"
#include <sys/inotify.h>

static int fd;

static void show(const char *what) {
  static char b[8192] __attribute__((aligned(8)));
  char line[4000] = "";
  ssize_t n = read(fd, b, sizeof b);
  if (n < 0) { say("%s: %s", what, errno_name(errno)); return; }
  uint32_t cookie = 0;
  for (char *at = b; at < b + n;) {
    struct inotify_event *e = (void *)at;
    sprintf(line + strlen(line), " %d:%x%s%s%s", e->wd, e->mask, e->len ? "=" : "", e->len ? e->name : "", e->cookie ? (e->cookie == cookie ? "(same)" : "(new)") : "");
    cookie = e->cookie;
    at += sizeof *e + e->len;
  }
  say("%s:%s", what, line);
}

int main(void) {
  begin();
  mkdir("d", 0755);
  mkdir("e", 0755);
  fd = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  show("nothing yet");
  TRY(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
  TRY(inotify_add_watch(fd, "e", IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO));
  int f = open("d/file", O_CREAT | O_RDWR, 0600);
  show("create and open");
  write(f, "x", 1);
  show("modify");
  write(f, "x", 1);
  write(f, "x", 1);
  show("equal events are merged");
  char c;
  pread(f, &c, 1, 0);
  show("access");
  fchmod(f, 0644);
  show("attributes");
  ftruncate(f, 0);
  show("truncate");
  close(f);
  show("close after writing");
  close(open("d/file", O_RDONLY));
  show("open and close");
  rename("d/file", "d/renamed");
  show("rename within");
  rename("d/renamed", "e/moved");
  show("rename across");
  link("e/moved", "d/hard");
  show("link");
  symlink("x", "d/soft");
  show("symlink");
  mkdir("d/sub", 0755);
  show("mkdir");
  rmdir("d/sub");
  show("rmdir");
  unlink("d/hard");
  show("unlink");
  TRY(inotify_add_watch(fd, "e/moved", IN_ALL_EVENTS));
  unlink("e/moved");
  show("the watched file itself");
  TRY(inotify_rm_watch(fd, 2));
  show("rm_watch");
  TRY(inotify_rm_watch(fd, 2));
  TRY(inotify_add_watch(fd, "d", IN_CREATE));
  close(open("d/new", O_CREAT | O_RDWR, 0600));
  show("mask replaced");
  TRY(inotify_add_watch(fd, "d", IN_DELETE | IN_MASK_ADD));
  unlink("d/new");
  show("mask added");
  TRY(inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_CREATE));
  mkdir("once", 0755);
  int once = TRY(inotify_add_watch(fd, "once", IN_CREATE | IN_ONESHOT));
  (void)once;
  put_file("once/a", "", 0600);
  put_file("once/b", "", 0600);
  show("one-shot");
  put_file("plain", "", 0600);
  TRY(inotify_add_watch(fd, "plain", IN_ALL_EVENTS | IN_ONLYDIR));

  say("-- reading");
  inotify_add_watch(fd, "d", IN_CREATE);
  mkdir("d/some-name", 0755);
  char small[20];
  TRY(read(fd, small, sizeof small));
  int n = 0;
  TRY(ioctl(fd, FIONREAD, &n));
  TRY(n);
  struct pollfd pf = {fd, POLLIN, 0};
  TRY(poll(&pf, 1, 0));
  TRY(read(fd, BAD, 4096));
  show("after all");
  fcntl(fd, F_SETFL, 0);
  pid_t me = getpid(), kid = fork();
  if (!kid) { until_blocked(me, me); mkdir("d/woke", 0755); _exit(0); }
  show("blocking read");
  reap("child", kid);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  rmdir("d/some-name");
  rmdir("d/woke");
  unlink("d/soft");
  rmdir("d");
  show("the directory goes");

  say("-- errors");
  TRY(inotify_init1(1));
  TRY(inotify_add_watch(fd, "missing", IN_CREATE));
  TRY(inotify_add_watch(fd, "e", 0));
  TRY(inotify_add_watch(1, "e", IN_CREATE));
  TRY(inotify_add_watch(77, "e", IN_CREATE));
  TRY(inotify_add_watch(fd, BAD, IN_CREATE));
  TRY(inotify_rm_watch(fd, 99));
  TRY(write(fd, "x", 1));
  return 0;
}
