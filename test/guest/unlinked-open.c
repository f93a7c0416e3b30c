/* A file lives on after its last name is gone, as long as someone holds it open or mapped. */
#include "guest.h"

int main(void) {
  begin();
  struct stat st;
  put_file("f", "still here", 0644);
  int fd = NEED(open("f", O_RDWR));
  char *map = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  TRY(unlink("f"));
  TRY(access("f", F_OK));
  TRY(unlink("f"));
  TRY(fstat(fd, &st));
  say("nlink %ld size %ld", (long)st.st_nlink, (long)st.st_size);
  char text[32] = "";
  TRY(read(fd, text, 31));
  say("\"%s\"", text);
  TRY(write(fd, "!", 1));
  TRY(pread(fd, text, 31, 0));
  say("\"%s\"", text);
  map[0] = 'S';
  TRY(pread(fd, text, 1, 0));
  say("\"%.5s\"", text);
  char link[64], name[256];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, name, 255);
  name[n > 0 ? n : 0] = 0;
  YES(strstr(name, "/f (deleted)") != NULL);
  int again = OK(open(link, O_RDWR));
  TRY(pread(again, text, 31, 0));
  put_file("f", "another", 0644);
  TRY(pread(fd, text, 5, 0));
  say("\"%.5s\"", text);
  show_file("f");
  TRY(linkat(AT_FDCWD, link, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
  close(again);
  close(fd);
  say("the mapping outlives the descriptor: %.10s", map);
  munmap(map, 4096);

  say("-- a directory removed under its user");
  NEED(mkdir("d", 0755));
  int dir = NEED(open("d", O_RDONLY | O_DIRECTORY));
  CHILD("in the removed directory", {
    NEED(chdir("d"));
    TRY(rmdir("../d"));
    char cwd[PATH_MAX];
    TRY(getcwd(cwd, sizeof cwd) ? 0 : -1);
    TRY(open("x", O_CREAT | O_RDWR, 0600));
    TRY(mkdir("x", 0700));
    TRY(symlink("a", "x"));
    TRY(access(".", F_OK));
    TRY(access("..", F_OK));
    TRY(chdir(".."));
  });
  TRY(fstat(dir, &st));
  TRY(st.st_nlink);
  TRY(openat(dir, "x", O_CREAT | O_RDWR, 0600));
  char buffer[1024];
  TRY(syscall(SYS_getdents64, dir, buffer, sizeof buffer));
  TRY(fchdir(dir));
  TRY(getcwd(buffer, sizeof buffer) ? 0 : -1);
  return 0;
}
