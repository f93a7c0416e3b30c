/*
 * What is in the image of a release that is restored by all later ones: pipes, sockets, timers, files in memory, processes that
 * wait. No libc: what that finds out about the processor would be in the memory of the image, and this one runs on any.
 *
 * It says what it finds after the restore, a line each; "resumed" when nothing was restored.
 */
#define SYS(n, ...) call(n, (long[6]){ __VA_ARGS__ })
enum { READ, WRITE, OPEN, CLOSE, POLL = 7, MMAP = 9, PIPE = 22, GETPID = 39, SOCKETPAIR = 53, FORK = 57, EXECVE = 59, EXIT = 60,
	WAIT4, KILL, MKDIR = 83, UNLINK = 87, MOUNT = 165, EPOLL_CTL = 233, TIMERFD_CREATE = 283, EVENTFD = 284,
	TIMERFD_SETTIME = 286, EPOLL_CREATE = 213, EPOLL_WAIT = 232, CLOCK_GETTIME = 228, LSEEK = 8, RT_SIGACTION = 13, SENDFILE = 40 };

static long call(long n, const long *a)
{
	register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
static long length(const char *s)
{
	long n = 0;
	while (s[n])
		n++;
	return n;
}
static void say(const char *text) { SYS(WRITE, 1, (long)text, length(text)); }
static void die(const char *text)
{
	say("wrong: ");
	say(text);
	say("\n");
	SYS(EXIT, 1);
}
static void need(int true_, const char *what)
{
	if (!true_)
		die(what);
}
static int same(const char *a, const char *b, long n)
{
	while (n-- > 0)
		if (*a++ != *b++)
			return 0;
	return 1;
}
static void expect(int fd, const char *text)
{
	char got[64];
	long n = SYS(READ, fd, (long)got, sizeof got);
	need(n == length(text) && same(got, text, n), text);
}
static void put(int fd, const char *text) { need(SYS(WRITE, fd, (long)text, length(text)) == length(text), text); }
static long now(void)
{
	long t[2];
	need(SYS(CLOCK_GETTIME, 1, (long)t) == 0, "clock");
	return t[0] * 1000 + t[1] / 1000000;
}

/* It goes on as a copy in memory, so that nothing of the host's is open. */
static void move(char **env)
{
	long from = SYS(OPEN, (long)"/proc/self/exe", 0), to = SYS(OPEN, (long)"/saved", 0101, 0755);
	need(from >= 0 && to >= 0, "copy");
	need(SYS(SENDFILE, to, from, 0, 1 << 20) > 0, "sendfile");
	SYS(CLOSE, from);
	SYS(CLOSE, to);
	SYS(EXECVE, (long)"/saved", (long)(char *[]){ "/saved", "go", 0 }, (long)env);
	die("execve");
}

static char zeros[8192], filled[8192];

static void work(void)
{
	int pipe[2], back[2], pair[2];
	need(SYS(PIPE, (long)pipe) == 0 && SYS(PIPE, (long)back) == 0, "pipe");
	need(SYS(SOCKETPAIR, 1, 5, 0, (long)pair) == 0, "socketpair");
	put(pipe[1], "in the pipe");
	put(pair[0], "one message");
	put(pair[0], "and another");
	long child = SYS(FORK);
	if (child == 0) {
		/* Blocked while it is saved. */
		expect(back[0], "for the child");
		SYS(EXIT, 7);
	}
	long event = SYS(EVENTFD, 5, 0), timer = SYS(TIMERFD_CREATE, 1, 0), epoll = SYS(EPOLL_CREATE, 1);
	need(SYS(TIMERFD_SETTIME, timer, 0, (long)(long[4]){ 0, 0, 0, 200000000 }, 0) == 0, "timer");
	struct __attribute__((packed)) { unsigned events; long data; } interest = { 1, 77 }, ready[4];
	need(SYS(EPOLL_CTL, epoll, 1, timer, (long)&interest) == 0, "epoll");
	long begun = now();
	SYS(MKDIR, (long)"/memory", 0755);
	need(SYS(MOUNT, (long)"none", (long)"/memory", (long)"tmpfs", 0, 0) == 0, "mount");
	long kept = SYS(OPEN, (long)"/memory/kept", 0102, 0644), gone = SYS(OPEN, (long)"/memory/gone", 0102, 0644);
	put(kept, "kept in memory");
	put(gone, "gone by name");
	SYS(UNLINK, (long)"/memory/gone");
	char *shared = (char *)SYS(MMAP, 0, 4096, 3, 0x21, -1, 0);
	shared[9] = 9;
	for (int i = 0; i < 8192; i++)
		filled[i] = (char)(i * 7);

	long save = SYS(OPEN, (long)"/proc/runts/checkpoint", 2);
	need(save >= 0, "/proc/runts/checkpoint");
	put(save, "save\n");
	char how[32];
	SYS(LSEEK, save, 0, 0);
	long n = SYS(READ, save, (long)how, sizeof how);
	SYS(CLOSE, save);
	if (n == 8 && same(how, "resumed\n", 8)) {
		say("resumed\n");
		SYS(KILL, child, 9);
		SYS(EXIT, 0);
	}
	need(n == 9 && same(how, "restored\n", 9), "restored");
	say("restored\n");
	for (int i = 0; i < 8192; i++)
		need(zeros[i] == 0 && filled[i] == (char)(i * 7), "memory");
	need(shared[9] == 9, "shared memory");
	expect(pipe[0], "in the pipe");
	expect(pair[1], "one message");
	expect(pair[1], "and another");
	say("pipe and sockets\n");
	SYS(LSEEK, kept, 0, 0);
	SYS(LSEEK, gone, 5, 0);
	expect(kept, "kept in memory");
	expect(gone, "by name");
	long again = SYS(OPEN, (long)"/memory/kept", 0);
	expect(again, "kept in memory");
	say("files\n");
	unsigned long count = 0;
	need(SYS(READ, event, (long)&count, 8) == 8 && count == 5, "eventfd");
	need(SYS(EPOLL_WAIT, epoll, (long)ready, 4, 20000) == 1 && ready[0].data == 77, "epoll");
	long took = now() - begun;
	need(took >= 200, "the timer was early");
	say("timer\n");
	int status = 0;
	put(back[1], "for the child");
	need(SYS(WAIT4, child, (long)&status, 0, 0) == child && status == 7 << 8, "child");
	say("child\n");
	SYS(EXIT, 0);
}

__attribute__((used)) static void begin(long *stack)
{
	char **argv = (char **)(stack + 1);
	if (stack[0] == 1)
		move(argv + stack[0] + 1);
	work();
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
