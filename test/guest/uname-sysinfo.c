/* uname, sysinfo, sethostname, getpagesize, sysconf, gethostid, syslog's absence of surprises. */
#include "guest.h"
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void) {
  begin();
  struct utsname u;
  TRY(uname(&u));
  say("%s %s", u.sysname, u.machine);
  YES(atoi(u.release) >= 6);
  YES(strlen(u.version) > 0 && strlen(u.nodename) > 0);
  TRY(syscall(SYS_uname, BAD));
  char name[65];
  TRY(gethostname(name, sizeof name));
  YES(strcmp(name, u.nodename) == 0);
  TRY(gethostname(name, 1));
  struct sysinfo s;
  TRY(sysinfo(&s));
  YES(s.uptime > 0 && s.totalram > 0 && s.freeram > 0 && s.freeram <= s.totalram && s.procs > 0 && s.mem_unit > 0);
  TRY(sysinfo(BAD));
  struct timespec up;
  clock_gettime(CLOCK_BOOTTIME, &up);
  sysinfo(&s);
  YES(labs(s.uptime - up.tv_sec) <= 2);
  TRY(getpagesize());
  TRY(sysconf(_SC_CLK_TCK));
  TRY(sysconf(_SC_PAGESIZE));
  YES(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
  YES(sysconf(_SC_PHYS_PAGES) * 4096 > 64 << 20);
  YES(get_nprocs() == sysconf(_SC_NPROCESSORS_ONLN));
  CHILD("nobody", {
    setresuid(65534, 65534, 65534);
    TRY(sethostname("x", 1));
    TRY(setdomainname("x", 1));
  });
  TRY(sethostname(name, 100));
  TRY(syscall(SYS_sethostname, BAD, 5));
  return 0;
}
