/* Pseudo-terminals, the finer points: settings bit by bit, flow control, packet mode, end of file, queues, peers, hang-up. */
#include "guest.h"
#include <pty.h>
#include <termios.h>

static int m, s;
static struct termios base;
static char b[70000];

static void show_bytes(const char *what, const char *data, ssize_t n) {
  char line[4200];
  int at = 0;
  if (n < 0) { say("%s: %s", what, errno_name(errno)); return; }
  for (ssize_t i = 0; i < n && at < 4000; i++)
    at += sprintf(line + at, data[i] >= ' ' && data[i] < 127 ? "%c" : "\\%02x", (unsigned char)data[i]);
  line[at] = 0;
  say("%s: %zd \"%s\"", what, n, line);
}
/* Everything that arrives within a moment. */
static void show(const char *what, int fd) {
  static char all[8192];
  size_t total = 0;
  struct pollfd pf = {fd, POLLIN, 0};
  /* The host hands bytes over in a kernel thread of its own: a busy machine takes its time for the first. */
  while (total < sizeof all && poll(&pf, 1, total ? 40 : 120) > 0 && (pf.revents & POLLIN)) {
    ssize_t n = read(fd, all + total, sizeof all - total);
    if (n <= 0) break;
    total += n;
  }
  show_bytes(what, all, total);
}
static void one_read(const char *what, int fd, size_t n) {
  sleep_ms(10);
  show_bytes(what, b, read(fd, b, n));
}
static void type(const char *keys) { write(m, keys, strlen(keys)); sleep_ms(5); }
static void pair(void) {
  NEED(openpty(&m, &s, NULL, NULL, NULL));
  tcgetattr(s, &base);
}
static void unpair(void) { close(s); close(m); }
static int events(int fd) {
  struct pollfd pf = {fd, POLLIN | POLLOUT | POLLPRI, 0};
  poll(&pf, 1, 20);
  return pf.revents;
}
/* Settings for what follows, from the defaults. */
static void set(tcflag_t i_on, tcflag_t i_off, tcflag_t o_on, tcflag_t o_off, tcflag_t l_on, tcflag_t l_off) {
  struct termios t = base;
  t.c_iflag = (t.c_iflag | i_on) & ~i_off;
  t.c_oflag = (t.c_oflag | o_on) & ~o_off;
  t.c_lflag = (t.c_lflag | l_on) & ~l_off;
  NEED(tcsetattr(s, TCSAFLUSH, &t));
}

static void input_flags(void) {
  say("-- input flags");
  pair();
  set(IGNCR, 0, 0, 0, 0, ECHO);
  type("a\rb\n");
  one_read("IGNCR", s, 100);
  set(INLCR, ICRNL, 0, 0, 0, ECHO);
  type("a\nb");
  type("\004");
  one_read("INLCR", s, 100);
  set(ISTRIP, 0, 0, 0, 0, ECHO);
  type("\301\342\n");
  one_read("ISTRIP", s, 100);
  set(IUCLC, 0, 0, 0, 0, ECHO);
  type("HeLLo\n");
  one_read("IUCLC", s, 100);
  set(PARMRK, 0, 0, 0, 0, ECHO);
  type("\377x\n");
  one_read("PARMRK", s, 100);
  set(0, 0, 0, 0, 0, ISIG | ECHO);
  type("\003\034\032\n");
  one_read("no ISIG", s, 100);
  set(0, 0, 0, 0, 0, IEXTEN | ECHO);
  type("\026\027x\n");
  one_read("no IEXTEN", s, 100);
  struct termios t = base;
  t.c_cc[VEOL] = ';';
  t.c_cc[VEOL2] = '!';
  t.c_cc[VERASE] = 'e';
  t.c_cc[VINTR] = _POSIX_VDISABLE;
  tcsetattr(s, TCSAFLUSH, &t);
  type("one;two!there\003\n");
  one_read("VEOL", s, 100);
  one_read("VEOL2", s, 100);
  one_read("own erase, no intr", s, 100);
  show("echo", m);
  unpair();
}

