/* O_APPEND: every write lands at the end, whatever the offset; fcntl may switch it. */
#include "guest.h"

int main(void) {
  begin();
  put_file("f", "0123456789", 0644);
  int a = NEED(open("f", O_RDWR | O_APPEND)), b = NEED(open("f", O_WRONLY));
  TRY(lseek(a, 0, SEEK_CUR));
  TRY(lseek(a, 2, SEEK_SET));
  TRY(write(a, "AB", 2));
  TRY(lseek(a, 0, SEEK_CUR));
  TRY(pwrite(a, "CD", 2, 0)); /* Linux: appends, whatever the offset says */
  TRY(lseek(a, 0, SEEK_CUR));
  TRY(write(b, "x", 1));
  show_file("f");
  TRY(lseek(a, 1, SEEK_SET));
  char c[3] = "";
  TRY(read(a, c, 2));
  say("read \"%s\"", c);
  TRY(fcntl(a, F_SETFL, 0));
  TRY(lseek(a, 3, SEEK_SET));
  TRY(write(a, "___", 3));
  show_file("f");
  TRY(fcntl(b, F_SETFL, O_APPEND));
  TRY(write(b, "end", 3));
  TRY(lseek(b, 0, SEEK_CUR));
  show_file("f");
  TRY(ftruncate(b, 4));
  TRY(write(b, "cut", 3));
  show_file("f");

  say("-- two processes append, no line is torn or lost");
  int log = NEED(open("log", O_CREAT | O_WRONLY | O_APPEND, 0600));
  pid_t kids[3];
  for (int k = 0; k < 3; k++)
    if (!(kids[k] = fork())) {
      int own = NEED(open("log", O_WRONLY | O_APPEND));
      char line[9];
      for (int i = 0; i < 200; i++) {
        memset(line, 'a' + k, 7);
        line[7] = '\n';
        if (write(i & 1 ? own : log, line, 8) != 8) _exit(1);
      }
      _exit(0);
    }
  for (int k = 0; k < 3; k++) reap("appender", kids[k]);
  FILE *in = fopen("log", "r");
  char line[64];
  int counts[3] = {0}, torn = 0;
  while (fgets(line, sizeof line, in)) {
    bool same = strlen(line) == 8;
    for (int i = 1; same && i < 7; i++) same = line[i] == line[0];
    if (same) counts[line[0] - 'a']++;
    else torn++;
  }
  say("lines %d %d %d, torn %d", counts[0], counts[1], counts[2], torn);
  return 0;
}
