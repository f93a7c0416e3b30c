/* The first process of the pod: it does nothing. */
#include <signal.h>
#include <unistd.h>

int main(void) {
  signal(SIGCHLD, SIG_IGN);
  for (;;) pause();
}
