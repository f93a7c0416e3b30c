/*
 * State of the kernel that grows with what a guest makes: names, files, areas, watches, descriptors.
 *
 * variants: links symlinks inodes files areas watches tables
 * seconds: 120
 * expect: exit 0 or killed by SIGKILL
 * growth: 250
 * prints: done
 */
#include "hostile.h"
#include <sys/inotify.h>
#include <sys/mount.h>

static void many_files(void) {
  struct rlimit limit = {1 << 20, 1 << 20};
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) cannot("setrlimit");
}

int main(int argc, char **argv) {
  char name[300], long_name[200];
  memset(long_name, 'n', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = 0;
  if (chdir("/dev/shm") < 0) cannot("chdir");
  long refused = 0;
  if (IS("links") || IS("symlinks") || IS("inodes")) {
    /* What is small is full soon, whatever is put into it. */
    if (mkdir("small", 0777) < 0 || mount("small", "small", "tmpfs", 0, "size=4m,nr_inodes=5000") < 0 || chdir("small") < 0)
      cannot("a small file system");
  }
  if (IS("links")) {
    close(open("f", O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 20000; i++) {
      snprintf(name, sizeof name, "%s%d", long_name, i);
      if (link("f", name) < 0) refused++;
    }
  } else if (IS("symlinks")) {
    char *target = calloc(1, 4096);
    memset(target, 't', 4090);
    for (int i = 0; i < 4000; i++) {
      snprintf(name, sizeof name, "l%d", i);
      if (symlink(target, name) < 0) refused++;
    }
  } else if (IS("inodes")) {
    for (int i = 0; i < 20000; i++) {
      snprintf(name, sizeof name, "i%d", i);
      if (mknod(name, S_IFREG | 0600, 0) < 0) refused++;
    }
  } else if (IS("files")) {
    many_files();
    for (int i = 0; i < 300000; i++)
      if (open("/dev/null", O_RDONLY) < 0) refused++;
  } else if (IS("areas") || IS("tables")) {
    if (IS("areas")) {
      char *at = map_anonymous(60000ul * 4096);
      for (int i = 0; i < 60000; i += 2) mprotect(at + i * 4096l, 4096, PROT_READ);
    } else {
      many_files();
      int fd = open("/dev/null", O_RDONLY);
      for (int i = 0; i < 500000; i++) dup(fd);
    }
    for (int i = 0; i < 60; i++) {
      pid_t pid = fork();
      if (pid < 0) refused++;
      if (pid == 0) for (;;) pause();
    }
    printf("done, %ld refused\n", refused);
    fflush(stdout);
    kill(0, SIGKILL);
  } else if (IS("watches")) {
    many_files();
    close(open("w", O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 3000; i++) {
      int fd = inotify_init();
      if (fd < 0 || inotify_add_watch(fd, "w", IN_ALL_EVENTS) < 0) refused++;
    }
    for (int i = 0; i < 20000; i++) chmod("w", i % 2 ? 0600 : 0644), close(open("w", O_RDONLY));
  }
  printf("done, %ld refused\n", refused);
  return refused == 0;
}
