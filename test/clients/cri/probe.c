/*
 * What containers of a pod do to each other through files and sockets that they share, where busybox has no command for
 * it. Each says what it has seen, a line at once.
 *
 *   probe lock FILE             takes a lock (flock) and holds it: "locked", or "busy" and 1
 *   probe watch DIR             names of files that are made, written or deleted there, as inotify tells them
 *   probe map FILE              maps the first byte, shared, and tells each change of it
 *   probe abstract-listen NAME  an abstract socket; sends back what comes first
 *   probe abstract-say NAME TEXT
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 2;
}

static int lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0666);

	if (fd < 0)
		return failed(path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		printf("%s\n", errno == EWOULDBLOCK ? "busy" : strerror(errno));
		return 1;
	}
	puts("locked");
	for (;;)
		pause();
}

static int watch(const char *path)
{
	char buffer[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(0);

	if (inotify_add_watch(fd, path, IN_CREATE | IN_CLOSE_WRITE | IN_DELETE) < 0)
		return failed(path);
	puts("watching");
	for (;;) {
		ssize_t size = read(fd, buffer, sizeof buffer);
		if (size <= 0)
			return failed("read");
		for (char *at = buffer; at < buffer + size;) {
			struct inotify_event *event = (struct inotify_event *)at;
			const char *what = event->mask & IN_CREATE ? "made" : event->mask & IN_DELETE ? "deleted" : "written";
			printf("%s %s\n", what, event->name);
			at += sizeof *event + event->len;
		}
	}
}

static int map(const char *path)
{
	int fd = open(path, O_RDWR);
	volatile char *byte = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char last;

	if (byte == MAP_FAILED)
		return failed(path);
	for (last = *byte, printf("%c\n", last);; usleep(10000))
		if (*byte != last)
			printf("%c\n", last = *byte);
}

static int abstract(const char *name, const char *text)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char buffer[100];
	ssize_t size;

	strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
	if (text == NULL) {
		if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 1) < 0)
			return failed("bind");
		puts("listening");
		fd = accept(fd, NULL, NULL);
		size = read(fd, buffer, sizeof buffer);
		return size > 0 && write(fd, buffer, size) == size ? 0 : failed("echo");
	}
	if (connect(fd, (struct sockaddr *)&address, length) < 0)
		return failed("connect");
	if (write(fd, text, strlen(text)) < 0 || (size = read(fd, buffer, sizeof buffer)) < 0)
		return failed("echo");
	printf("%.*s\n", (int)size, buffer);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "lock"))
		return lock(argv[2]);
	if (!strcmp(what, "watch"))
		return watch(argv[2]);
	if (!strcmp(what, "map"))
		return map(argv[2]);
	if (!strcmp(what, "abstract-listen"))
		return abstract(argv[2], NULL);
	if (!strcmp(what, "abstract-say") && argc > 3)
		return abstract(argv[2], argv[3]);
	fputs("probe: what?\n", stderr);
	return 64;
}
