/* Job control: foreground and background groups, SIGTTIN, SIGTTOU, orphaned groups, the leader's exit, fg and bg. */
#include "guest.h"
#include <pty.h>
#include <termios.h>

static int m, s;

static void shell(void) {
  setsid();
  NEED(ioctl(s, TIOCSCTTY, 0));
  dup2(s, 0);
  pid_t me = getpid();
  int status;
  YES(tcgetpgrp(0) == me);

  say("-- a background reader stops");
  pid_t job = fork();
  if (!job) {
    setpgid(0, 0);
    char c;
    ssize_t n = read(0, &c, 1);
    _exit(n == 1 ? c : 99);
  }
  setpgid(job, job);
  waitpid(job, &status, WUNTRACED);
  say_status("reader", status);
  signal(SIGTTOU, SIG_IGN);
  TRY(tcsetpgrp(0, job));
  YES(tcgetpgrp(0) == job);
  kill(-job, SIGCONT);
  write(m, "A\n", 2);
  waitpid(job, &status, WUNTRACED);
  say_status("in the foreground it reads", status);
  TRY(tcsetpgrp(0, me));
  tcflush(0, TCIFLUSH);

  say("-- a background writer");
  for (int tostop = 0; tostop < 2; tostop++) {
    struct termios t;
    tcgetattr(0, &t);
    t.c_lflag = tostop ? t.c_lflag | TOSTOP : t.c_lflag & ~TOSTOP;
    tcsetattr(0, TCSANOW, &t);
    job = fork();
    if (!job) {
      signal(SIGTTOU, SIG_DFL);
      setpgid(0, 0);
      _exit(write(0, "w", 1) == 1 ? 0 : errno);
    }
    waitpid(job, &status, WUNTRACED);
    say_status(tostop ? "with TOSTOP" : "without TOSTOP", status);
    if (WIFSTOPPED(status)) kill(job, SIGKILL), waitpid(job, &status, 0);
  }
  job = fork();
  if (!job) {
    signal(SIGTTOU, SIG_DFL);
    setpgid(0, 0);
    struct termios t;
    tcgetattr(0, &t);
    tcsetattr(0, TCSANOW, &t);
    _exit(5);
  }
  waitpid(job, &status, WUNTRACED);
  say_status("tcsetattr from the background", status);
  kill(job, SIGKILL);
  waitpid(job, &status, 0);
  job = fork();
  if (!job) {
    signal(SIGTTIN, SIG_IGN);
    setpgid(0, 0);
    char c;
    _exit(read(0, &c, 1) < 0 ? errno : 0);
  }
  waitpid(job, &status, WUNTRACED);
  say("reading with SIGTTIN ignored: %s", errno_name(WEXITSTATUS(status)));

  say("-- Ctrl-Z, then fg");
  job = fork();
  if (!job) {
    setpgid(0, 0);
    for (int i = 0; i < 1000 && tcgetpgrp(0) != getpid(); i++) sleep_ms(1);
    signal(SIGINT, SIG_DFL);
    raise(SIGSTOP);
    for (;;) pause();
  }
  setpgid(job, job);
  tcsetpgrp(0, job);
  waitpid(job, &status, WUNTRACED);
  kill(job, SIGCONT);
  until_blocked(job, job);
  write(m, "\x1a", 1);
  waitpid(job, &status, WUNTRACED);
  say_status("Ctrl-Z", status);
  YES(task_state(job, job) == 'T');
  tcsetpgrp(0, me);
  tcsetpgrp(0, job);
  kill(-job, SIGCONT);
  waitpid(job, &status, WCONTINUED);
  say_status("fg", status);
  until_blocked(job, job);
  write(m, "\x03", 1);
  waitpid(job, &status, WUNTRACED);
  say_status("Ctrl-C", status);
  tcsetpgrp(0, me);

  say("-- errors");
  TRY(tcsetpgrp(0, 99999999));
  TRY(tcsetpgrp(0, -1));
  pid_t parent = getppid();
  TRY(tcsetpgrp(0, getpgid(parent)));
  TRY(ioctl(0, TIOCSCTTY, 0));
  TRY(ioctl(0, TIOCSPGRP, BAD));

  say("-- the session leader goes: the foreground group gets a hang-up");
  int p[2];
  NEED(pipe(p));
  job = fork();
  if (!job) {
    setpgid(0, 0);
    write(p[1], "r", 1);
    for (;;) pause();
  }
  setpgid(job, job);
  tcsetpgrp(0, job);
  char c;
  read(p[0], &c, 1);
  pid_t watcher = fork();
  if (!watcher) { /* outlives the leader, in a background group */
    setpgid(0, 0);
    signal(SIGHUP, SIG_IGN);
    for (int i = 0; i < 3000 && kill(job, 0) == 0 && task_state(job, job) != 'Z'; i++) sleep_ms(1);
    say("foreground job %s", kill(job, 0) && errno == ESRCH ? "gone" : task_state(job, job) == 'Z' ? "gone" : "lives");
    int e = open("/dev/tty", O_RDWR) < 0 ? errno : 0;
    say("/dev/tty: %s", errno_name(e));
    char b[4];
    fcntl(0, F_SETFL, O_NONBLOCK);
    ssize_t n = read(0, b, 4);
    say("read: %s", n < 0 ? errno_name(errno) : n == 0 ? "end" : "data");
    write(49, "d", 1);
    _exit(0);
  }
  setpgid(watcher, watcher);
  signal(SIGINT, SIG_IGN);
  _exit(7);
}

int main(void) {
  begin();
  int done[2];
  NEED(pipe(done));
  dup2(done[1], 49);
  NEED(openpty(&m, &s, NULL, NULL, NULL));
  pid_t pid = fork();
  if (!pid) {
    signal(SIGINT, SIG_IGN);
    shell();
  }
  int status;
  waitpid(pid, &status, 0);
  char c;
  read(done[0], &c, 1);
  say_status("shell", status);

  say("-- an orphaned stopped group gets SIGHUP and SIGCONT");
  int p[2];
  NEED(pipe(p));
  pid = fork();
  if (!pid) {
    setsid();
    pid_t kid = fork();
    if (!kid) {
      setpgid(0, 0);
      signal(SIGHUP, SIG_DFL);
      raise(SIGSTOP);
      _exit(0);
    }
    waitpid(kid, &status, WUNTRACED);
    write(p[1], &kid, sizeof kid);
    _exit(0);
  }
  pid_t kid;
  read(p[0], &kid, sizeof kid);
  reap("father", pid);
  int gone = 0;
  for (int i = 0; i < 3000 && !gone; i++, sleep_ms(1)) {
    char state = task_state(kid, kid);
    gone = state == '?' || state == 'Z';
  }
  say("orphan %s", gone ? "was ended" : "stays");

  say("-- in an orphaned group the terminal's stop signals do nothing");
  pid = fork();
  if (!pid) {
    setsid();
    raise(SIGTSTP);
    raise(SIGTTIN);
    _exit(3);
  }
  reap("orphan", pid);
  return 0;
}
