/*
 * Looking into a process that stands still: which of its pages are its own, and what they hold. And what the processor has
 * that programs may have come to rely on.
 *
 * Answers come from the host kernel alone, about a process whose id is known to be taken; nothing here waits for it.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096ull

/* PAGEMAP_SCAN (Linux 6.7): Documentation/admin-guide/mm/pagemap.rst. Declared here for older headers. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan_arg)
#define IS_FILE (1u << 2)
#define IS_PRESENT (1u << 3)
#define IS_SWAPPED (1u << 4)
#define IS_ZERO (1u << 5)
#define REGIONS_MAX 1024
static int no_scan;

/* Entries of /proc/PID/pagemap. */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)
#define ENTRY_GUARD (1ull << 58)
#define ENTRIES_MAX 8192

/* Puts [start, end) to the pairs in out, joined to the last one where they touch. 0: there is no room. */
static int put(double *out, int *n, int max, uint64_t start, uint64_t end)
{
	if (*n > 0 && out[2 * *n - 1] == (double)start) {
		out[2 * *n - 1] = (double)end;
		return 1;
	}
	if (*n == max)
		return 0;
	out[2 * *n] = (double)start;
	out[2 * *n + 1] = (double)end;
	++*n;
	return 1;
}
static int by_scan(int pagemap, uint64_t start, uint64_t end, double *out, int max, uint64_t *next)
{
	static struct scan_region regions[REGIONS_MAX];
	int n = 0;
	while (start < end) {
		struct scan_arg arg = {
			.size = sizeof arg,
			.start = start,
			.end = end,
			.vec = (uintptr_t)regions,
			.vec_len = REGIONS_MAX,
			.category_inverted = IS_FILE | IS_ZERO,
			.category_mask = IS_FILE | IS_ZERO,
			.category_anyof_mask = IS_PRESENT | IS_SWAPPED,
			.return_mask = IS_PRESENT,
		};
		long found = ioctl(pagemap, SCAN, &arg);
		if (found < 0)
			return errno == EINTR ? 0 : -errno;
		if (found > REGIONS_MAX)
			return -EIO;
		for (long i = 0; i < found; i++)
			if (!put(out, &n, max, regions[i].start, regions[i].end)) {
				*next = regions[i].start;
				return n;
			}
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	*next = end;
	return n;
}
static int by_entries(int pagemap, uint64_t start, uint64_t end, double *out, int max, uint64_t *next)
{
	static uint64_t entries[ENTRIES_MAX];
	int n = 0;
	while (start < end) {
		uint64_t want = (end - start) / PAGE;
		if (want > ENTRIES_MAX)
			want = ENTRIES_MAX;
		ssize_t got = pread(pagemap, entries, want * 8, (off_t)(start / PAGE * 8));
		if (got < 0)
			return -errno;
		if (got < 8)
			break;
		for (ssize_t i = 0; i < got / 8; i++) {
			uint64_t at = start + (uint64_t)i * PAGE;
			if (!(entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) || entries[i] & (ENTRY_FILE | ENTRY_GUARD))
				continue;
			if (!put(out, &n, max, at, at + PAGE)) {
				*next = at;
				return n;
			}
		}
		start += (uint64_t)(got / 8) * PAGE;
	}
	*next = end;
	return n;
}
/*
 * Pages of [start, end) that are private to a process: anonymous ones, copies of pages of files, those of them that are
 * swapped out. `pagemap`: its open /proc/PID/pagemap. `out` gets up to `max` pairs of start and end, `next` where to go on.
 * The number of pairs, or -errno.
 */
int sn_changed(int pagemap, double start, double end, double *out, int max, double *next)
{
	uint64_t from = (uint64_t)start, at = from;
	int n = no_scan ? -ENOTTY : by_scan(pagemap, from, (uint64_t)end, out, max, &at);
	if (n == -ENOTTY || n == -EINVAL || n == -EPERM) {
		no_scan = 1;
		n = by_entries(pagemap, from, (uint64_t)end, out, max, &at);
	}
	*next = (double)at;
	return n;
}
/* For tests: as on a host without PAGEMAP_SCAN. */
int sn_without_scan(int without)
{
	no_scan = without;
	return 0;
}

/*
 * Reads memory of process `pid`; what process_vm_readv refuses, since its pages are not for reading, by its open /proc/PID/mem
 * (-1: not to be had). Bytes read, short at a bad page, or -errno.
 */
#define BY_FILE (1ull << 20)
static long read_memory(int pid, int mem, uint64_t addr, uint8_t *to, uint64_t n)
{
	uint64_t done = 0;
	while (done < n) {
		struct iovec l = { to + done, n - done }, m = { (void *)(addr + done), n - done };
		long r = syscall(SYS_process_vm_readv, pid, &l, 1, &m, 1, 0);
		if (r < 0 && errno != EFAULT)
			return done > 0 ? (long)done : -errno;
		if (r > 0)
			done += (uint64_t)r;
		if (done == n || mem < 0)
			break;
		/* Some of it, then the quick way again. */
		uint64_t part = n - done < BY_FILE ? n - done : BY_FILE;
		r = pread(mem, to + done, part, (off_t)(addr + done));
		if (r <= 0)
			break;
		done += (uint64_t)r;
	}
	return done > 0 || n == 0 ? (long)done : -EFAULT;
}
double sn_read(int pid, int mem, double addr, uint8_t *to, double n) { return (double)read_memory(pid, mem, (uint64_t)addr, to, (uint64_t)n); }

/*
 * Copies memory to a file, which has only holes there: pages of zeros are left out. Pages that cannot be read are too.
 * Bytes covered (n, unless the file cannot be written), or -errno.
 */
#define CHUNK (1ull << 20)
double sn_copy(int pid, int mem, double addr, double n, int fd, double offset)
{
	static uint8_t chunk[CHUNK] __attribute__((aligned(4096)));
	uint64_t from = (uint64_t)addr, left = (uint64_t)n, to = (uint64_t)offset, covered = 0;
	while (left > 0) {
		uint64_t want = left < CHUNK ? left : CHUNK;
		long got = read_memory(pid, mem, from, chunk, want);
		if (got == -ESRCH || got == -EPERM)
			return (double)got;
		uint64_t have = got > 0 ? (uint64_t)got : 0;
		if (have < want) {
			/* Up to the end of the page that could not be read. */
			uint64_t bad = PAGE - (from + have) % PAGE;
			if (bad > want - have)
				bad = want - have;
			memset(chunk + have, 0, bad);
			want = have + bad;
		}
		for (uint64_t at = 0; at < want;) {
			/* A run of pages that hold something. */
			uint64_t end = at;
			while (end < want) {
				uint64_t size = want - end < PAGE ? want - end : PAGE;
				if (chunk[end] == 0 && memcmp(chunk + end, chunk + end + 1, size - 1) == 0)
					break;
				end += size;
			}
			for (uint64_t done = at; done < end;) {
				ssize_t wrote = pwrite(fd, chunk + done, end - done, (off_t)(to + done));
				if (wrote <= 0)
					return wrote < 0 ? -errno : -EIO;
				done += (uint64_t)wrote;
			}
			at = end + PAGE;
		}
		from += want, to += want, left -= want, covered += want;
	}
	return (double)covered;
}

/*
 * What CPUID says that decides which instructions programs choose. out: EAX, EBX, ECX, EDX of leaf 1, of leaf 7.0, of 7.1,
 * of 0x80000001, EAX of 0xd.1, then XCR0 in two words; what the processor has not is 0. Words of 32 bits.
 */
#define WORDS 19
int sn_cpuid(uint32_t *out)
{
	static const uint32_t leaves[][2] = { { 1, 0 }, { 7, 0 }, { 7, 1 }, { 0x80000001, 0 } };
	uint32_t a, b, c, d;
	memset(out, 0, WORDS * 4);
	for (int i = 0; i < 4; i++)
		if (__get_cpuid_count(leaves[i][0], leaves[i][1], &a, &b, &c, &d)) {
			/* Leaf 7.1 is there if 7.0 says so. */
			uint32_t most, rest[3];
			if (leaves[i][1] == 1 && (!__get_cpuid_count(7, 0, &most, &rest[0], &rest[1], &rest[2]) || most < 1))
				continue;
			out[4 * i] = a, out[4 * i + 1] = b, out[4 * i + 2] = c, out[4 * i + 3] = d;
		}
	/* OSXSAVE */
	if (!(out[2] >> 27 & 1))
		return 0;
	if (__get_cpuid_count(13, 1, &a, &b, &c, &d))
		out[16] = a;
	__asm__("xgetbv" : "=a"(out[17]), "=d"(out[18]) : "c"(0));
	return 0;
}
/* Where a component of extended state lies in an XSAVE area. out: offset, size. 0, or -ENOENT. */
int sn_component(int component, uint32_t *out)
{
	uint32_t a, b, c, d;
	if (!__get_cpuid_count(13, (uint32_t)component, &a, &b, &c, &d) || a == 0)
		return -ENOENT;
	out[0] = b;
	out[1] = a;
	return 0;
}
