/* Blocking reads, writes, locks and opens: interrupted, partly done, restarted; descriptors closed meanwhile. */
#include "guest.h"
#include <sys/file.h>

static volatile sig_atomic_t hits;
static void on_signal(int s) { (void)s; hits++; }
static void alarm_in(int ms) {
  struct itimerval it = {{0, 0}, {0, ms * 1000}};
  setitimer(ITIMER_REAL, &it, NULL);
}

struct job { int fd; long result; int error; pthread_t thread; volatile pid_t tid; };
static void *reader(void *arg) {
  struct job *j = arg;
  char c[4];
  j->tid = gettid();
  j->result = read(j->fd, c, 4);
  j->error = errno;
  return NULL;
}

int main(void) {
  begin();
  int p[2];
  char *big = calloc(1, 300000), b[8];
  NEED(pipe(p));
  handle(SIGALRM, on_signal, 0);
  alarm_in(20);
  TRY(read(p[0], b, 8));
  say("hits %d", hits);
  say("-- a write that is partly done returns what it has done");
  alarm_in(20);
  TRY(write(p[1], big, 100000));
  alarm_in(20);
  TRY(write(p[1], big, 1));
  say("-- restarted");
  hits = 0;
  handle(SIGALRM, on_signal, SA_RESTART);
  alarm_in(20);
  pid_t child = fork();
  if (child == 0) {
    sleep_ms(80);
    for (int left = 65536; left > 0;) left -= read(p[0], big, left > 300000 ? 300000 : left);
    sleep_ms(30);
    char c;
    for (int i = 0; i < 100000; i++) if (read(p[0], &c, 1) != 1) _exit(1);
    _exit(0);
  }
  TRY(write(p[1], big, 100000));
  say("hits %d", hits);
  reap("child", child);

  say("-- closed by another thread: the reader stays on the old pipe");
  int q[2];
  NEED(pipe(q));
  struct job j = {.fd = q[0]};
  pthread_create(&j.thread, NULL, reader, &j);
  while (!j.tid) sleep_ms(1);
  until_blocked(getpid(), j.tid);
  TRY(close(q[0]));
  int other[2];
  NEED(pipe(other));
  YES(other[0] == q[0]);
  TRY(write(q[1], "abc", 3));
  pthread_join(j.thread, NULL);
  say("reader: %ld", j.result);
  signal(SIGPIPE, SIG_IGN);
  TRY(write(q[1], "abc", 3));

  say("-- SIGPIPE");
  CHILD("writer", {
    signal(SIGPIPE, SIG_DFL);
    write(q[1], "x", 1);
  });

  say("-- fifo: open waits");
  NEED(mkfifo("fifo", 0600));
  handle(SIGALRM, on_signal, 0);
  alarm_in(20);
  TRY(open("fifo", O_RDONLY));
  alarm_in(20);
  TRY(open("fifo", O_WRONLY));
  child = fork();
  if (child == 0) {
    sleep_ms(20);
    int w = open("fifo", O_WRONLY);
    write(w, "through", 7);
    _exit(0);
  }
  int r = OK(open("fifo", O_RDONLY));
  TRY(read(r, b, 8));
  TRY(read(r, b, 8));
  reap("writer", child);
  close(r);
  child = fork();
  if (child == 0) {
    sleep_ms(20);
    int x = open("fifo", O_RDONLY | O_NONBLOCK);
    sleep_ms(20);
    char c[8];
    _exit(read(x, c, 8));
  }
  int w = OK(open("fifo", O_WRONLY));
  TRY(write(w, "12345", 5));
  reap("reader", child);
  close(w);

  say("-- locks");
  int f = NEED(open("f", O_RDWR | O_CREAT, 0600));
  int sync[2];
  NEED(pipe(sync));
  child = fork();
  if (child == 0) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    fcntl(f, F_SETLKW, &l);
    int own = open("f", O_RDWR);
    flock(own, LOCK_EX);
    write(sync[1], "x", 1);
    sleep_ms(150);
    l.l_start = 10;
    int result = fcntl(f, F_SETLKW, &l);
    _exit(result == 0 ? 0 : errno == EDEADLK ? 2 : 1);
  }
  read(sync[0], b, 1);
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};
  TRY(fcntl(f, F_SETLKW, &l));
  l.l_start = 0;
  alarm_in(20);
  TRY(fcntl(f, F_SETLKW, &l));
  int g = NEED(open("f", O_RDWR));
  alarm_in(20);
  TRY(flock(g, LOCK_EX));
  say("-- a circle: one of the two is told");
  int mine = fcntl(f, F_SETLKW, &l) == 0 ? 0 : errno;
  l.l_type = F_UNLCK, l.l_start = 0, l.l_len = 0;
  fcntl(f, F_SETLK, &l);
  int status;
  waitpid(child, &status, 0);
  say("deadlocks %d", (mine == EDEADLK) + (WEXITSTATUS(status) == 2));
  say("-- the child's end released the rest");
  l.l_type = F_WRLCK;
  TRY(fcntl(f, F_SETLKW, &l));
  TRY(flock(g, LOCK_EX | LOCK_NB));
  return 0;
}
