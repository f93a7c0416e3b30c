/*
 * Both sides of the network benchmark.
 *
 *   network serve PORT                      a thread for each connection; its first byte says what it is for
 *   network KIND HOST PORT SECONDS          asks for so long, and prints one number
 *
 * KIND: receive (the server sends: bytes per second), send (bytes per second that have arrived), trips (of one byte there
 * and back, per second), connections (made, answered with a byte and closed, per second).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 17 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}
static void fail(const char *what) {
  perror(what);
  exit(1);
}
static void end(int s) {
  (void)s;
  _exit(0);
}

static void *serves(void *at) {
  int s = (int)(long)at, yes = 1;
  char kind, *b = malloc(CHUNK);
  unsigned long total = 0;
  ssize_t n;
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (b && recv(s, &kind, 1, 0) == 1) {
    if (kind == 'r') {
      memset(b, 'x', CHUNK);
      while (send(s, b, CHUNK, MSG_NOSIGNAL) > 0) {}
    } else if (kind == 's') {
      while ((n = recv(s, b, CHUNK, 0)) > 0) total += n;
      send(s, &total, sizeof total, MSG_NOSIGNAL);
    } else if (kind == 't') {
      while ((n = recv(s, b, 1, 0)) > 0) send(s, b, 1, MSG_NOSIGNAL);
    } else {
      send(s, &kind, 1, MSG_NOSIGNAL);
    }
  }
  close(s);
  free(b);
  return NULL;
}

static int serve(int port) {
  int l = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(l, (void *)&a, sizeof a) || listen(l, 1024)) fail("listen");
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&detached, 64 << 10);
  for (;;) {
    int s = accept(l, NULL, NULL);
    if (s < 0) fail("accept");
    pthread_t t;
    if (pthread_create(&t, &detached, serves, (void *)(long)s)) close(s);
  }
}

static int asks(const char *host, int port, char kind) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  int s = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  inet_pton(AF_INET, host, &a.sin_addr);
  if (s < 0 || connect(s, (void *)&a, sizeof a)) fail("connect");
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (send(s, &kind, 1, 0) != 1) fail("send");
  return s;
}

int main(int count, char **words) {
  signal(SIGTERM, end);
  signal(SIGPIPE, SIG_IGN);
  if (count == 3 && !strcmp(words[1], "serve")) return serve(atoi(words[2]));
  if (count != 5) return fputs("network serve PORT | network KIND HOST PORT SECONDS\n", stderr), 2;
  char kind = words[1][0], c = 'x';
  int port = atoi(words[3]);
  double seconds = atof(words[4]), begun = now(), done = 0;
  static char b[CHUNK];
  if (kind == 'c') {
    for (; now() - begun < seconds; done++) {
      int s = asks(words[2], port, kind);
      if (recv(s, &c, 1, 0) != 1) fail("recv");
      close(s);
    }
    return printf("%.0f\n", done / (now() - begun)), 0;
  }
  int s = asks(words[2], port, kind);
  ssize_t n = 1;
  for (begun = now(); n > 0 && now() - begun < seconds; done += n) {
    if (kind == 'r') n = recv(s, b, CHUNK, 0);
    else if (kind == 's') n = send(s, b, CHUNK, 0);
    else n = send(s, &c, 1, 0) == 1 ? recv(s, &c, 1, 0) : -1;
  }
  if (n <= 0) fail(words[1]);
  if (kind == 's') {
    unsigned long arrived = 0;
    shutdown(s, SHUT_WR);
    if (recv(s, &arrived, sizeof arrived, MSG_WAITALL) != sizeof arrived) fail("what has arrived");
    done = arrived;
  }
  printf("%.0f\n", done / (now() - begun));
  return 0;
}