static void editing(void) {
  say("-- editing and echo");
  pair();
  set(IUTF8, 0, 0, 0, 0, 0);
  type("a\303\244\342\202\254b\177\177\177\n");
  show("UTF-8 erase echo", m);
  one_read("UTF-8 erase", s, 100);
  set(0, IUTF8, 0, 0, 0, 0);
  type("a\303\244\177\n");
  show("byte erase echo", m);
  one_read("byte erase", s, 100);
  set(0, 0, 0, 0, 0, 0);
  type("ab\tc\177\177x\n");
  show("tab erase echo", m);
  one_read("tab erase", s, 100);
  type("\t\t\177\177\177y\n");
  show("tabs erase echo", m);
  write(s, "> ", 2);
  type("\001\t\177z\n");
  show("tab after prompt", m);
  tcflush(s, TCIFLUSH);
  type("x\001\177\177\177y\n");
  show("control erase echo", m);
  set(0, 0, 0, 0, ECHOPRT, 0);
  type("abc\177\177d\n");
  show("ECHOPRT", m);
  set(0, 0, 0, 0, 0, ECHOE);
  type("abc\177\177d\n");
  show("no ECHOE", m);
  set(0, 0, 0, 0, 0, ECHOKE);
  type("abc\025d\n");
  show("no ECHOKE", m);
  set(0, 0, 0, 0, 0, ECHOK | ECHOKE);
  type("abc\025d\n");
  show("no ECHOK", m);
  set(0, 0, 0, 0, 0, ECHOCTL);
  type("\001\033[A\tq\001\177\n");
  show("no ECHOCTL", m);
  set(0, 0, 0, 0, 0, ECHO);
  type("abc\025d\177\027e\n");
  show("no ECHO", m);
  tcflush(s, TCIFLUSH);
  set(0, 0, 0, 0, 0, 0);
  type("foo, bar_1  \027\027");
  show("word erase", m);
  type("\n");
  one_read("left", s, 100);
  show("newline", m);
  type("re\022");
  show("reprint", m);
  type("\n");
  one_read("line", s, 100);
  show("newline", m);
  type("q\026\nr\n");
  one_read("quoted newline", s, 100);
  show("echo", m);
  type("\026\026\026\177\n");
  one_read("quoted quote and erase", s, 100);
  show("echo", m);
  unpair();
}

static void output_flags(void) {
  say("-- output flags");
  pair();
  set(0, 0, OLCUC, 0, 0, 0);
  write(s, "abc\n", 4);
  show("OLCUC", m);
  set(0, 0, OCRNL, 0, 0, 0);
  write(s, "a\rb\n", 4);
  show("OCRNL", m);
  set(0, 0, ONOCR, 0, 0, 0);
  write(s, "\rab\r\rc\n", 8);
  show("ONOCR", m);
  set(0, 0, ONLRET, ONLCR, 0, 0);
  write(s, "ab\n\tc\n", 6);
  show("ONLRET", m);
  set(0, 0, XTABS, 0, 0, 0);
  write(s, "a\tb\303\244\tc\b\b\td\n", 12);
  show("XTABS", m);
  set(0, 0, 0, OPOST, 0, 0);
  type("x\n");
  show("echo without OPOST", m);
  unpair();
}

static void end_of_file(void) {
  say("-- end of file");
  pair();
  set(0, 0, 0, 0, 0, ECHO);
  type("hello\004");
  one_read("all of it", s, 5);
  fcntl(s, F_SETFL, O_NONBLOCK);
  one_read("after it", s, 5);
  type("hello\004world\n");
  one_read("part", s, 3);
  one_read("rest", s, 10);
  one_read("next", s, 10);
  type("\004\004x\n");
  one_read("first end", s, 10);
  one_read("second end", s, 10);
  one_read("line", s, 10);
  type("ab\n\004");
  one_read("line", s, 2);
  one_read("its newline", s, 10);
  one_read("end", s, 10);
  one_read("nothing", s, 10);
  type("long line\n");
  one_read("in pieces", s, 4);
  YES(events(s) & POLLIN);
  one_read("in pieces", s, 4);
  one_read("in pieces", s, 4);
  type("abc");
  say("not a line: %x", events(s));
  one_read("not a line", s, 10);
  int n = -1;
  ioctl(s, FIONREAD, &n);
  say("FIONREAD %d", n);
  set(0, 0, 0, 0, 0, ECHO);
  type("typed");
  struct termios t;
  tcgetattr(s, &t);
  t.c_lflag &= ~ICANON;
  tcsetattr(s, TCSANOW, &t);
  one_read("typed in lines, read raw", s, 2);
  ioctl(s, FIONREAD, &n);
  say("FIONREAD %d", n);
  t.c_lflag |= ICANON;
  tcsetattr(s, TCSANOW, &t);
  one_read("typed raw, read in lines", s, 20);
  one_read("again", s, 20);
  unpair();
}

