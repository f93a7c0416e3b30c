/* Looks up a function of the vDSO by its name, as a dynamic linker does. */
#ifndef VDSO_H
#define VDSO_H

#include "guest.h"
#include <elf.h>
#include <sys/auxv.h>

static inline void *symbol(const char *wanted) {
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

#endif
