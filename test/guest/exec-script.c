/* execve of #! scripts: how the interpreter line becomes arguments, nesting, limits, errors. */
#include "guest.h"

static void run(const char *path, ...) {
  char *argv[] = {"arg0", "one", "two words", NULL}, *env[] = {"A=1", NULL};
  pid_t pid = fork();
  if (!pid) {
    execve(path, argv, env);
    say("exec %s: %s", path, errno_name(errno));
    _exit(0);
  }
  reap(path, pid);
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[0], "arg0") != 0) { /* run as an interpreter */
    say("argc %d", argc);
    for (int i = 1; i < argc; i++) say("  argv[%d] = \"%s\"", i, strncmp(argv[i], guest_dir, 5) ? argv[i] : "?");
    return argc;
  }
  begin();
  char exe[PATH_MAX], text[5000];
  exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = 0;
  symlink(exe, "interp"); /* a short name for ourselves */
#define SCRIPT(name, ...) (sprintf(text, __VA_ARGS__), put_file(name, text, 0755), run(name))
  SCRIPT("plain", "#!interp\n");
  SCRIPT("with-arg", "#!interp -x\n");
  SCRIPT("many-args", "#! \t interp  -a -b  c \t\n");
  SCRIPT("no-newline", "#!interp end");
  SCRIPT("crlf", "#!interp\r\n");
  SCRIPT("empty", "#!\n");
  SCRIPT("blank", "#!   \n");
  SCRIPT("no-such", "#!/no/such/interpreter\n");
  SCRIPT("directory", "#!/tmp\n");
  SCRIPT("nested", "#!./with-arg deeper\n");
  SCRIPT("no-magic", "echo hi\n");
  SCRIPT("zero", "%s", "");
  SCRIPT("loop", "#!./loop\n");
  SCRIPT("n1", "#!./plain\n");
  SCRIPT("n2", "#!./n1\n");
  SCRIPT("n3", "#!./n2\n");
  SCRIPT("n4", "#!./n3\n");
  SCRIPT("n5", "#!./n4\n");
  strcpy(text, "#!interp ");
  memset(text + 9, 'x', 300);
  strcpy(text + 309, "\n");
  put_file("long-arg", text, 0755);
  pid_t pid = fork();
  if (!pid) {
    execl("long-arg", "a", NULL);
    say("long-arg: %s", errno_name(errno));
    _exit(0);
  }
  reap("long-arg", pid);
  strcpy(text, "#!/");
  memset(text + 3, 'p', 300);
  put_file("long-path", text, 0755);
  run("long-path");
  put_file("not-executable", "#!interp\n", 0644);
  run("not-executable");
  put_file("plain-text", "data", 0644);
  SCRIPT("interp-not-executable", "#!./plain-text\n");
  SCRIPT("sh", "#!/bin/sh\necho \"$0 $1 $2 A=$A\"\nexit 5\n");

  say("-- the file's name, not argv[0], reaches the interpreter");
  int fd = NEED(open("sh", O_RDONLY));
  pid = fork();
  if (!pid) {
    char *args[] = {"zero", "by fd", NULL}, *env[] = {NULL};
    syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH);
    _exit(9);
  }
  int status = reap("execveat", pid);
  (void)status;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  pid = fork();
  if (!pid) {
    char *args[] = {"zero", NULL}, *env[] = {NULL};
    syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH);
    say("close-on-exec script: %s", errno_name(errno));
    _exit(0);
  }
  reap("execveat", pid);
  return 0;
}
