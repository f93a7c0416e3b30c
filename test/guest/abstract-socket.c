/* Abstract and autobound AF_UNIX names: bytes with length, gone with the socket, not in the file system. */
#include "guest.h"

static socklen_t abstract(struct sockaddr_un *a, const char *bytes, size_t n) {
  memset(a, 0, sizeof *a);
  a->sun_family = AF_UNIX;
  memcpy(a->sun_path + 1, bytes, n);
  return offsetof(struct sockaddr_un, sun_path) + 1 + n;
}

int main(void) {
  begin();
  char unique[64], b[8];
  sprintf(unique, "guest-%d", getpid());
  struct sockaddr_un a, got;
  socklen_t n = abstract(&a, unique, strlen(unique)), len = sizeof got;
  int l = NEED(socket(AF_UNIX, SOCK_STREAM, 0)), c = NEED(socket(AF_UNIX, SOCK_STREAM, 0)), d = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  TRY(connect(c, (void *)&a, n));
  TRY(bind(l, (void *)&a, n));
  TRY(bind(d, (void *)&a, n));
  NEED(listen(l, 5));
  TRY(connect(c, (void *)&a, n));
  TRY(connect(d, (void *)&a, n + 1)); /* one NUL more is another name */
  getpeername(c, (void *)&got, &len);
  YES(len == n && memcmp(&got, &a, n) == 0);
  close(l);
  TRY(connect(d, (void *)&a, n));
  l = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  TRY(bind(l, (void *)&a, n));

  say("-- zero bytes are part of a name");
  struct sockaddr_un z1, z2;
  char name1[70], name2[70];
  int k = sprintf(name1, "%s", unique) + 1;
  memcpy(name1 + k, "one", 3);
  memcpy(name2, name1, k);
  memcpy(name2 + k, "two", 3);
  socklen_t n1 = abstract(&z1, name1, k + 3), n2 = abstract(&z2, name2, k + 3);
  int s1 = socket(AF_UNIX, SOCK_DGRAM, 0), s2 = socket(AF_UNIX, SOCK_DGRAM, 0);
  TRY(bind(s1, (void *)&z1, n1));
  TRY(bind(s2, (void *)&z2, n2));
  TRY(sendto(s1, "hi", 2, 0, (void *)&z2, n2));
  len = sizeof got;
  TRY(recvfrom(s2, b, 8, 0, (void *)&got, &len));
  YES(len == n1 && memcmp(&got, &z1, n1) == 0);

  say("-- autobind");
  int x = socket(AF_UNIX, SOCK_DGRAM, 0), y = socket(AF_UNIX, SOCK_DGRAM, 0);
  TRY(bind(x, (void *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)));
  len = sizeof got;
  getsockname(x, (void *)&got, &len);
  say("length %d, first byte %d", (int)len, got.sun_path[0]);
  TRY(bind(y, (void *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)));
  struct sockaddr_un second;
  socklen_t len2 = sizeof second;
  getsockname(y, (void *)&second, &len2);
  YES(len2 == len && memcmp(&got, &second, len) != 0);
  int u = socket(AF_UNIX, SOCK_DGRAM, 0);
  len = sizeof got;
  getsockname(u, (void *)&got, &len);
  say("unbound: length %d", (int)len);

  say("-- the directory stays empty");
  DIR *dir = opendir(".");
  int files = 0;
  while (readdir(dir)) files++;
  TRY(files);
  char longest[108];
  memset(longest, 'n', 108);
  struct sockaddr_un full;
  memset(&full, 0, sizeof full);
  full.sun_family = AF_UNIX;
  memset(full.sun_path, 'n', 108);
  int f = socket(AF_UNIX, SOCK_STREAM, 0);
  TRY(bind(f, (void *)&full, sizeof full)); /* 108 bytes without a NUL is allowed */
  len = sizeof got;
  TRY(getsockname(f, (void *)&got, &len));
  TRY(len);
  return 0;
}
