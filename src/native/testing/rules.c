/*
 * broker-rules.h at the end of a pipe, for broker-rules.test.ts: a command a line, an answer a line. An ordinary
 * program, so that a compiler's sanitizers look on.
 *
 *   load HEX                      result of rules_load
 *   egress PROTOCOL ADDRESS PORT  verdict and rule
 *   wait PROTOCOL ADDRESS PORT    the same when it is no longer VERDICT_LATER, meanwhile serving the sockets
 *   publish PROTOCOL ADDRESS PORT yes or no, and where then; listen and resolver: yes or no
 *   learn HEX                     "ok"
 *   pass MS                       lets time pass; "ok"
 *   flags                         restricted, raw
 *   descriptors                   how many there are to wait for
 *   corpus HEX                    what the next two change; "ok"
 *   fuzz-rules N SEED             "ok", or what was allowed and should not have been
 *   fuzz-replies N SEED           the same; with the rules that are loaded
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../broker-rules.h"

static unsigned long long passed;
static unsigned long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000 + passed;
}
static struct place to_place(const char *address, const char *port)
{
	struct place p = { strchr(address, ':') ? FAMILY_INET6 : FAMILY_INET, (uint16_t)atoi(port), 0, { 0 } };
	char plain[INET6_ADDRSTRLEN] = "";
	sscanf(address, "%45[^%]%%%u", plain, &p.scope);
	if (inet_pton(p.family == FAMILY_INET ? AF_INET : AF_INET6, plain, p.ip) != 1) {
		fprintf(stderr, "no address: %s\n", address);
		exit(2);
	}
	return p;
}
/* Of exactly its size, so that a sanitizer sees what reads on behind its end. */
static uint8_t *copy_of(const void *from, unsigned size)
{
	uint8_t *to = malloc(size ? size : 1);
	memcpy(to, from, size);
	return to;
}
static uint8_t *from_hex(const char *text, unsigned *size)
{
	*size = (unsigned)strlen(text) / 2;
	uint8_t *out = malloc(*size ? *size : 1);
	for (unsigned i = 0; i < *size; i++) {
		unsigned byte;
		sscanf(text + 2 * i, "%2x", &byte);
		out[i] = (uint8_t)byte;
	}
	return out;
}

/* One turn of waiting, as a broker does it. */
static void serve(int at_most)
{
	struct pollfd_ fds[RULES_POLLFDS];
	int wait = rules_tick(now()), n = rules_pollfds(fds);
	if (wait < 0 || wait > at_most)
		wait = at_most;
	if (poll((struct pollfd *)fds, (nfds_t)n, wait) > 0)
		for (int i = 0; i < n; i++)
			if (fds[i].revents)
				rules_readable(fds[i].fd, now());
	rules_tick(now());
}

enum { CORPUS = 64, FUZZ_MAX = 70000 };
static uint8_t *corpus[CORPUS];
static unsigned corpus_size[CORPUS], corpus_count;
static uint64_t seed;
static unsigned roll(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 11) % n);
}
/* A changed one of the corpus: bits, bytes that mean something, pieces left out, doubled, or from another one. */
static uint8_t *mutate(unsigned *size)
{
	static uint8_t work[FUZZ_MAX];
	static const uint8_t telling[] = { 0, 1, 2, 4, 5, 6, 12, 16, 17, 28, 32, 63, 64, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xff };
	unsigned from = roll(corpus_count), n = corpus_size[from];
	memcpy(work, corpus[from], n);
	for (unsigned changes = roll(6); changes > 0 && n > 0; changes--) {
		unsigned at = roll(n), length = 1 + roll(n - at < 32 ? n - at : 32);
		const uint8_t *other;
		switch (roll(7)) {
		case 0:
			work[at] ^= (uint8_t)(1 << roll(8));
			break;
		case 1:
			work[at] = telling[roll(sizeof telling)];
			break;
		case 2:
			work[at] = (uint8_t)roll(256);
			break;
		case 3:
			memmove(work + at, work + at + length, n - at - length);
			n -= length;
			break;
		case 4:
			if (n + length > 4096)
				break;
			memmove(work + at + length, work + at, n - at);
			n += length;
			break;
		case 5:
			n = at;
			break;
		default:
			from = roll(corpus_count);
			other = corpus[from];
			for (unsigned i = 0; i < length && at + i < corpus_size[from]; i++)
				work[at + i] = other[at + i];
		}
	}
	*size = n;
	return copy_of(work, n);
}

