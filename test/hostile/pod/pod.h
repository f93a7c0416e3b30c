/* What attacks on another container have in common. README.md beside this file says how to add one. */
#ifndef POD_H
#define POD_H

#include <sys/un.h>
#include "../hostile.h"

/* The victim's files and memory have this in them, and nothing else has. */
#define SECRET "SECRET-OF-" "THE-VICTIM"

/* Something that must not be possible was: the test fails with this line. */
__attribute__((format(printf, 1, 2), unused)) static void harm(const char *format, ...) {
  va_list list;
  va_start(list, format);
  printf("HARM: ");
  vprintf(format, list);
  printf("\n");
  fflush(stdout);
  va_end(list);
}

/* What is known of the victim: its pid, its child's; addresses of its secret and of a futex in its memory. */
__attribute__((unused)) static unsigned long fact(const char *name) {
  char upper[32] = "VICTIM_";
  strncat(upper, name, 20);
  const char *text = getenv(upper);
  if (text == NULL) cannot("no %s", upper);
  return strtoul(text, NULL, 10);
}

/* Does the attacker see the victim's processes? */
__attribute__((unused)) static int shares_pids(void) { return getenv("SHARED_PIDS") != NULL; }

/* Looks for the secret in what was read. */
__attribute__((unused)) static int has_secret(const char *bytes, ssize_t length) {
  return length > 0 && memmem(bytes, (size_t)length, SECRET, sizeof SECRET - 1) != NULL;
}

__attribute__((unused)) static void look_into(int dir, const char *name) {
  char text[8192];
  int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return;
  ssize_t n = read(fd, text, sizeof text);
  if (has_secret(text, n)) harm("the secret is in %s", name);
  close(fd);
}

/* A connection to the victim's socket, which is in the network that both have. */
__attribute__((unused)) static int call_victim(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0victim"};
  if (connect(fd, (struct sockaddr *)&name, sizeof(sa_family_t) + 7) < 0) cannot("connect to the victim");
  return fd;
}

#endif
