// build: dynamic
/* The vDSO: present, with its symbols, and fast clocks through the dynamic linker; getcpu. */
#include "guest.h"
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>

static void *symbol(const char *wanted) {
  unsigned char *base = (void *)getauxval(AT_SYSINFO_EHDR);
  if (!base) return NULL;
  Elf64_Ehdr *eh = (void *)base;
  Elf64_Phdr *ph = (void *)(base + eh->e_phoff);
  Elf64_Dyn *dyn = NULL;
  unsigned long bias = 0;
  for (int i = 0; i < eh->e_phnum; i++) {
    if (ph[i].p_type == PT_LOAD) bias = (unsigned long)base + ph[i].p_offset - ph[i].p_vaddr;
    if (ph[i].p_type == PT_DYNAMIC) dyn = (void *)(base + ph[i].p_offset);
  }
  const char *strings = NULL;
  Elf64_Sym *symbols = NULL;
  unsigned *hash = NULL, *gnu = NULL, count = 0;
  for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
    void *at = (void *)(bias + dyn->d_un.d_ptr);
    if (dyn->d_tag == DT_STRTAB) strings = at;
    if (dyn->d_tag == DT_SYMTAB) symbols = at;
    if (dyn->d_tag == DT_HASH) hash = at;
    if (dyn->d_tag == DT_GNU_HASH) gnu = at;
  }
  if (hash) count = hash[1];
  else if (gnu) {
    unsigned *buckets = gnu + 4 + gnu[2] * 2, *chain = buckets + gnu[0];
    for (unsigned i = 0; i < gnu[0]; i++)
      if (buckets[i] > count) count = buckets[i];
    while (count && !(chain[count - gnu[1]] & 1)) count++;
    count++;
  }
  for (unsigned i = 0; i < count; i++)
    if (symbols[i].st_shndx && strcmp(strings + symbols[i].st_name, wanted) == 0) return (void *)(bias + symbols[i].st_value);
  return NULL;
}

int main(void) {
  begin();
  int (*gettime)(clockid_t, struct timespec *) = symbol("__vdso_clock_gettime");
  int (*today)(struct timeval *, void *) = symbol("__vdso_gettimeofday");
  time_t (*seconds)(time_t *) = symbol("__vdso_time");
  int (*res)(clockid_t, struct timespec *) = symbol("__vdso_clock_getres");
  long (*cpu)(unsigned *, unsigned *, void *) = symbol("__vdso_getcpu");
  YES(gettime && today && seconds && res && cpu);
  struct timespec a, b, c;
  for (int i = 0; i < 2; i++) {
    clockid_t id = i ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    syscall(SYS_clock_gettime, id, &a);
    TRY(gettime(id, &b));
    syscall(SYS_clock_gettime, id, &c);
    YES((a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec <= b.tv_nsec)) && (b.tv_sec < c.tv_sec || (b.tv_sec == c.tv_sec && b.tv_nsec <= c.tv_nsec)));
  }
  struct timeval tv;
  TRY(today(&tv, NULL));
  YES(labs(seconds(NULL) - tv.tv_sec) <= 1);
  TRY(res(CLOCK_MONOTONIC, &a));
  TRY(a.tv_nsec);
  TRY(gettime(99, &a));
  TRY(gettime(CLOCK_THREAD_CPUTIME_ID, &a));
  unsigned n = 999, node = 999;
  TRY(cpu(&n, &node, NULL));
  YES(n < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
  YES(sched_getcpu() >= 0);
  CHILD("after fork", {
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
    gettime(CLOCK_MONOTONIC, &b);
    YES(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
  });
  int back = 0;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int i = 0; i < 1000000; i++) {
    clock_gettime(CLOCK_MONOTONIC, &b);
    back += b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec);
    a = b;
  }
  TRY(back);
  return 0;
}