static const char *const probes[] = {
	"0.0.0.0",     "127.0.0.1",	"127.9.9.9",	   "169.254.169.254", "169.254.1.1",	"100.100.100.200", "10.0.0.1",
	"10.1.2.3",    "192.0.2.1",	"192.0.2.2",	   "198.51.100.7",    "203.0.113.9",	"224.0.0.1",	   "255.255.255.255",
	"::",	       "::1",		"::ffff:10.0.0.1", "::ffff:0.0.0.0",  "2001:db8::1",	"2001:db8:1::1",   "fe80::1",
	"fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::ffff:169.254.169.254",
};
enum { PROBES = sizeof probes / sizeof probes[0] };

/*
 * Might a file allow this? Written again, plainly: bit by bit, from the file alone, and rather too much than too little
 * where names are concerned (`named`).
 */
static int bit(const uint8_t *p, unsigned i) { return p[i / 8] >> (7 - i % 8) & 1; }
static int might_allow(const uint8_t *file, int protocol, const struct place *to, int named)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	unsigned flags = file[6], family = to->family, port = to->port, at = 16;
	uint8_t ip[16];
	int allow = 0, names_it = 0, any = 0;
	at += file[12] * 24u + (file[10] | file[11] << 8) * 28u;
	memcpy(ip, to->ip, 16);
	if (family == FAMILY_INET6 && memcmp(ip, mapped, 12) == 0) {
		family = FAMILY_INET;
		memmove(ip, ip + 12, 4);
		memset(ip + 4, 0, 12);
	}
	unsigned bytes = family == FAMILY_INET ? 4 : 16;
	uint8_t zero[16] = { 0 };
	if (memcmp(ip, zero, bytes) == 0) {
		ip[bytes - 1] = 1;
		if (bytes == 4)
			ip[0] = 127;
	}
	if (!(flags & 5))
		return 1;
	if (protocol == 255)
		return 0;
	for (int i = 0; i < (file[8] | file[9] << 8); i++) {
		const uint8_t *r = file + at;
		unsigned first = r[4] | r[5] << 8, last = r[6] | r[7] << 8, same = 1, length = r[32] | r[33] << 8;
		at += (34 + length + 3) / 4 * 4;
		any |= !r[1];
		if (r[2] != 0 && r[2] != protocol && !(r[2] == 1 && protocol == 58))
			continue;
		if (!(first == 0 && last == 65535) && ((protocol != 6 && protocol != 17) || port < first || port > last))
			continue;
		if (r[0] == 2) {
			same = r[8] == family;
			for (unsigned b = 0; b < r[3] && same; b++)
				same = bit(ip, b) == bit(r + 16, b);
		} else if (r[0] != 1) {
			same = named;
		}
		if (!same)
			continue;
		if (r[1] && r[0] <= 2) {
			int resolver = 0;
			for (unsigned k = 0; k < file[12] && (protocol == 6 || protocol == 17); k++)
				resolver |= (unsigned)(file[16 + 24 * k + 2] | file[16 + 24 * k + 3] << 8) == port;
			/* Only a resolver escapes, and only from what does not name it. */
			if (!resolver || (r[0] == 2 && r[3] == bytes * 8))
				return 0;
		}
		allow |= !r[1];
		names_it |= !r[1] && r[0] == 2 && r[3] == bytes * 8;
	}
	for (unsigned k = 0; k < file[12] && any && (protocol == 6 || protocol == 17); k++) {
		struct place p;
		memcpy(&p, file + 16 + 24 * k, sizeof p);
		if (p.port == port && same_address(&p, to))
			return 1;
	}
	if (allow && !names_it && family == FAMILY_INET && ip[0] == 169 && ip[1] == 254 && ip[2] == 169 && ip[3] == 254)
		return 0;
	return allow;
}
static int fuzz_rules(unsigned n)
{
	static const int protocols[] = { 6, 17, 1, 58, 47, 255 };
	unsigned loaded = 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned size;
		uint8_t *file = mutate(&size), *again = copy_of(file, size);
		int ok = rules_load(file, size) == 0;
		free(file);
		loaded += (unsigned)ok;
		for (unsigned k = 0; k < rules.rule_count; k++)
			/* Nobody is asked here. */
			if (has_name(&rules.rules[k]))
				rules.resolver_count = 0;
		for (unsigned k = 0; k < 6; k++) {
			static const char *const ports[] = { "0", "53", "80", "443", "65535" };
			struct place to = to_place(probes[roll(PROBES)], ports[roll(5)]);
			int protocol = protocols[roll(6)], rule, verdict = rules_egress(protocol, &to, 1000, &rule);
			if (verdict != VERDICT_DENY && (!ok || !might_allow(again, protocol, &to, 0))) {
				printf("file ");
				for (unsigned b = 0; b < size; b++)
					printf("%02x", again[b]);
				printf(" protocol %d port %u verdict %d rule %d\n", protocol, to.port, verdict, rule);
				return 0;
			}
			rules_publish(protocol, &to);
		}
		free(again);
	}
	printf("ok %u loaded\n", loaded);
	return 1;
}

