/* execve: the errors of bad files and bad arguments; the caller must live on unharmed. */
#include "guest.h"
#include <elf.h>

static char *args[] = {"x", NULL}, *env[] = {NULL};
static unsigned char *image;
static long image_size;

static void variant(const char *name, const unsigned char *bytes, long size, mode_t mode) {
  int fd = NEED(open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600));
  write(fd, bytes, size);
  fchmod(fd, mode);
  close(fd);
  pid_t pid = fork();
  if (!pid) {
    execve(name, args, env);
    say("exec %s: %s", name, errno_name(errno));
    _exit(0);
  }
  reap(name, pid);
}

int main(int argc, char **argv) {
  if (strcmp(argv[0], "x") == 0) _exit(33);
  if (strcmp(argv[0], "wait") == 0) { char c; write(0, "r", 1); _exit(read(0, &c, 1) == 0 ? 36 : 37); }
  if (argv[0][0] == 0) _exit(argc == 1 && argv[1] == NULL ? 34 : 35);
  begin();
  int fd = NEED(open("/proc/self/exe", O_RDONLY));
  image_size = lseek(fd, 0, SEEK_END);
  image = malloc(image_size);
  pread(fd, image, image_size, 0);
  Elf64_Ehdr *eh = (void *)image;
  variant("good", image, image_size, 0755);
  variant("truncated-header", image, 40, 0755);
  variant("only-header", image, sizeof *eh, 0755);
  eh->e_machine = EM_AARCH64;
  variant("wrong-machine", image, image_size, 0755);
  eh->e_machine = EM_X86_64;
  eh->e_ident[EI_CLASS] = 9;
  variant("odd-class", image, image_size, 0755);
  eh->e_ident[EI_CLASS] = ELFCLASS64;
  eh->e_type = ET_REL;
  variant("object-file", image, image_size, 0755);
  eh->e_type = ET_CORE;
  variant("core-file", image, image_size, 0755);
  eh->e_type = ET_EXEC;
  Elf64_Half phnum = eh->e_phnum, phsize = eh->e_phentsize;
  eh->e_phnum = 0;
  variant("no-segments", image, image_size, 0755);
  eh->e_phnum = phnum;
  eh->e_phentsize = 8;
  variant("odd-phentsize", image, image_size, 0755);
  eh->e_phentsize = phsize;
  Elf64_Off off = eh->e_phoff;
  eh->e_phoff = image_size + 4096;
  variant("headers-past-end", image, image_size, 0755);
  eh->e_phoff = off;
  image[0] = 'X';
  variant("no-magic", image, image_size, 0755);
  image[0] = 0x7f;
  variant("no-permission", image, image_size, 0644);
  TRY(execve("missing", args, env));
  TRY(execve("", args, env));
  TRY(execve("/tmp", args, env));
  TRY(execve("good/x", args, env));
  TRY(execve("/dev/null", args, env));
  symlink("self-loop", "self-loop");
  TRY(execve("self-loop", args, env));
  TRY(execve(BAD, args, env));
  TRY(execve("good", BAD, env));
  TRY(execve("good", args, BAD));
  char *bad_arg[] = {"x", BAD, NULL};
  TRY(execve("good", bad_arg, env));
  char *name = malloc(5000);
  memset(name, 'n', 4999);
  name[4999] = 0;
  TRY(execve(name, args, env));
  int busy = NEED(open("good", O_RDWR));
  TRY(execve("good", args, env));
  close(busy);
  TRY(syscall(SYS_execveat, 77, "good", args, env, 0));
  TRY(syscall(SYS_execveat, AT_FDCWD, "", args, env, 0));
  TRY(syscall(SYS_execveat, AT_FDCWD, "good", args, env, 0x4000));
  symlink("good", "link");
  TRY(syscall(SYS_execveat, AT_FDCWD, "link", args, env, AT_SYMLINK_NOFOLLOW));
  CHILD("running text is busy", {
    int p[2];
    char c;
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    pid_t kid = fork();
    if (!kid) { close(p[1]); char *wait_args[] = {"wait", NULL}; dup2(p[0], 0); execve("good", wait_args, env); _exit(9); }
    close(p[0]);
    TRY(read(p[1], &c, 1));
    TRY(open("good", O_WRONLY));
    TRY(open("good", O_RDONLY | O_TRUNC));
    OK(unlink("good"));
    close(p[1]);
    reap("kid", kid);
  });
  variant("good", image, image_size, 0755);
  CHILD("fexecve", { int x = NEED(open("good", O_PATH)); syscall(SYS_execveat, x, "", args, env, AT_EMPTY_PATH); });
  CHILD("argv NULL", {
    syscall(SYS_execve, "good", NULL, NULL);
    say("not reached");
  });
  CHILD("nobody, no read permission", {
    chmod("good", 0711);
    setresuid(65534, 65534, 65534);
    execve("good", args, env);
  });
  CHILD("nobody, no execute permission", {
    chmod("good", 0744);
    setresuid(65534, 65534, 65534);
    TRY(execve("good", args, env));
  });
  TRY(getpid() == guest_pid);
  return 0;
}
