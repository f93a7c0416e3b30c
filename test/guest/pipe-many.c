/* Many writers and readers on one pipe: nothing lost, small writes whole; a chain of processes; close on exec of ends. */
#include "guest.h"

int main(void) {
  begin();
  int p[2], done[2];
  NEED(pipe(p));
  NEED(pipe(done));
  pid_t writers[4], readers[3];
  for (int w = 0; w < 4; w++)
    if (!(writers[w] = fork())) {
      close(p[0]);
      char line[64];
      memset(line, 'A' + w, sizeof line);
      for (int i = 0; i < 500; i++)
        if (write(p[1], line, sizeof line) != sizeof line) _exit(1);
      _exit(0);
    }
  for (int r = 0; r < 3; r++)
    if (!(readers[r] = fork())) {
      close(p[1]);
      char line[64];
      int count[4] = {0}, torn = 0;
      ssize_t n;
      while ((n = read(p[0], line, sizeof line)) > 0) {
        bool same = n == sizeof line;
        for (int i = 1; same && i < n; i++) same = line[i] == line[0];
        if (same) count[line[0] - 'A']++;
        else torn++;
      }
      int out[5] = {count[0], count[1], count[2], count[3], torn};
      write(done[1], out, sizeof out);
      _exit(0);
    }
  close(p[0]);
  close(p[1]);
  int sum[5] = {0};
  for (int r = 0; r < 3; r++) {
    int in[5];
    read(done[0], in, sizeof in);
    for (int i = 0; i < 5; i++) sum[i] += in[i];
  }
  for (int w = 0; w < 4; w++) reap("writer", writers[w]);
  for (int r = 0; r < 3; r++) reap("reader", readers[r]);
  say("%d %d %d %d, torn %d", sum[0], sum[1], sum[2], sum[3], sum[4]);

  say("-- a chain of 20 processes passes 1 MiB along");
  int in, out[2];
  NEED(pipe(out));
  int first = out[1];
  in = out[0];
  for (int i = 0; i < 20; i++) {
    int next[2];
    NEED(pipe(next));
    if (!fork()) {
      close(first);
      close(next[0]);
      char block[5000];
      ssize_t n;
      while ((n = read(in, block, sizeof block)) > 0) {
        for (ssize_t k = 0; k < n; k++) block[k]++;
        for (ssize_t at = 0, w; at < n; at += w)
          if ((w = write(next[1], block + at, n - at)) <= 0) _exit(1);
      }
      _exit(0);
    }
    close(in);
    close(next[1]);
    in = next[0];
  }
  if (!fork()) {
    close(in);
    char block[4096];
    for (int i = 0; i < 256; i++) {
      memset(block, i & 63, sizeof block);
      for (size_t at = 0; at < sizeof block;) at += write(first, block + at, sizeof block - at);
    }
    _exit(0);
  }
  close(first);
  long total = 0, wrong = 0;
  unsigned char block[8192];
  for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
    for (ssize_t k = 0; k < n; k++, total++) wrong += block[k] != (total / 4096 & 63) + 20;
  say("%ld bytes, %ld wrong", total, wrong);
  int bad = 0, status, n = 0;
  while (wait(&status) > 0) bad += status != 0, n++;
  say("%d children, %d failed", n, bad);
  return 0;
}