static void timing(void) {
  say("-- VMIN and VTIME");
  pair();
  struct termios t = base;
  cfmakeraw(&t);
  t.c_cc[VMIN] = 5;
  t.c_cc[VTIME] = 0;
  tcsetattr(s, TCSANOW, &t);
  type("abc");
  say("3 of 5: %x", events(s) & POLLIN);
  one_read("small buffer", s, 2);
  type("defgh");
  say("6 of 5: %x", events(s) & POLLIN);
  one_read("five or more", s, 100);
  t.c_cc[VMIN] = 10;
  t.c_cc[VTIME] = 1;
  tcsetattr(s, TCSANOW, &t);
  type("xy");
  say("between characters: %x", events(s) & POLLIN);
  int64_t begun = now_ns();
  show_bytes("after a pause", b, read(s, b, 100));
  YES(now_ns() - begun > 80000000 && now_ns() - begun < 1500000000);
  t.c_cc[VMIN] = 0;
  t.c_cc[VTIME] = 2;
  tcsetattr(s, TCSANOW, &t);
  begun = now_ns();
  show_bytes("nothing came", b, read(s, b, 100));
  YES(now_ns() - begun > 180000000 && now_ns() - begun < 1500000000);
  type("z");
  one_read("at once", s, 100);
  fcntl(s, F_SETFL, O_NONBLOCK);
  one_read("O_NONBLOCK and VTIME", s, 100);
  t.c_cc[VTIME] = 0;
  tcsetattr(s, TCSANOW, &t);
  one_read("O_NONBLOCK, neither", s, 100);
  t.c_cc[VMIN] = 3;
  tcsetattr(s, TCSANOW, &t);
  type("q");
  one_read("O_NONBLOCK and VMIN", s, 100);
  one_read("empty", s, 100);
  show_bytes("read of nothing", b, read(s, b, 0));
  unpair();
}

static void flow(void) {
  say("-- flow control");
  pair();
  set(0, 0, 0, 0, 0, 0);
  fcntl(s, F_SETFL, O_NONBLOCK);
  type("\023");
  TRY(write(s, "held", 4));
  say("stopped %x", events(s) & POLLOUT);
  type("abc");
  show("nothing comes", m);
  type("\021");
  show("the echo comes", m);
  TRY(write(s, "free", 4));
  show("free", m);
  TRY(tcflow(s, TCOOFF));
  TRY(write(s, "x", 1));
  TRY(tcflow(s, TCOON));
  TRY(write(s, "x", 1));
  show("on", m);
  TRY(tcflow(s, TCIOFF));
  TRY(tcflow(s, TCION));
  show("stop and start characters", m);
  TRY(tcflow(s, 9));
  TRY(tcflush(s, 9));
  set(IXANY, 0, 0, 0, 0, ECHO);
  type("\023");
  TRY(write(s, "x", 1));
  type("y");
  TRY(write(s, "x", 1));
  show("IXANY", m);
  type("\023");
  set(0, IXON, 0, 0, 0, 0);
  TRY(write(s, "y", 1));
  show("IXON off starts", m);
  TRY(tcdrain(s));
  TRY(tcsendbreak(s, 0));
  unpair();
}