/* The question of a packet as text, read plainly; 0: it is none that a rule could mean. */
static int plain_question(const uint8_t *p, unsigned size, char *out)
{
	unsigned at = 12, n = 0;
	while (at < size && p[at] != 0) {
		unsigned length = p[at++];
		if (length > 63 || at + length > size || n + length > 252)
			return 0;
		for (unsigned i = 0; i < length; i++)
			out[n++] = (char)(p[at] >= 'A' && p[at] <= 'Z' ? p[at] + 32 : p[at]), at++;
		out[n++] = '.';
	}
	out[n ? n - 1 : 0] = 0;
	return 1;
}
static int is_about(const struct rule *r, const char *name)
{
	size_t n = strlen(name);
	if (r->kind == KIND_NAME)
		return n == r->length && memcmp(name, r->name, n) == 0;
	return r->kind == KIND_SUFFIX && n > r->length + 1u && memcmp(name + n - r->length, r->name, r->length) == 0 &&
	       name[n - r->length - 1] == '.';
}
static int fuzz_replies(unsigned n)
{
	unsigned long long time = 1000;
	unsigned learned = 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned size;
		uint8_t *packet = mutate(&size);
		char name[512];
		int plain = plain_question(packet, size, name);
		for (unsigned k = 0; k < rules.rule_count; k++)
			names.counts[k] = 0;
		/* Half of them as if it were the broker's own question. */
		if (i % 2) {
			rules_learn(packet, size, time);
		} else {
			struct question *q = &names.questions[0];
			q->mode = DATAGRAM;
			q->fd = -1;
			q->target = 0;
			q->six = (uint8_t)roll(2);
			q->id = (uint16_t)(size >= 2 ? big16(packet) : 0);
			q->failed = q->tries = q->plain = q->resolver = 0;
			names.lookups[0][q->six].state = ASKING;
			names.lookups[0][q->six].begun = 1;
			names.lookups[0][q->six].until = time + LOOKUP_MS;
			names.asking = 1;
			is_answer(q, packet, size, time);
			if (q->mode != UNUSED)
				settle_lookup(q, FAILED, 0, time);
		}
		for (unsigned k = 0; k < rules.rule_count; k++) {
			const struct rule *r = &rules.rules[k];
			if (names.counts[k] > 0 && !r->deny && !(plain && is_about(r, name))) {
				printf("learned for rule %u from a reply about %s\n", k, plain ? name : "nothing");
				return 0;
			}
			/* Whatever was learned stood in a record of the packet. */
			for (unsigned a = 0; a < names.counts[k]; a++) {
				const struct known *known = &names.known[k][a];
				unsigned bytes = known->family == FAMILY_INET ? 4 : 16, found = 0;
				for (unsigned at = 22; at + bytes <= size && !found; at++)
					found = memcmp(packet + at, known->ip, bytes) == 0 && packet[at - 1] == bytes && packet[at - 2] == 0;
				learned++;
				if (!found) {
					printf("learned an address that does not stand in the reply\n");
					return 0;
				}
			}
		}
		for (unsigned k = 0; k < PROBES; k++) {
			struct place to = to_place(probes[k], "443");
			struct ip_address a;
			int rule;
			normalise(&to, &a);
			if (never_by_name(&a) && rules_egress(6, &to, time, &rule) == VERDICT_ALLOW) {
				printf("%s was allowed by rule %d\n", probes[k], rule);
				return 0;
			}
		}
		free(packet);
		time += roll(100);
	}
	printf("ok %u learned\n", learned);
	return 1;
}

