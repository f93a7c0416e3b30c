/*
 * Programs that are none: copies of this one, of a dynamic one and of scripts, with bytes changed, are executed.
 *
 *   images SEED FIRST LAST COUNT [STEPS]   and   images list SEED BATCH COUNT [STEPS], as calls.c
 */
#include "frame.h"

static unsigned char self[4 << 20];
static size_t self_size;
static unsigned char dynamic[65536 * 4];
static size_t dynamic_size;

static size_t slurp(const char *path, unsigned char *to, size_t room)
{
	int f = open(path, O_RDONLY);
	size_t got = 0;
	for (ssize_t n; f >= 0 && got < room && (n = read(f, to + got, room - got)) > 0;)
		got += (size_t)n;
	close(f);
	return got;
}

static const u64 values[] = {
	0, 1, 2, 3, 4, 7, 8, 55, 56, 57, 63, 64, 255, 4095, 4096, 4097, 65535, 65536, 0x200000, 0x400000, 0x7fffffff, 0x80000000,
	0xffffffff, 0x7fdffffff000, 0x7fe000000000, 0x7fe200000000, 0x7ffffffff000, 0x800000000000, 0x1fffffffffffff,
	0x20000000000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff,
};

/* Changes headers: some bytes or words of the first, or of program headers. */
static void spoil(unsigned char *p, struct rng *r, int listing)
{
	for (u32 k = 1 + below(r, 3); k > 0; k--) {
		u32 at = one_in(r, 3) ? below(r, 64) : 64 + 56 * below(r, 10) + 8 * below(r, 7);
		if (one_in(r, 2)) {
			at &= ~7u;
			u64 v = values[below(r, sizeof values / sizeof values[0])];
			memcpy(p + at, &v, 8);
			if (listing)
				printf(" word %u = 0x%lx", at, v);
		} else {
			p[at] = (unsigned char)next(r);
			if (listing)
				printf(" byte %u = 0x%x", at, p[at]);
		}
	}
}

static size_t make_script(char *text, size_t room, struct rng *r, int listing)
{
	static const char *lines[] = {
		"#!/bin/sh\nexit 0\n", "#!/bin/sh", "#!", "#!\n", "#! \t\n", "#!/bin/sh -e x y z\n", "#!/tmp/fuzz-image\n", "#!.\n", "#!/\n",
		"#!/dev/null\n", "#!/proc/self/exe\n", "#!/proc/self/fd/3\n", "#!\xff\xfe\n", "#!/bin/\n", "#!/etc/passwd\n", "\x7f" "ELF", "",
	};
	const char *line = lines[below(r, sizeof lines / sizeof lines[0])];
	size_t n = strlen(line);
	memcpy(text, line, n);
	if (one_in(r, 4)) {
		u32 more = below(r, 2) ? 250 + below(r, 10) : below(r, 5000);
		memset(text, 'a', n + more < room ? n + more : room);
		memcpy(text, "#!/", 3);
		n += more;
	}
	if (n && one_in(r, 6))
		text[below(r, (u32)n)] = 0;
	if (listing)
		printf(" script of %zu bytes, \"%.20s\"", n, text);
	return n;
}

static void run_step(u64 seed, struct step s, int listing)
{
	struct rng r = rng_of(seed, s.index);
	static unsigned char image[sizeof self];
	size_t n;
	u32 kind = below(&r, 5);
	if (listing)
		printf("/* %3u */", s.index);
	if (kind == 0)
		n = make_script((char *)image, 8192, &r, listing);
	else {
		const unsigned char *from = kind < 3 ? self : dynamic;
		n = kind < 3 ? self_size : dynamic_size;
		memcpy(image, from, n);
		if (listing)
			printf(kind < 3 ? " static:" : " dynamic:");
		spoil(image, &r, listing);
		if (one_in(&r, 12)) {
			n = below(&r, one_in(&r, 2) ? 1024 : (u32)n);
			if (listing)
				printf(" cut to %zu bytes", n);
		}
	}
	if (listing) {
		printf("\n");
		return;
	}
	char name[64];
	snprintf(name, sizeof name, "/tmp/fuzz-image");
	unlink(name);
	int f = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	(void)!write(f, image, n);
	close(f);
	pid_t child = fork();
	if (child == 0) {
		char *argv[] = { (char *)"image", (char *)"again", 0 }, *envp[] = { (char *)"A=B", 0 };
		struct rlimit space = { 1ul << 31, 1ul << 31 };
		setrlimit(RLIMIT_AS, &space);
		close_range(0, ~0u, 0);
		execve(name, argv, envp);
		_exit(1);
	}
	/* What has been started may do anything; it gets a while. */
	for (int k = 0; child > 0 && k < 100; k++) {
		if (waitpid(child, 0, WNOHANG) == child)
			return;
		struct timespec pause = { 0, 1000000 };
		nanosleep(&pause, 0);
	}
	kill(child, SIGKILL);
	waitpid(child, 0, 0);
}

static void batch(u64 seed)
{
	for (u32 i = 0; i < nsteps; i++) {
		shared->at[0] = steps[i].index;
		__atomic_add_fetch(&shared->made, 1, __ATOMIC_RELAXED);
		run_step(seed, steps[i], 0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return 0;
	int listing = argc > 1 && strcmp(argv[1], "list") == 0;
	if (argc < 5)
		return 2;
	char **a = argv + 1 + listing;
	u64 seed = strtoul(a[0], 0, 10);
	u32 first = (u32)strtoul(a[1], 0, 10), count = (u32)strtoul(argv[4], 0, 10);
	choose_steps(argc > 5 ? argv[5] : "", count);
	self_size = slurp("/proc/self/exe", self, sizeof self);
	dynamic_size = slurp("/bin/true", dynamic, sizeof dynamic);
	if (!listing)
		supervise(seed, first, (u32)strtoul(a[2], 0, 10), 1000, batch);
	for (u32 i = 0; i < nsteps; i++)
		run_step(mix(seed) ^ mix(first), steps[i], 1);
	return 0;
}