static void packet(void) {
  say("-- packet mode");
  pair();
  set(0, 0, 0, 0, 0, 0);
  int on = 1;
  TRY(ioctl(m, TIOCPKT, &on));
  int got = -1;
  TRY(ioctl(m, TIOCGPKT, &got));
  say("%d", got);
  write(s, "data", 4);
  one_read("data", m, 100);
  one_read("small", m, 0);
  tcflush(s, TCIFLUSH);
  say("pri %x", events(m));
  one_read("flushed input", m, 100);
  tcflush(s, TCOFLUSH);
  one_read("flushed output", m, 100);
  type("\023");
  one_read("stopped", m, 100);
  type("\021");
  one_read("started", m, 100);
  struct termios t = base;
  t.c_iflag &= ~IXON;
  tcsetattr(s, TCSANOW, &t);
  one_read("no flow control", m, 100);
  tcsetattr(s, TCSANOW, &base);
  one_read("flow control", m, 100);
  t = base;
  t.c_lflag |= EXTPROC;
  tcsetattr(s, TCSANOW, &t);
  one_read("external processing", m, 100);
  tcsetattr(s, TCSANOW, &base);
  one_read("no external processing", m, 100);
  fcntl(m, F_SETFL, O_NONBLOCK);
  write(s, "abcdef", 6);
  one_read("three", m, 3);
  one_read("three more", m, 3);
  one_read("the last", m, 10);
  one_read("nothing", m, 10);
  on = 0;
  ioctl(m, TIOCPKT, &on);
  TRY(ioctl(s, TIOCPKT, &on));
  unpair();
}

static void queues(void) {
  say("-- queues");
  pair();
  struct termios t = base;
  cfmakeraw(&t);
  tcsetattr(s, TCSANOW, &t);
  fcntl(m, F_SETFL, O_NONBLOCK);
  fcntl(s, F_SETFL, O_NONBLOCK);
  memset(b, 'x', sizeof b);
  long n, total = 0;
  while ((n = write(s, b, 1000)) > 0) total += n;
  YES(total >= 4096 && total <= 70000 && errno == EAGAIN);
  long back = 0;
  for (int i = 0; i < 50 && back < total; i++) {
    while ((n = read(m, b, sizeof b)) > 0) back += n;
    sleep_ms(1);
  }
  YES(back == total);
  say("empty: %x", events(s));
  total = 0;
  while ((n = write(m, b, 1000)) > 0) total += n;
  sleep_ms(5);
  YES(total >= 4095 && errno == EAGAIN);
  int waiting = 0;
  ioctl(s, FIONREAD, &waiting);
  say("FIONREAD %d", waiting);
  tcflush(s, TCIFLUSH);
  /* A line longer than the buffer: what is too much is lost, the newline is not. */
  set(0, 0, 0, 0, 0, ECHO);
  for (int i = 0; i < 50; i++) {
    write(m, b, 100);
    sleep_ms(1);
  }
  write(m, "END\n", 4);
  sleep_ms(10);
  n = read(s, b, sizeof b);
  say("long line %ld, its end %02x %02x", n, n > 1 ? b[n - 2] : 0, n > 0 ? b[n - 1] : 0);
  ioctl(m, TIOCOUTQ, &waiting);
  say("TIOCOUTQ %d", waiting);
  unpair();
}

