// build: dynamic
/* A dynamically linked program: the loader, dlopen, thread-local storage of libraries, constructors, environment. */
#include "guest.h"
#include <dlfcn.h>
#include <iconv.h>
#include <link.h>
#include <locale.h>
#include <math.h>
#include <sys/auxv.h>

static int order;
__attribute__((constructor)) static void first(void) { order = 1; }
__attribute__((destructor)) static void gone(void) {
  if (getpid() == guest_pid) say("destructor");
}

static int objects(struct dl_phdr_info *info, size_t size, void *count) {
  (void)info, (void)size;
  ++*(int *)count;
  return 0;
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) { say("run by the loader"); _exit(12); }
  begin();
  YES(order == 1);
  YES(getauxval(AT_BASE) != 0);
  int n = 0;
  dl_iterate_phdr(objects, &n);
  YES(n >= 3);
  void *m = dlopen("libm.so.6", RTLD_NOW);
  YES(m != NULL);
  double (*cosine)(double) = dlsym(m, "cos");
  say("cos 0 = %g", cosine(0));
  YES(dlsym(m, "no_such_symbol") == NULL);
  YES(dlopen("libno-such.so", RTLD_NOW) == NULL);
  Dl_info info;
  YES(dladdr(dlsym(RTLD_DEFAULT, "printf"), &info) && strstr(info.dli_fname, "libc.so") != NULL);
  char *interp = "/lib64/ld-linux-x86-64.so.2", exe[PATH_MAX];
  exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = 0;
  CHILD("through the loader by hand", { execl(interp, interp, exe, "x", NULL); });
  CHILD("missing library", {
    dup2(open("/dev/null", O_WRONLY), 2);
    setenv("LD_PRELOAD", "/nonexistent.so", 1);
    execl(exe, exe, "x", NULL);
  });
  CHILD("bind now", { setenv("LD_BIND_NOW", "1", 1); execl(exe, exe, "x", NULL); });
  setlocale(LC_ALL, "C.UTF-8");
  wchar_t w[8];
  TRY(mbstowcs(w, "\xc3\xa9\xe2\x82\xac", 8));
  iconv_t cd = iconv_open("UTF-16LE", "UTF-8");
  YES(cd != (iconv_t)-1);
  setenv("TZ", "UTC0", 1);
  time_t t = 86400 * 365;
  char text[64];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", localtime(&t));
  say("%s", text);
  FILE *f = tmpfile();
  YES(f != NULL);
  fprintf(f, "%d %s\n", 42, "words");
  rewind(f);
  int v;
  char word[16];
  TRY(fscanf(f, "%d %15s", &v, word));
  say("%d %s", v, word);
  fclose(f);
  say("%.3f %e %a", M_PI, 12345.678, 1.5);
  char *list = strdup("c b a");
  char *words[3];
  int k = 0;
  for (char *at = strtok(list, " "); at; at = strtok(NULL, " ")) words[k++] = at;
  say("%s%s%s", words[2], words[1], words[0]);
  return 0;
}
