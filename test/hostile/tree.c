/*
 * Files, directories and names as large, as deep, as many as they can be made.
 *
 * variants: symlinks symlinks-host deep big-directory list-seek lower-directory truncate fallocate punch mmap mmap-write exec-args locks copy-up xattrs watches
 * seconds: 100
 * prints: done
 */
#include "hostile.h"
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

static void fill(int fd, size_t mib) {
  char *block = map_anonymous(1 << 20);
  memset(block, 7, 1 << 20);
  for (size_t i = 0; i < mib; i++)
    if (write(fd, block, 1 << 20) != 1 << 20) cannot("write");
}

int main(int argc, char **argv) {
  if (argc > 1000) return puts("done"), 0;
  char name[64], path[4200];
  char directory[] = "/tmp/treeXXXXXX";
  if (mkdtemp(directory) == NULL || chdir(directory) < 0) cannot("mkdtemp");
  if (IS("symlinks") || IS("symlinks-host")) {
    /* Forty links, each with as many steps as a path can have. */
    const char *steps = IS("symlinks") ? "a/../" : "bin/../";
    const char *head = IS("symlinks") ? "" : "/usr/";
    mkdir("a", 0777);
    int last = 39;
    for (int i = 0; i < last; i++) {
      strcpy(path, head);
      while (strlen(path) + strlen(steps) + 60 < 4095) strcat(path, steps);
      snprintf(name, sizeof name, IS("symlinks") ? "l%d" : "..%s/l%d", directory, i + 1);
      if (IS("symlinks")) snprintf(name, sizeof name, "l%d", i + 1);
      strcat(path, name);
      char link[32];
      snprintf(link, sizeof link, "l%d", i);
      if (symlink(path, link) < 0) cannot("symlink");
    }
    close(open("l39", O_CREAT | O_WRONLY, 0600));
    struct stat status;
    for (int i = 0; i < 5; i++)
      /* Linux walks them all; a walk of ours ends somewhere. */
      if (stat("l0", &status) < 0 && errno != ELOOP) cannot("stat");
  } else if (IS("deep")) {
    for (int i = 0; i < 30000; i++)
      if (mkdir("d", 0777) < 0 || chdir("d") < 0) cannot("level %d", i);
    for (int i = 0; i < 20; i++) syscall(SYS_getcwd, path, sizeof path), readlink("/proc/self/cwd", path, sizeof path);
    rename("/tmp", "d/x");
    chdir(directory);
    rename("d", "e");
  } else if (IS("big-directory") || IS("list-seek")) {
    for (int i = 0; i < 100000; i++) {
      snprintf(name, sizeof name, "file%06d", i);
      if (mknod(name, S_IFREG | 0600, 0) < 0) cannot("%s", name);
    }
    char list[2000];
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    if (IS("list-seek"))
      for (int i = 0; i < 100; i++) lseek(fd, 99990 - i, SEEK_SET), syscall(SYS_getdents64, fd, list, 100);
    else
      while (syscall(SYS_getdents64, fd, list, sizeof list) > 0);
    rename("file000000", "file099999");
  } else if (IS("lower-directory")) {
    /* A directory of the host, listed together with changes. */
    if (chdir("/usr/bin") < 0) cannot("chdir");
    close(open("new-file", O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 20; i++) {
      DIR *dir = opendir(".");
      while (readdir(dir) != NULL);
      closedir(dir);
    }
  } else if (IS("truncate") || IS("punch") || IS("mmap") || IS("mmap-write")) {
    int fd = memory_file("tree", 0);
    fill(fd, 400);
    if (IS("truncate")) ftruncate(fd, 100);
    else if (IS("punch")) fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, (400 << 20) - 200);
    else {
      if (IS("mmap-write") && fork() == 0)
        for (long i = 0;; i++) pwrite(fd, "x", 1, (i % 400) << 20);
      char *at = mmap(NULL, 400 << 20, PROT_READ, MAP_SHARED, fd, 0);
      if (at == MAP_FAILED || at[399 << 20] == 0) cannot("mmap");
      for (int i = 1; i < 400; i++) if (at[(i << 20) - 1] != 7) cannot("byte %d", i);
    }
  } else if (IS("fallocate")) {
    int fd = memory_file("tree", 0);
    fallocate(fd, 0, 0, 1l << 44);
    fallocate(fd, 0, 0, 1l << 30);
  } else if (IS("exec-args")) {
    struct rlimit stack = {64 << 20, 64 << 20};
    setrlimit(RLIMIT_STACK, &stack);
    static char *arguments[600002];
    for (int i = 0; i < 600000; i++) arguments[i] = "";
    execv("/proc/self/exe", arguments);
    cannot("exec");
  } else if (IS("locks")) {
    int fd = open("locked", O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < 20000; i++) {
      struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1};
      if (fcntl(fd, F_SETLK, &lock) < 0) break;
    }
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    fcntl(fd, F_SETLK, &lock);
  } else if (IS("copy-up")) {
    /* The largest program that the host has: this one will do ten times. */
    int fd = open("/proc/self/exe", O_RDONLY);
    (void)fd;
    for (int i = 0; i < 3; i++) {
      const char *const large[] = {"/usr/lib/x86_64-linux-gnu/libicudata.so.72", "/usr/bin/python3.11", "/usr/bin/docker"};
      int file = open(large[i], O_RDWR);
      if (file >= 0) close(file);
    }
  } else if (IS("xattrs")) {
    close(open("f", O_CREAT | O_WRONLY, 0600));
    char *value = map_anonymous(65536), *list = map_anonymous(65536);
    for (int i = 0; i < 5000; i++) {
      snprintf(name, sizeof name, "user.%d", i);
      if (setxattr("f", name, value, 20, 0) < 0) break;
    }
    for (int i = 0; i < 1000; i++) listxattr("f", list, 65536);
  } else if (IS("watches")) {
    int fd = inotify_init();
    for (int i = 0; i < 20000; i++) {
      snprintf(name, sizeof name, "w%d", i);
      close(open(name, O_CREAT | O_WRONLY, 0600));
      if (inotify_add_watch(fd, name, IN_ALL_EVENTS) < 0) break;
    }
    for (int i = 0; i < 500; i++) {
      int other = inotify_init();
      if (other < 0 || inotify_add_watch(other, "w0", IN_ALL_EVENTS) < 0) break;
    }
    for (int i = 0; i < 1000; i++) utimensat(AT_FDCWD, "w0", NULL, 0);
  }
  puts("done");
  fflush(stdout);
  _exit(0);
}
