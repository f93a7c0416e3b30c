/* symlink(2), readlink(2), and path walking through links: chains, loops, the limit of 40. */
#include "guest.h"

int main(void) {
  begin();
  char text[PATH_MAX];
  TRY(symlink("loop", "loop"));
  TRY(open("loop", O_RDONLY));
  TRY(stat("loop", &(struct stat){0}));
  TRY(lstat("loop", &(struct stat){0}));
  TRY(access("loop/x", F_OK));
  symlink("pong", "ping");
  symlink("ping", "pong");
  TRY(open("ping", O_CREAT | O_WRONLY, 0600));
  put_file("end", "!", 0644);
  symlink("end", "c0");
  for (int i = 1; i < 45; i++) {
    char from[8], to[8];
    sprintf(from, "c%d", i);
    sprintf(to, "c%d", i - 1);
    symlink(to, from);
  }
  TRY(access("c38", F_OK));
  TRY(access("c39", F_OK));
  TRY(access("c40", F_OK));
  TRY(access("c44", F_OK));

  say("-- following");
  mkdir("d", 0755);
  put_file("d/f", "in d", 0644);
  symlink("d", "dl");
  symlink("dl/f", "fl");
  show_file("fl");
  show_file("dl/f");
  symlink("../end", "d/up");
  show_file("dl/up");
  TRY(access("dl/../end", F_OK));
  symlink("d/", "slash");
  show_file("slash/f");
  symlink("/", "root");
  TRY(access("root/tmp", F_OK));
  struct stat st;
  TRY(lstat("dl/", &st));
  YES(S_ISDIR(st.st_mode));
  TRY(lstat("dl", &st));
  YES(S_ISLNK(st.st_mode));
  TRY(st.st_size);
  say("mode %o", st.st_mode & 07777);
  TRY(unlink("dl/"));
  TRY(rmdir("dl"));
  TRY(rmdir("dl/"));
  TRY(mkdir("dl", 0700));
  symlink("new", "mk");
  TRY(mkdir("mk", 0700));
  TRY(mkdir("mk/", 0700));
  TRY(access("new", F_OK));

  say("-- readlink");
  TRY(readlink("dl", text, sizeof text));
  TRY(readlink("fl", text, 2));
  YES(memcmp(text, "dl", 2) == 0);
  TRY(readlink("fl", text, 0));
  TRY(syscall(SYS_readlink, "fl", text, -1));
  TRY(readlink("end", text, sizeof text));
  TRY(readlink("d", text, sizeof text));
  TRY(readlink("missing", text, sizeof text));
  TRY(readlink("fl", BAD, 10));
  TRY(readlink(BAD, text, 10));
  TRY(symlink("", "empty"));
  TRY(symlink("x", ""));
  TRY(symlink("x", "end"));
  TRY(symlink("x", "missing/l"));
  TRY(symlink("x", "end/l"));
  TRY(symlink(BAD, "l"));
  memset(text, 't', 4095);
  text[4095] = 0;
  TRY(symlink(text, "long"));
  text[4094] = 0;
  int n = readlink("long", text, sizeof text);
  YES(n == 4095 || n == -1);
  TRY(unlink("fl"));
  TRY(access("d/f", F_OK));
  return 0;
}
