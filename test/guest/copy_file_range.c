/* copy_file_range(2): offsets, ends, overlaps, errors. */
#include "guest.h"

int main(void) {
  begin();
  put_file("a", "0123456789", 0644);
  int a = NEED(open("a", O_RDWR)), b = NEED(open("b", O_CREAT | O_RDWR, 0600));
  TRY(copy_file_range(a, NULL, b, NULL, 4, 0));
  TRY(lseek(a, 0, SEEK_CUR));
  TRY(lseek(b, 0, SEEK_CUR));
  off_t from = 6, to = 8;
  TRY(copy_file_range(a, &from, b, &to, 100, 0));
  TRY(from);
  TRY(to);
  TRY(lseek(a, 0, SEEK_CUR));
  show_file("b");
  TRY(copy_file_range(a, &from, b, &to, 100, 0));
  TRY(copy_file_range(a, NULL, b, NULL, 0, 0));
  TRY(copy_file_range(a, NULL, b, NULL, 1, 1));
  from = 0, to = 5;
  TRY(copy_file_range(a, &from, a, &to, 3, 0));
  show_file("a");
  from = 0, to = 2;
  TRY(copy_file_range(a, &from, a, &to, 5, 0));
  from = -1, to = 0;
  TRY(copy_file_range(a, &from, b, &to, 5, 0));
  int ro = NEED(open("a", O_RDONLY)), wo = NEED(open("b", O_WRONLY)), ap = NEED(open("b", O_WRONLY | O_APPEND));
  from = to = 0;
  TRY(copy_file_range(a, &from, ro, &to, 5, 0));
  TRY(copy_file_range(wo, &from, b, &to, 5, 0));
  TRY(copy_file_range(a, &from, ap, &to, 5, 0));
  TRY(copy_file_range(77, &from, b, &to, 5, 0));
  int dir = NEED(open(".", O_RDONLY)), p[2];
  TRY(copy_file_range(dir, &from, b, &to, 5, 0));
  NEED(pipe(p));
  TRY(copy_file_range(a, NULL, p[1], NULL, 5, 0));
  TRY(copy_file_range(a, BAD, b, NULL, 5, 0));
  TRY(copy_file_range(a, NULL, b, BAD, 5, 0));
  return 0;
}
