/* The auxiliary vector: the entries that libc and others rely on, and that their values are true. */
#include "guest.h"
#include <elf.h>
#include <sys/auxv.h>

int main(int argc, char **argv) {
  if (argc > 1) {
    say("AT_EXECFN \"%s\" argv[0] \"%s\"", (char *)getauxval(AT_EXECFN), argv[0]);
    _exit(0);
  }
  begin();
  char **p = environ;
  while (*p) p++;
  Elf64_auxv_t *av = (void *)(p + 1);
  int n = 0;
  bool seen[64] = {0}, nul = false;
  for (; n < 64; n++) {
    if (av[n].a_type == AT_NULL) { nul = true; break; }
    if (av[n].a_type < 64) seen[av[n].a_type] = true;
  }
  YES(nul);
  static const struct { int type; const char *name; } wanted[] = {{AT_PHDR, "PHDR"}, {AT_PHENT, "PHENT"}, {AT_PHNUM, "PHNUM"},
    {AT_PAGESZ, "PAGESZ"}, {AT_BASE, "BASE"}, {AT_FLAGS, "FLAGS"}, {AT_ENTRY, "ENTRY"}, {AT_UID, "UID"}, {AT_EUID, "EUID"},
    {AT_GID, "GID"}, {AT_EGID, "EGID"}, {AT_HWCAP, "HWCAP"}, {AT_CLKTCK, "CLKTCK"}, {AT_SECURE, "SECURE"}, {AT_RANDOM, "RANDOM"},
    {AT_EXECFN, "EXECFN"}, {AT_SYSINFO_EHDR, "SYSINFO_EHDR"}, {AT_PLATFORM, "PLATFORM"}, {AT_HWCAP2, "HWCAP2"}, {AT_MINSIGSTKSZ, "MINSIGSTKSZ"}};
  for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) say("AT_%s %s", wanted[i].name, seen[wanted[i].type] ? "there" : "missing");
  extern char __ehdr_start[];
  Elf64_Ehdr *eh = (void *)__ehdr_start;
  YES(getauxval(AT_PHDR) == (unsigned long)__ehdr_start + eh->e_phoff);
  YES(getauxval(AT_PHNUM) == eh->e_phnum);
  TRY(getauxval(AT_PHENT));
  YES(getauxval(AT_ENTRY) == eh->e_entry);
  TRY(getauxval(AT_PAGESZ));
  TRY(getauxval(AT_CLKTCK));
  TRY(getauxval(AT_SECURE));
  TRY(getauxval(AT_BASE));
  YES(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
  YES(getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
  say("platform %s", (char *)getauxval(AT_PLATFORM));
  unsigned char *r = (void *)getauxval(AT_RANDOM);
  int zero = 0;
  for (int i = 0; i < 16; i++) zero += r[i] == 0;
  YES(zero < 8);
  unsigned long at = (unsigned long)&argc;
  YES(((unsigned long)(argv - 1) & 15) == 0);
  YES((unsigned long)r > at - (1 << 20));
  unsigned char *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
  YES(vdso && memcmp(vdso, "\177ELF", 4) == 0);
  char text[2048];
  int fd = open("/proc/self/auxv", O_RDONLY);
  ssize_t got = read(fd, text, sizeof text);
  YES(got == (n + 1) * 16 && memcmp(text, av, got) == 0);
  CHILD("by a relative path", {
    symlink("/proc/self/exe", "name");
    execl("./name", "zero", "x", NULL);
  });
  return 0;
}