static void others(void) {
  say("-- other requests");
  m = NEED(posix_openpt(O_RDWR | O_NOCTTY));
  TRY(write(m, "early", 5));
  sleep_ms(20);
  say("before the slave: %x", events(m));
  int locked = -1;
  TRY(ioctl(m, TIOCGPTLCK, &locked));
  say("%d", locked);
  TRY(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
  unlockpt(m);
  int peer = NEED(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  say("FD_CLOEXEC %d", fcntl(peer, F_GETFD));
  YES(strcmp(ttyname(peer), ptsname(m)) == 0);
  s = peer;
  fcntl(s, F_SETFL, O_NONBLOCK);
  type("\n");
  one_read("typed early", s, 20);
  char name[64];
  strcpy(name, ptsname(m));
  TRY(ioctl(s, TIOCEXCL));
  int x = -1;
  TRY(ioctl(s, TIOCGEXCL, &x));
  say("%d", x);
  OK(open(name, O_RDWR | O_NOCTTY));
  TRY(ioctl(s, TIOCNXCL));
  int d = -1;
  TRY(ioctl(s, TIOCGETD, &d));
  say("%d", d);
  d = 77;
  TRY(ioctl(s, TIOCSETD, &d));
  TRY(ioctl(s, TIOCNOTTY));
  pid_t session;
  TRY(ioctl(s, TIOCGSID, &session));
  TRY(ioctl(m, TIOCGSID, &session));
  TRY(ioctl(s, TIOCMGET, &d));
  TRY(ioctl(s, 0x5499, &d));
  struct winsize ws = {10, 20, 30, 40}, got;
  TRY(ioctl(s, TIOCSWINSZ, &ws));
  TRY(ioctl(m, TIOCGWINSZ, &got));
  say("%d %d %d %d", got.ws_row, got.ws_col, got.ws_xpixel, got.ws_ypixel);
  struct termios t;
  tcgetattr(m, &t);
  say("through the master: lflag %o", t.c_lflag);
  cfsetspeed(&t, B115200);
  t.c_cflag = (t.c_cflag & ~CSIZE) | CS7 | PARENB;
  TRY(tcsetattr(s, TCSANOW, &t));
  tcgetattr(s, &t);
  say("speed %o cflag %o", cfgetospeed(&t), t.c_cflag);
  struct stat st;
  TRY(fchmod(s, 0600));
  TRY(fchown(s, 12, 34));
  stat(name, &st);
  say("mode %o owner %d %d", st.st_mode & 07777, st.st_uid, st.st_gid);
  TRY(unlink(name));
  TRY(mkdir("/dev/pts/x", 0700));
  TRY(ftruncate(s, 0));
  TRY(fsync(s));
  TRY(ioctl(m, TIOCSIG, 99));
  TRY(ioctl(m, TIOCSIG, SIGINT));
  close(s);
  say("slave closed: %x", events(m));
  TRY(write(m, "x", 1));
  TRY(read(m, b, 1));
  s = OK(open(name, O_RDWR | O_NOCTTY));
  say("opened again: %x", events(m));
  close(m);
  TRY(access(name, F_OK));
  TRY(open(name, O_RDWR));
  say("master closed: %x", events(s));
  TRY(ioctl(s, TIOCGWINSZ, &got));
  TRY(ioctl(s, FIONREAD, &d));
  close(s);
}

static void on_hup(int n) { (void)n; }

static void hangup(void) {
  say("-- controlling terminals");
  int p[2];
  char c;
  NEED(pipe(p));
  m = NEED(posix_openpt(O_RDWR | O_NOCTTY));
  unlockpt(m);
  char name[64];
  strcpy(name, ptsname(m));
  fflush(NULL);
  pid_t kid = fork();
  if (!kid) {
    setsid();
    OK(open("/dev/tty", O_RDWR));
    int quiet = OK(open(name, O_RDWR | O_NOCTTY));
    TRY(ioctl(quiet, TIOCGPGRP, &kid));
    _exit(0);
  }
  reap("O_NOCTTY", kid);
  kid = fork();
  if (!kid) {
    setsid();
    int wronly = OK(open(name, O_WRONLY));
    OK(open("/dev/tty", O_RDWR));
    int tty = OK(open(name, O_RDWR));
    YES(tcgetpgrp(tty) == getpid());
    OK(open("/dev/tty", O_RDWR));
    pid_t grandkid = fork();
    if (!grandkid) {
      TRY(ioctl(tty, TIOCSCTTY, 0));
      TRY(ioctl(tty, TIOCNOTTY));
      OK(open("/dev/tty", O_RDWR));
      _exit(0);
    }
    reap("child", grandkid);
    signal(SIGHUP, SIG_IGN);
    TRY(ioctl(tty, TIOCNOTTY));
    OK(open("/dev/tty", O_RDWR));
    TRY(ioctl(tty, TIOCSCTTY, 0));
    OK(open("/dev/tty", O_RDWR));
    handle(SIGHUP, on_hup, 0);
    handle(SIGCONT, on_hup, 0);
    signal(SIGHUP, SIG_IGN);
    write(p[1], "r", 1);
    close(m);
    for (int i = 0; i < 200 && !(events(tty) & POLLHUP); i++) sleep_ms(2);
    say("hung up: %x", events(tty));
    TRY(read(tty, b, 10));
    TRY(write(tty, "x", 1));
    TRY(write(wronly, "x", 1));
    TRY(tcgetpgrp(tty));
    TRY(isatty(tty));
    OK(open("/dev/tty", O_RDWR));
    OK(open(name, O_RDWR));
    _exit(0);
  }
  read(p[0], &c, 1);
  close(m);
  reap("master closed", kid);
}

int main(void) {
  begin_for(25);
  input_flags();
  editing();
  output_flags();
  end_of_file();
  timing();
  flow();
  packet();
  queues();
  others();
  hangup();
  return 0;
}
