/* Pseudo-terminals: the line discipline, modes, echo, special characters, size, hang-up, packet of ioctls. */
#include "guest.h"
#include <pty.h>
#include <termios.h>

static int m, s;

/* What arrives, in printable form; waits a moment for it. */
static void show(const char *what, int fd) {
  char b[256], line[1100];
  int at = 0, total = 0;
  struct pollfd pf = {fd, POLLIN, 0};
  while (poll(&pf, 1, total ? 30 : 100) > 0 && (pf.revents & POLLIN)) {
    ssize_t n = read(fd, b, sizeof b);
    if (n <= 0) break;
    total += n;
    for (ssize_t i = 0; i < n; i++) at += sprintf(line + at, b[i] >= ' ' && b[i] < 127 ? "%c" : "\\%02x", (unsigned char)b[i]);
  }
  line[at] = 0;
  say("%s: \"%s\"", what, line);
}

static void type(const char *keys) { write(m, keys, strlen(keys)); }

static volatile int hits;
static void on_signal(int n) { hits = n; }

int main(void) {
  begin();
  struct winsize ws = {.ws_row = 30, .ws_col = 90}, got;
  struct termios t;
  m = OK(posix_openpt(O_RDWR | O_NOCTTY));
  int number = -1;
  char name[64];
  TRY(ioctl(m, TIOCGPTN, &number));
  YES(number >= 0);
  TRY(grantpt(m));
  sprintf(name, "/dev/pts/%d", number);
  TRY(open(name, O_RDWR | O_NOCTTY)); /* still locked */
  TRY(unlockpt(m));
  YES(strcmp(ptsname(m), name) == 0);
  s = OK(open(name, O_RDWR | O_NOCTTY));
  struct stat st;
  fstat(s, &st);
  YES(S_ISCHR(st.st_mode) && st.st_rdev >> 8 == 136);
  TRY(isatty(s));
  TRY(isatty(m));
  YES(strcmp(ttyname(s), name) == 0);
  TRY(tcgetattr(s, &t));
  say("iflag %o oflag %o cflag %o lflag %o", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
  say("intr %d quit %d erase %d kill %d eof %d start %d stop %d susp %d werase %d lnext %d min %d time %d", t.c_cc[VINTR], t.c_cc[VQUIT], t.c_cc[VERASE],
      t.c_cc[VKILL], t.c_cc[VEOF], t.c_cc[VSTART], t.c_cc[VSTOP], t.c_cc[VSUSP], t.c_cc[VWERASE], t.c_cc[VLNEXT], t.c_cc[VMIN], t.c_cc[VTIME]);
  TRY(ioctl(m, TIOCGWINSZ, &got));
  say("%dx%d", got.ws_row, got.ws_col);
  TRY(ioctl(m, TIOCSWINSZ, &ws));
  TRY(ioctl(s, TIOCGWINSZ, &got));
  say("%dx%d", got.ws_row, got.ws_col);

  say("-- canonical mode");
  type("hello\r");
  show("echo", m);
  show("line", s);
  type("abc\x7f\x7fX\r");
  show("erase echo", m);
  show("line", s);
  type("one two\x17three\n");
  show("word erase echo", m);
  show("line", s);
  type("gone\x15kept\n");
  show("kill echo", m);
  show("line", s);
  type("\x16\x03\n");
  show("literal next echo", m);
  show("line", s);
  type("\tx\x01\n");
  show("control echo", m);
  show("line", s);
  type("partial");
  show("echo", m);
  int n = -1;
  ioctl(s, FIONREAD, &n);
  TRY(n);
  type("\x04");
  char b[32];
  TRY(read(s, b, 32));
  type("\x04");
  TRY(read(s, b, 32));
  type("two\nlines\n");
  TRY(read(s, b, 2));
  TRY(read(s, b, 32));
  TRY(read(s, b, 32));
  show("echo", m);

  say("-- output");
  write(s, "a\nb\tc\r\n", 7);
  show("ONLCR", m);
  tcgetattr(s, &t);
  struct termios raw = t;
  raw.c_oflag &= ~OPOST;
  TRY(tcsetattr(s, TCSANOW, &raw));
  write(s, "a\nb\n", 4);
  show("no OPOST", m);

  say("-- raw");
  cfmakeraw(&raw);
  TRY(tcsetattr(s, TCSADRAIN, &raw));
  type("x\r\x03\x04");
  show("no echo", m);
  show("bytes", s);
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 1;
  tcsetattr(s, TCSANOW, &raw);
  int64_t begun = now_ns();
  TRY(read(s, b, 32));
  YES(now_ns() - begun >= 90000000);
  raw.c_cc[VTIME] = 0;
  tcsetattr(s, TCSANOW, &raw);
  TRY(read(s, b, 32));
  raw.c_cc[VMIN] = 3;
  tcsetattr(s, TCSANOW, &raw);
  pid_t kid = fork();
  if (!kid) { sleep_ms(20); type("a"); sleep_ms(20); type("b"); sleep_ms(20); type("c"); _exit(0); }
  TRY(read(s, b, 32));
  waitpid(kid, NULL, 0);
  TRY(tcsetattr(s, TCSAFLUSH, &t));
  struct termios noecho = t;
  noecho.c_lflag &= ~ECHO;
  tcsetattr(s, TCSANOW, &noecho);
  type("secret\n");
  show("ECHO off", m);
  show("line", s);
  noecho.c_lflag |= ECHONL;
  tcsetattr(s, TCSANOW, &noecho);
  type("secret\n");
  show("ECHONL", m);
  show("line", s);
  tcsetattr(s, TCSANOW, &t);

  say("-- flush and queue");
  type("lost\n");
  show("echo", m);
  TRY(tcflush(s, TCIFLUSH));
  fcntl(s, F_SETFL, O_NONBLOCK);
  TRY(read(s, b, 32));
  fcntl(s, F_SETFL, 0);
  write(s, "12345", 5);
  show("output", m);
  TRY(tcflow(s, TCOOFF));
  TRY(tcflow(s, TCOON));
  char c;

  say("-- signals to the foreground group");
  int p[2];
  NEED(pipe(p));
  kid = fork();
  if (!kid) {
    close(m);
    setsid();
    TRY(ioctl(s, TIOCSCTTY, 0));
    YES(tcgetpgrp(s) == getpid());
    YES(tcgetsid(s) == getpid());
    int tty = OK(open("/dev/tty", O_RDWR));
    TRY(isatty(tty));
    handle(SIGINT, on_signal, 0);
    handle(SIGQUIT, on_signal, 0);
    handle(SIGTSTP, on_signal, 0);
    handle(SIGWINCH, on_signal, 0);
    write(p[1], "r", 1);
    for (int i = 0; i < 4; i++) {
      while (!hits) pause();
      say("got %s", signal_name(hits));
      hits = 0;
      write(p[1], "n", 1);
    }
    signal(SIGHUP, SIG_DFL);
    for (;;) pause();
  }
  read(p[0], &c, 1);
  static const char *keys[] = {"\x03", "\x1c", "\x1a"};
  for (int i = 0; i < 3; i++) {
    until_blocked(kid, kid);
    type(keys[i]);
    read(p[0], &c, 1);
  }
  until_blocked(kid, kid);
  ws.ws_col = 120;
  ioctl(m, TIOCSWINSZ, &ws);
  read(p[0], &c, 1);
  until_blocked(kid, kid);
  ioctl(m, TIOCSWINSZ, &ws); /* the same again: no signal */
  show("echo of the keys", m);
  close(s);
  close(m);
  reap("hang-up", kid);

  say("-- the other side closes");
  TRY(openpty(&m, &s, NULL, NULL, &ws));
  write(s, "last words", 10);
  close(s);
  struct pollfd pf = {m, POLLIN, 0};
  poll(&pf, 1, 100);
  say("revents %x", pf.revents);
  TRY(read(m, b, 32));
  TRY(read(m, b, 32));
  close(m);
  TRY(openpty(&m, &s, NULL, NULL, &ws));
  close(m);
  TRY(read(s, b, 32));
  TRY(write(s, "x", 1));
  pf.fd = s;
  poll(&pf, 1, 100);
  say("revents %x", pf.revents);
  TRY(tcgetattr(s, &t));
  close(s);

  say("-- errors");
  TRY(openpty(&m, &s, NULL, NULL, &ws));
  TRY(ioctl(s, TIOCGWINSZ, BAD));
  TRY(ioctl(s, TCGETS, BAD));
  TRY(ioctl(s, TCSETS, BAD));
  TRY(ioctl(m, TIOCGPTN, BAD));
  TRY(ioctl(s, TIOCGPTN, &number));
  TRY(tcgetpgrp(s));
  TRY(tcsetpgrp(s, getpgrp()));
  TRY(lseek(s, 0, SEEK_SET));
  TRY(pread(s, b, 1, 0));
  char many[5000];
  memset(many, 'm', sizeof many);
  raw.c_cc[VMIN] = 1;
  tcsetattr(s, TCSANOW, &raw);
  fcntl(m, F_SETFL, O_NONBLOCK);
  long sent = 0, r;
  while ((r = write(m, many, 100)) > 0) sent += r;
  YES(sent >= 4000 && errno == EAGAIN);
  long back = 0;
  fcntl(s, F_SETFL, O_NONBLOCK);
  for (int i = 0; i < 100 && back < sent; i++) {
    while ((r = read(s, many, sizeof many)) > 0) back += r;
    sleep_ms(2);
  }
  YES(back == sent);
  return 0;
}
