/*
 * The program of a pod's sandbox container: it holds what the containers share, and reaps what they leave to it. It
 * ends on TERM and INT, as that of Kubernetes does.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal __attribute__((unused)))
{
	_exit(0);
}

static void reap(int signal __attribute__((unused)))
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int main(void)
{
	struct sigaction action = { .sa_handler = end };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	action.sa_handler = reap;
	action.sa_flags = SA_NOCLDSTOP;
	sigaction(SIGCHLD, &action, NULL);
	for (;;)
		pause();
}
