/* Much data over TCP between two hosts, by every way that there is, with checksums; many connections at once. */
#include "hosts.h"

enum { SIZE = 6 << 20, CHUNK = 1 << 17 };

static unsigned char *pattern(uint32_t seed) {
  unsigned char *bytes = NEED(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < SIZE; i += 4) {
    seed = seed * 1664525 + 1013904223;
    memcpy(bytes + i, &seed, 4);
  }
  return bytes;
}

struct transfer {
  int fd;
  unsigned char *bytes;
  uint32_t sum;
};

static void *sends(void *at_) {
  struct transfer *t = at_;
  size_t steps[] = {1, 1000, 1460, 4096, 65536, CHUNK, 1 << 20}, done = 0;
  for (int i = 0; done < SIZE; i++) {
    size_t step = steps[i % 7];
    if (step > SIZE - done) step = SIZE - done;
    ssize_t n = send(t->fd, t->bytes + done, step, 0);
    if (n <= 0) return say("send: %s", errno_name(errno)), NULL;
    done += n;
  }
  return NULL;
}
static void *receives(void *at_) {
  struct transfer *t = at_;
  static __thread unsigned char b[CHUNK];
  size_t steps[] = {100, CHUNK, 3000, 65536}, done = 0;
  t->sum = 1;
  for (int i = 0; done < SIZE; i++) {
    size_t step = steps[i % 4];
    if (step > SIZE - done) step = SIZE - done;
    ssize_t n = recv(t->fd, b, step, 0);
    if (n <= 0) return say("recv: %s", n ? errno_name(errno) : "end"), NULL;
    t->sum = checksum(t->sum, b, n);
    done += n;
  }
  return NULL;
}

static void both_ways(int family) {
  int s = joined(family);
  struct transfer out = {s, pattern(server), 0}, in = {s, NULL, 0};
  pthread_t a, b;
  NEED(pthread_create(&a, NULL, sends, &out));
  NEED(pthread_create(&b, NULL, receives, &in));
  pthread_join(a, NULL);
  pthread_join(b, NULL);
  unsigned char *expected = pattern(!server);
  YES(in.sum == checksum(1, expected, SIZE));
  munmap(out.bytes, SIZE), munmap(expected, SIZE);
  meet("both ways");
  close(s);
}

/* A file to the socket by sendfile, the socket to a pipe and a file by splice. */
static void without_copies(int who) {
  int s = joined(AF_INET);
  unsigned char *expected = pattern(7);
  if (server == who) {
    int f = NEED(open("file", O_CREAT | O_TRUNC | O_RDWR, 0600));
    for (size_t done = 0; done < SIZE;) done += NEED(write(f, expected + done, SIZE - done));
    off_t offset = 0;
    while (offset < SIZE)
      if (sendfile(s, f, &offset, SIZE - offset) <= 0) break;
    YES(offset == SIZE);
    int p[2];
    NEED(pipe(p));
    NEED(lseek(f, 0, SEEK_SET));
    ssize_t total = 0, n;
    while ((n = splice(f, NULL, p[1], NULL, CHUNK, 0)) > 0)
      for (ssize_t m; n > 0; n -= m, total += m)
        if ((m = splice(p[0], NULL, s, NULL, n, SPLICE_F_MORE)) <= 0) {
          say("splice to the socket: %s", errno_name(errno));
          _exit(90);
        }
    YES(total == SIZE);
    close(f), close(p[0]), close(p[1]);
    TRY(shutdown(s, SHUT_WR));
  } else {
    struct transfer in = {s, NULL, 0};
    receives(&in);
    YES(in.sum == checksum(1, expected, SIZE));
    int f = NEED(open("copy", O_CREAT | O_TRUNC | O_RDWR, 0600)), p[2];
    NEED(pipe(p));
    ssize_t total = 0, n;
    while ((n = splice(s, NULL, p[1], NULL, CHUNK, SPLICE_F_MOVE)) > 0)
      for (ssize_t m; n > 0; n -= m, total += m)
        if ((m = splice(p[0], NULL, f, NULL, n, 0)) <= 0) {
          say("splice to the file: %s", errno_name(errno));
          _exit(90);
        }
    say("the end: %ld", (long)n);
    YES(total == SIZE);
    unsigned char *copy = NEED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, f, 0));
    YES(!memcmp(copy, expected, SIZE));
    munmap(copy, SIZE);
    close(f), close(p[0]), close(p[1]);
  }
  unlink("file"), unlink("copy");
  munmap(expected, SIZE);
  meet("without copies");
  close(s);
}

/* One byte there and back, many times. */
static void ping_pong(void) {
  int s = joined(AF_INET), rounds = 0;
  set(s, IPPROTO_TCP, TCP_NODELAY, 1);
  char c = 'a';
  for (; rounds < 1000; rounds++) {
    if (!server && send(s, &c, 1, 0) != 1) break;
    if (recv(s, &c, 1, 0) != 1) break;
    if (server && (c++, send(s, &c, 1, 0) != 1)) break;
  }
  say("%d rounds, '%c'", rounds, server ? '-' : c);
  meet("rounds");
  close(s);
}

/* Many at once, each echoed by one thread with epoll. */
static void many(void) {
  enum { COUNT = 150, ROUNDS = 10 };
  int l = -1, ep = NEED(epoll_create1(0));
  struct epoll_event e[64];
  char b[256];
  if (server) {
    l = listens4("0.0.0.0", 0);
    fcntl(l, F_SETFL, O_NONBLOCK);
    struct epoll_event w = {.events = EPOLLIN, .data.fd = l};
    NEED(epoll_ctl(ep, EPOLL_CTL_ADD, l, &w));
    tell(port_of(l));
    int closed = 0, accepted = 0, echoed = 0;
    while (closed < COUNT) {
      int n = epoll_wait(ep, e, 64, 10000);
      if (n <= 0) break;
      for (int i = 0; i < n; i++) {
        int fd = e[i].data.fd;
        if (fd == l) {
          for (int k; (k = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0; accepted++) {
            w = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.fd = k};
            NEED(epoll_ctl(ep, EPOLL_CTL_ADD, k, &w));
          }
          continue;
        }
        ssize_t got = recv(fd, b, sizeof b, 0);
        if (got > 0) echoed += send(fd, b, got, 0);
        else if (got == 0) close(fd), closed++;
      }
    }
    say("accepted %d, closed %d, echoed %d", accepted, closed, echoed);
    close(l);
  } else {
    int s[COUNT], right = 0, port = hear();
    for (int i = 0; i < COUNT; i++) s[i] = connects4(port);
    for (int round = 0; round < ROUNDS; round++) {
      for (int i = 0; i < COUNT; i++) {
        int n = snprintf(b, sizeof b, "connection %3d", i);
        send(s[i], b, n, 0);
      }
      for (int i = 0; i < COUNT; i++) {
        char back[32] = "";
        snprintf(b, sizeof b, "connection %3d", i);
        recv(s[i], back, strlen(b), MSG_WAITALL);
        right += !strcmp(b, back);
      }
    }
    say("right %d of %d", right, COUNT * ROUNDS);
    for (int i = 0; i < COUNT; i++) close(s[i]);
  }
  meet("many");
  close(ep);
}

int main(int count, char **words) {
  begin_hosts(count, words);
  PART("both ways, IPv4");
  both_ways(AF_INET);
  PART("both ways, IPv6");
  both_ways(AF_INET6);
  PART("sendfile and splice by the client");
  without_copies(0);
  PART("sendfile and splice by the server");
  without_copies(1);
  PART("rounds");
  ping_pong();
  PART("many");
  many();
  return 0;
}
