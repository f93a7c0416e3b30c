/* The rest of /proc that programs read: meminfo, cpuinfo, stat, uptime, loadavg, version, sys, filesystems, mounts. */
#include "proc.h"
#include <sys/sysinfo.h>

int main(void) {
  begin();
  long total = 0, avail = 0, freemem = 0;
  char *m = slurp("/proc/meminfo");
  YES(strstr(m, "MemTotal:") && sscanf(strstr(m, "MemTotal:"), "MemTotal: %ld kB", &total) == 1);
  YES(strstr(m, "MemFree:") && sscanf(strstr(m, "MemFree:"), "MemFree: %ld kB", &freemem) == 1);
  YES(strstr(m, "MemAvailable:") && sscanf(strstr(m, "MemAvailable:"), "MemAvailable: %ld kB", &avail) == 1);
  YES(total > avail && total > freemem && avail > 0);
  struct sysinfo si;
  sysinfo(&si);
  YES(si.totalram / 1024 * si.mem_unit == (unsigned long)total);
  int cpus = 0;
  for (char *at = slurp("/proc/cpuinfo"); (at = strstr(at, "processor\t")); at++) cpus++;
  YES(cpus == sysconf(_SC_NPROCESSORS_ONLN));
  int stat_cpus = 0;
  for (char *at = slurp("/proc/stat"); (at = strstr(at, "\ncpu")); at++) stat_cpus++;
  YES(stat_cpus == cpus);
  YES(strncmp(text, "cpu ", 4) == 0 && strstr(text, "\nbtime ") && strstr(text, "\nprocesses "));
  double up, idle, l1, l2, l3;
  YES(sscanf(slurp("/proc/uptime"), "%lf %lf", &up, &idle) == 2 && up > 0);
  int running, all, last;
  YES(sscanf(slurp("/proc/loadavg"), "%lf %lf %lf %d/%d %d", &l1, &l2, &l3, &running, &all, &last) == 6);
  YES(strncmp(slurp("/proc/version"), "Linux version 6.", 16) == 0);
  YES(strstr(slurp("/proc/filesystems"), "nodev\tproc\n") != NULL);
  YES(strstr(slurp("/proc/mounts"), "proc /proc proc") != NULL);
  YES(atol(slurp("/proc/sys/kernel/pid_max")) >= 1024);
  YES(atol(slurp("/proc/sys/fs/file-max")) > 0);
  YES(atol(slurp("/proc/sys/vm/max_map_count")) >= 1000);
  YES(strlen(slurp("/proc/sys/kernel/random/uuid")) == 37);
  YES(strlen(slurp("/proc/sys/kernel/random/boot_id")) == 37);
  YES(atol(slurp("/proc/sys/kernel/ngroups_max")) == 65536);
  YES(atol(slurp("/proc/sys/kernel/cap_last_cap")) >= 37);
  say("ostype %s", strtok(slurp("/proc/sys/kernel/ostype"), "\n"));
  char host[100];
  gethostname(host, sizeof host);
  YES(strncmp(slurp("/proc/sys/kernel/hostname"), host, strlen(host)) == 0);
  YES(atol(slurp("/proc/sys/fs/pipe-max-size")) == 1048576);
  slurp("/proc/sys/vm/overcommit_memory");
  YES(text[0] >= '0' && text[0] <= '2');
  DIR *d = opendir("/proc");
  bool self = false, own = false, one = false;
  for (struct dirent *e; (e = readdir(d));) {
    self |= !strcmp(e->d_name, "self");
    own |= atoi(e->d_name) == getpid();
    one |= !strcmp(e->d_name, "1");
  }
  YES(self && own && one);
  TRY(access("/proc/1/comm", F_OK));
  TRY(access("/proc/cmdline", R_OK));
  TRY(access("/proc/net/unix", F_OK));
  TRY(access("/sys", F_OK));
  struct stat st;
  stat("/proc", &st);
  say("/proc mode %o", st.st_mode);
  stat("/proc/self/fd", &st);
  say("fd mode %o", st.st_mode);
  stat("/proc/self/status", &st);
  say("status mode %o size %ld", st.st_mode, (long)st.st_size);
  lstat("/proc/self", &st);
  say("self mode %o", st.st_mode);
  stat("/proc/self/environ", &st);
  say("environ mode %o", st.st_mode);
  return 0;
}
