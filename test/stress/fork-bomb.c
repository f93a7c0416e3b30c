/* A fork bomb: every process forks until it is refused. Ends with EAGAIN; those who were made stay until the end. */
#include "../guest/guest.h"

int main(void) {
  guest_pid = getpid();
  alarm(110);
  struct shared { volatile int made, refused, error, over; } *s = NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t first = fork();
  if (first == 0) {
    setpgid(0, 0);
    alarm(50);
    while (!s->over) {
      pid_t pid = fork();
      if (pid > 0) {
        __atomic_fetch_add(&s->made, 1, __ATOMIC_SEQ_CST);
      } else if (pid < 0) {
        s->error = errno;
        __atomic_fetch_add(&s->refused, 1, __ATOMIC_SEQ_CST);
        usleep(200000);
      }
    }
    _exit(0);
  }
  setpgid(first, first);
  for (int i = 0; i < 400 && s->refused < 20; i++) sleep_ms(100);
  say("refused %s with %s", s->refused ? "yes" : "no", s->error ? errno_name(s->error) : "nothing");
  s->over = 1;
  kill(-first, SIGKILL);
  while (waitpid(first, NULL, 0) < 0 && errno == EINTR) {}
  pid_t pid = -1;
  for (int i = 0; i < 800 && pid < 0; i++) { /* room again as soon as they are gone: the host needs seconds when it is busy */
    pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0) sleep_ms(50);
  }
  say("afterwards fork %s", pid > 0 ? "works" : errno_name(errno));
  return 0;
}
