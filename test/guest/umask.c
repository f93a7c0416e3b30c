/* umask(2): which bits it takes from which call, and that fork shares its value, not its cell. */
#include "guest.h"

static void mode(const char *path) {
  struct stat st;
  if (lstat(path, &st)) say("%s: %s", path, errno_name(errno));
  else say("%s %04o", path, st.st_mode & 07777);
}

static void *thread(void *unused) {
  (void)unused;
  say("old %03o (threads share it)", umask(0077));
  return NULL;
}

int main(void) {
  begin();
  say("old %03o", umask(027));
  say("old %03o", umask(01777));
  say("old %03o (only 0777 kept)", umask(027));
  close(open("f", O_CREAT | O_WRONLY, 0777));
  mode("f");
  mkdir("d", 01777);
  mode("d");
  mkfifo("p", 0666);
  mode("p");
  mknod("n", S_IFREG | 0666, 0);
  mode("n");
  symlink("f", "l");
  mode("l");
  int s = socket(AF_UNIX, SOCK_DGRAM, 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "s"};
  bind(s, (void *)&name, sizeof name);
  mode("s");
  chmod("f", 0777);
  mode("f");
  fchmod(s, 0);
  CHILD("child", { say("inherited %03o", umask(0)); });
  say("after the child %03o", umask(027));
  pthread_t t;
  pthread_create(&t, NULL, thread, NULL);
  pthread_join(t, NULL);
  say("after the thread %03o", umask(0));
  close(open("g", O_CREAT | O_WRONLY, 06777));
  mode("g");
  mkdir("e", 07777);
  mode("e");
  return 0;
}
