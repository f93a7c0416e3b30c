/*
 * Enters the user, network, UTS and IPC namespaces of a process, then executes a program: PID PATH ARGV0 [ARG...].
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 *
 * For hooks of an ordinary user's container. Its command may enter them only by way of the user namespace, and that a
 * process with threads cannot. Ends with 125 when a namespace cannot be entered, 127 when there is no program.
 */
#include <asm/unistd.h>
#include <stddef.h>

static long call4(long nr, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}
static size_t length(const char *text)
{
	size_t n = 0;
	while (text[n])
		n++;
	return n;
}
static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}
__attribute__((noreturn)) static void end(const char *what, const char *name, int code)
{
	char line[512];
	append(append(append(line, what), length(name) < 256 ? name : "..."), "\n");
	call4(__NR_write, 2, (long)line, (long)length(line), 0);
	for (;;)
		call4(__NR_exit_group, code, 0, 0, 0);
}

__attribute__((used, noreturn)) static void enter(long *sp)
{
	static const char *const kinds[] = { "user", "net", "uts", "ipc" };
	long argc = sp[0], fds[4];
	char **argv = (char **)(sp + 1), **envp = argv + argc + 1;
	if (argc < 4 || length(argv[1]) > 20)
		end("usage: PID PATH ARGV0 [ARG...]", "", 125);
	for (int i = 0; i < 4; i++) {
		char path[64];
		append(append(append(append(path, "/proc/"), argv[1]), "/ns/"), kinds[i]);
		fds[i] = call4(__NR_openat, -100, (long)path, 0x80000 /* O_CLOEXEC */, 0);
		if (fds[i] < 0)
			end("cannot open ", path, 125);
	}
	for (int i = 0; i < 4; i++)
		if (call4(__NR_setns, fds[i], 0, 0, 0) < 0)
			end("cannot enter the sandbox's namespace: ", kinds[i], 125);
	call4(__NR_execve, (long)argv[2], (long)(argv + 3), (long)envp, 0);
	end("cannot execute ", argv[2], 127);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall enter\n\tud2\n");