int main(void)
{
	static char line[2 * FUZZ_MAX + 100];
	setvbuf(stdout, 0, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		char *words[4] = { strtok(line, " "), strtok(0, " "), strtok(0, " "), strtok(0, " ") };
		const char *verb = words[0] ? words[0] : "", *one = words[1] ? words[1] : "";
		int protocol = atoi(one), rule;
		struct place place = words[3] ? to_place(words[2], words[3]) : (struct place){ 0 };
		unsigned size;
		if (!strcmp(verb, "load") || !strcmp(verb, "learn")) {
			uint8_t *bytes = from_hex(one, &size);
			if (verb[1] == 'o')
				printf("%d\n", rules_load(bytes, size));
			else
				rules_learn(bytes, size, now()), printf("ok\n");
			free(bytes);
		} else if (!strcmp(verb, "corpus") && corpus_count < CORPUS) {
			corpus[corpus_count] = from_hex(one, &corpus_size[corpus_count]);
			corpus_count++;
			printf("ok\n");
		} else if (!strcmp(verb, "egress") || !strcmp(verb, "wait")) {
			int verdict = rules_egress(protocol, &place, now(), &rule);
			unsigned long long end = now() + 20000;
			while (*verb == 'w' && verdict == VERDICT_LATER && now() < end) {
				serve(1000);
				verdict = rules_egress(protocol, &place, now(), &rule);
			}
			printf("%d %d\n", verdict, rule);
		} else if (!strcmp(verb, "publish")) {
			char text[INET6_ADDRSTRLEN];
			int yes = rules_publish(protocol, &place);
			inet_ntop(place.family == FAMILY_INET ? AF_INET : AF_INET6, place.ip, text, sizeof text);
			printf("%d %s %u\n", yes, text, place.port);
		} else if (!strcmp(verb, "listen")) {
			printf("%d\n", rules_listen(protocol, &place));
		} else if (!strcmp(verb, "resolver")) {
			printf("%d\n", rules_is_resolver(protocol, &place));
		} else if (!strcmp(verb, "pass")) {
			passed += (unsigned long long)protocol;
			serve(0);
			printf("ok\n");
		} else if (!strcmp(verb, "flags")) {
			printf("%d %d\n", rules_restricted(), rules_raw());
		} else if (!strcmp(verb, "descriptors")) {
			struct pollfd_ fds[RULES_POLLFDS];
			printf("%d\n", rules_pollfds(fds));
		} else if (!strncmp(verb, "fuzz-", 5) && corpus_count > 0) {
			seed = 0x9e3779b97f4a7c15ull ^ (uint64_t)(words[2] ? atoi(words[2]) : 1);
			if (!(verb[6] == 'u' ? fuzz_rules((unsigned)protocol) : fuzz_replies((unsigned)protocol)))
				return 1;
			while (corpus_count > 0)
				free(corpus[--corpus_count]);
		} else {
			printf("what is \"%s\"?\n", verb);
		}
	}
	return 0;
}
