/* getrandom(2): lengths, flags, errors. */
#include "guest.h"
#include <sys/random.h>

int main(void) {
  begin();
  unsigned char a[256] = {0}, b[256] = {0};
  TRY(getrandom(a, 256, 0));
  TRY(getrandom(b, 256, GRND_NONBLOCK));
  YES(memcmp(a, b, 256) != 0);
  TRY(getrandom(a, 16, GRND_RANDOM));
  TRY(getrandom(a, 0, 0));
  TRY(getrandom(a, 10, 0x100));
  TRY(getrandom(a, 10, GRND_RANDOM | GRND_INSECURE));
  TRY(getrandom(BAD, 10, 0));
  char *big = malloc(1 << 20);
  memset(big, 0, 1 << 20);
  TRY(getrandom(big, 1 << 20, 0));
  int zero = 0;
  for (int i = 0; i < 1 << 20; i++) zero += big[i] == 0;
  YES(zero > 2000 && zero < 8000);
  char *edge = edge_page();
  TRY(getrandom(edge + 4090, 10, 0));
  TRY(getentropy(a, 256));
  CHILD("child", {
    getrandom(b, 32, 0);
    YES(memcmp(a, b, 32) != 0);
  });
  return 0;
}
