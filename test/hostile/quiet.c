/* No attack at all, by which the other figures can be judged. */
#include "hostile.h"

int main(void) {
  usleep(500000);
  return 0;
}
