/* getdents64(2): every name once, types, small buffers, seeking, entries that come and go meanwhile. */
#include "guest.h"

struct entry { uint64_t ino; int64_t off; unsigned short len; unsigned char type; char name[]; };

static int names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *path) {
  DIR *d = opendir(path);
  char *all[64];
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) {
    char line[300];
    snprintf(line, sizeof line, "%s type %d", e->d_name, e->d_type);
    all[n++] = strdup(line);
  }
  closedir(d);
  qsort(all, n, sizeof *all, names);
  for (int i = 0; i < n; i++) say("  %s", all[i]);
}

static int count(int fd, size_t size) {
  char buffer[32768];
  int total = 0;
  for (long n; (n = syscall(SYS_getdents64, fd, buffer, size)) > 0;)
    for (long at = 0; at < n; total++) at += ((struct entry *)(buffer + at))->len;
  return total;
}

int main(void) {
  begin();
  put_file("file", "", 0644);
  mkdir("dir", 0755);
  symlink("file", "link");
  mkfifo("fifo", 0600);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "sock"};
  NEED(bind(s, (void *)&name, sizeof name));
  put_file("a name with spaces\n", "", 0644);
  put_file(".hidden", "", 0644);
  list(".");
  list("dir");

  NEED(mkdir("many", 0755));
  for (int i = 0; i < 1000; i++) {
    char path[32];
    sprintf(path, "many/entry-%04d", i);
    close(NEED(open(path, O_CREAT | O_WRONLY, 0600)));
  }
  int fd = NEED(open("many", O_RDONLY | O_DIRECTORY));
  TRY(count(fd, 32768));
  TRY(count(fd, 32768));
  TRY(lseek(fd, 0, SEEK_SET));
  TRY(count(fd, 64));
  TRY(lseek(fd, 0, SEEK_SET));
  char buffer[32768];
  TRY(syscall(SYS_getdents64, fd, buffer, 8));
  TRY(syscall(SYS_getdents64, fd, buffer, 0));
  TRY(syscall(SYS_getdents64, fd, BAD, 4096));
  int file = open("file", O_RDONLY);
  TRY(syscall(SYS_getdents64, file, buffer, 4096));
  TRY(syscall(SYS_getdents64, 99, buffer, 4096));

  say("-- resume at d_off");
  long n = syscall(SYS_getdents64, fd, buffer, 4096);
  struct entry *first = (void *)buffer, *second = (void *)(buffer + first->len);
  char expect[64];
  strcpy(expect, second->name);
  NEED(lseek(fd, first->off, SEEK_SET));
  n = syscall(SYS_getdents64, fd, buffer, 4096);
  YES(n > 0 && strcmp(((struct entry *)buffer)->name, expect) == 0);
  YES(((uintptr_t)second & 7) == 0);

  say("-- delete while reading: everything goes");
  DIR *d = opendir("many");
  int removed = 0;
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) == 0) removed++;
  TRY(removed);
  rewinddir(d);
  int left = 0;
  while (readdir(d)) left++;
  TRY(left);
  closedir(d);
  TRY(rmdir("many"));
  TRY(rmdir("."));
  TRY(rmdir("dir/.."));
  TRY(rmdir("file"));
  TRY(unlink("dir"));
  put_file("dir/x", "", 0600);
  TRY(rmdir("dir"));
  DIR *two = opendir(".");
  struct dirent *dot = readdir(two);
  struct stat st;
  int ok = 0;
  for (; dot; dot = readdir(two))
    if (fstatat(dirfd(two), dot->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && strcmp(dot->d_name, "..") && st.st_ino == dot->d_ino) ok++;
  say("d_ino is st_ino for %d names", ok);
  return 0;
}
