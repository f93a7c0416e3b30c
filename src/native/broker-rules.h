/*
 * What may be reached outside, and what may be reached from outside: the rules that the broker holds a sandbox to.
 * Freestanding; for one file to include (broker.stub.c, and the tests' harness). Names are broker-names.h's.
 *
 * For the includer:
 *   - functions here need memcpy and memset no more than the compiler makes of loops: have them, or compile with
 *     -fno-tree-loop-distribute-patterns;
 *   - the system calls made here are socket (AF_INET and AF_INET6, SOCK_DGRAM and SOCK_STREAM), bind, connect, sendto,
 *     recvfrom, close and getrandom;
 *   - times are a monotonic clock's milliseconds;
 *   - `protocol` is that of IP (6, 17, 1, 58, …), never 0. For raw sockets the port is to be 0, since what a program
 *     says there is no port. A datagram or connection is looked at as it is *sent*: one verdict holds for one address;
 *   - VERDICT_LATER: a name has to be resolved. Ask again after each rules_readable and rules_tick. Another answer is
 *     there after LOOKUP_MS (broker-names.h) at the latest;
 *   - datagrams that come from a place for which rules_is_resolver says yes go through rules_learn before the guest has
 *     them, so that what it connects to next is known.
 *
 * The file, little-endian:
 *   header, 16 bytes: u32 magic 0x52554c45 | u16 version 1 | u16 flags | u16 rules | u16 publications |
 *     u16 resolvers | u16 0
 *   flags: 1 restricted | 2 raw sockets are allowed | 4 the namespace is shared with the host |
 *     8 publications are restricted
 *   resolvers: a place (24 bytes) each, with its port
 *   publications, 28 bytes each: place where the host is to bind (family 0: at the address that the guest binds) |
 *     u16 protocol (6, 17) | u16 port of the guest
 *   rules, one after the other, each padded to 4 bytes:
 *     0 u8 kind (1 all, 2 prefix, 3 name, 4 suffix) | 1 u8 deny | 2 u8 protocol (0 any, 6, 17, 1 ICMP of either kind) |
 *     3 u8 bits of the prefix | 4 u16 first port | 6 u16 last port (0 to 65535: any, and protocols without ports) |
 *     8 place, of a prefix | 32 u16 length of name | 34 name, lower case, in ASCII; of a suffix without "*."
 *
 * A verdict, in this order:
 *   1. an address that a deny rule names with all its bits is refused;
 *   2. a resolver is allowed, at its port by TCP and UDP, if there is any rule that allows something;
 *   3. what another deny rule covers is refused. A denied name is resolved first; if it cannot be, nothing is allowed
 *      that the rule might cover. A denied suffix covers what was seen in replies, no more: addresses have no names;
 *   4. addresses where hosts tell secrets (metadata services, link-local), and with flag 4 loopback, are refused unless
 *      a rule names them by prefix: the address itself with all its bits, or a part of the range;
 *   5. what an allow rule covers is allowed. A name never stands for loopback, link-local, metadata or multicast.
 *   6. the rest is refused.
 * IPv4-mapped addresses are IPv4's, and the wildcard addresses are loopback, as the host has it. What a translator
 * would make IPv4 of (NAT64, 6to4, IPv4-compatible) is refused where that IPv4 address would be by 3 or 4.
 */
#ifndef BROKER_RULES_H
#define BROKER_RULES_H

#include <asm/unistd.h>
#include <stdint.h>

#include "broker.h"

enum { VERDICT_DENY = 0, VERDICT_ALLOW = 1, VERDICT_LATER = 2 };
/* What decided, where no rule of the file did (*rule below; otherwise the number of one, from 0). */
enum { RULE_NONE = -1, RULE_METADATA = -2, RULE_LOOPBACK = -3, RULE_UNRESOLVED = -4, RULE_RESOLVER = -5 };
enum {
	RULES_MAX = 1024,
	PUBLICATIONS_MAX = 256,
	RESOLVERS_MAX = 8,
	/* Descriptors that rules_pollfds tells of. */
	RULES_POLLFDS = 32,
	NAME_MAX = 253,
	/* Nothing larger can be a file of rules. */
	RULES_FILE_MAX = 16 + RESOLVERS_MAX * 24 + PUBLICATIONS_MAX * 28 + RULES_MAX * 288
};

/* 0 or -errno. The file is not needed afterwards. Before, and after a failure, everything is refused. */
int rules_load(const unsigned char *file, unsigned size);
/* Must egress be looked at, datagram by datagram? Where the rules say so, and where loopback is the host's. */
int rules_restricted(void);
int rules_raw(void);
int rules_egress(int protocol, const struct place *to, unsigned long long now_ms, int *rule);
/*
 * May the guest bind there, a connection's or a socket's port? 1: at *at, which may have changed: another port, another
 * address (an IPv4 one for an IPv6 wildcard is IPv4-mapped: without V6ONLY). 0: no. Port 0 is always allowed, since
 * clients need it: before LISTEN ask rules_listen for the place that the socket has got.
 */
int rules_publish(int protocol, struct place *at);
int rules_listen(int protocol, const struct place *own);
/* Fills in up to RULES_POLLFDS; how many. For each of which something is told, whatever it is: rules_readable. */
int rules_pollfds(struct pollfd_ *out);
/* 1: verdicts may have changed. */
int rules_readable(int fd, unsigned long long now_ms);
/* Before each wait: milliseconds until it is to be called again, -1: not before something else happens. */
int rules_tick(unsigned long long now_ms);
int rules_is_resolver(int protocol, const struct place *at);
void rules_learn(const unsigned char *dns, unsigned size, unsigned long long now_ms);

enum { FLAG_RESTRICTED = 1, FLAG_RAW = 2, FLAG_SHARED = 4, FLAG_PUBLISH = 8, FLAGS_ALL = 15 };
enum { KIND_ALL = 1, KIND_PREFIX, KIND_NAME, KIND_SUFFIX };
enum { IPPROTO_RAW_ = 255 };
enum { RULES_EINVAL = 22, RULES_E2BIG = 7 };

struct rule {
	uint8_t kind, deny, protocol, bits, family, length;
	uint16_t first, last;
	/* Of names: the first rule with this name, kind and deny. What is known of names is kept by this number. */
	uint16_t target;
	uint8_t ip[16];
	const uint8_t *name;
};
struct publication {
	struct place place;
	uint16_t protocol, port;
};
/* Apart from the tables, so that those take no room in the program's file. */
static unsigned rules_flags = FLAG_RESTRICTED | FLAG_PUBLISH;
static struct {
	unsigned rule_count, publication_count, resolver_count, allow_count;
	struct rule rules[RULES_MAX];
	struct publication publications[PUBLICATIONS_MAX];
	struct place resolvers[RESOLVERS_MAX];
	uint8_t names[RULES_MAX * (NAME_MAX + 1)];
} rules;

/* An address as rules look at it. */
struct ip_address {
	uint8_t family, ip[16];
};

static long rules_call(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
static uint16_t little16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t little32(const uint8_t *p) { return little16(p) | (uint32_t)little16(p + 2) << 16; }
static int same_bytes(const uint8_t *a, const uint8_t *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}
static int are_zero(const uint8_t *p, unsigned n)
{
	uint8_t any = 0;
	for (unsigned i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}
static int in_prefix(const uint8_t *ip, const uint8_t *prefix, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	return same_bytes(ip, prefix, whole) && (rest == 0 || ((ip[whole] ^ prefix[whole]) >> (8 - rest)) == 0);
}
static int is_mapped(const uint8_t *ip) { return are_zero(ip, 10) && ip[10] == 0xff && ip[11] == 0xff; }

/* 0: there is no such family. */
static int normalise(const struct place *place, struct ip_address *out)
{
	int family = place->family == FAMILY_INET6 && is_mapped(place->ip) ? FAMILY_INET : place->family;
	unsigned from = family == place->family ? 0 : 12, n = family == FAMILY_INET ? 4 : 16;
	if (family != FAMILY_INET && family != FAMILY_INET6)
		return 0;
	out->family = (uint8_t)family;
	for (unsigned i = 0; i < 16; i++)
		out->ip[i] = i < n ? place->ip[from + i] : 0;
	if (are_zero(out->ip, n)) {
		out->ip[n - 1] = 1;
		if (family == FAMILY_INET)
			out->ip[0] = 127;
	}
	return 1;
}
/* The IPv4 address to which something on the way might translate it. */
static int embedded(const struct ip_address *a, struct ip_address *out)
{
	static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b }, local_nat64[6] = { 0, 0x64, 0xff, 0x9b, 0, 1 },
			     siit[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	const uint8_t *ip = a->ip;
	unsigned at = 12;
	if (a->family != FAMILY_INET6)
		return 0;
	if (ip[0] == 0x20 && ip[1] == 0x02)
		at = 2;
	else if (!same_bytes(ip, nat64, 12) && !same_bytes(ip, local_nat64, 6) && !same_bytes(ip, siit, 12) &&
		 !are_zero(ip, 12))
		return 0;
	out->family = FAMILY_INET;
	for (unsigned i = 0; i < 16; i++)
		out->ip[i] = i < 4 ? ip[at + i] : 0;
	return 1;
}

/* Ranges that no rule opens but one that names them. */
struct guarded {
	uint8_t family, bits;
	int8_t why;
	uint8_t ip[16];
};
static const struct guarded guarded[] = {
	{ FAMILY_INET, 8, RULE_LOOPBACK, { 127 } },
	{ FAMILY_INET6, 128, RULE_LOOPBACK, { [15] = 1 } },
	/* link-local, where most metadata services are */
	{ FAMILY_INET, 16, RULE_METADATA, { 169, 254 } },
	{ FAMILY_INET6, 10, RULE_METADATA, { 0xfe, 0x80 } },
	{ FAMILY_INET, 32, RULE_METADATA, { 169, 254, 169, 254 } },
	/* Alibaba, Oracle, Azure */
	{ FAMILY_INET, 32, RULE_METADATA, { 100, 100, 100, 200 } },
	{ FAMILY_INET, 32, RULE_METADATA, { 192, 0, 0, 192 } },
	{ FAMILY_INET, 32, RULE_METADATA, { 168, 63, 129, 16 } },
	/* Amazon, its credentials of pods, Google */
	{ FAMILY_INET6, 128, RULE_METADATA, { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, 0x54 } },
	{ FAMILY_INET6, 128, RULE_METADATA, { 0xfd, 0x00, 0x0e, 0xc2, [15] = 0x23 } },
	{ FAMILY_INET6, 128, RULE_METADATA, { 0xfd, 0x20, 0x00, 0xce, [14] = 0x02, 0x54 } },
};
enum { GUARDED_COUNT = sizeof guarded / sizeof guarded[0] };
static int is_guarded(const struct guarded *g, const struct ip_address *a)
{
	return g->family == a->family && in_prefix(a->ip, g->ip, g->bits);
}
/* Whatever a name's reply says, it does not stand for these. */
static int never_by_name(const struct ip_address *a)
{
	for (unsigned i = 0; i < GUARDED_COUNT; i++)
		if (is_guarded(&guarded[i], a))
			return 1;
	return a->family == FAMILY_INET ? a->ip[0] == 0 || a->ip[0] >= 224 : a->ip[0] == 0xff;
}

#include "broker-names.h"

static int valid_name(const uint8_t *name, unsigned length)
{
	unsigned label = 0;
	if (length < 1 || length > NAME_MAX)
		return 0;
	for (unsigned i = 0; i < length; i++) {
		uint8_t c = name[i];
		if (c == '.' ? label == 0 : !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return 0;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return 0;
	}
	return label > 0;
}
static void load_place(struct place *to, const uint8_t *from)
{
	to->family = little16(from);
	to->port = little16(from + 2);
	to->scope = little32(from + 4);
	for (unsigned i = 0; i < 16; i++)
		to->ip[i] = from[8 + i];
}
static int is_ip_family(int family) { return family == FAMILY_INET || family == FAMILY_INET6; }
/* Bytes of the rule, or -errno. Its name goes to `name`. */
static int load_rule(struct rule *r, const uint8_t *p, unsigned left, uint8_t *name)
{
	struct place place;
	if (left < 34)
		return -RULES_EINVAL;
	r->kind = p[0];
	r->deny = p[1];
	r->protocol = p[2];
	r->bits = p[3];
	r->first = little16(p + 4);
	r->last = little16(p + 6);
	load_place(&place, p + 8);
	unsigned length = little16(p + 32), all = (34 + length + 3) & ~3u;
	if (r->kind < KIND_ALL || r->kind > KIND_SUFFIX || r->deny > 1 || r->first > r->last || all > left)
		return -RULES_EINVAL;
	if (r->protocol != 0 && r->protocol != PROTOCOL_TCP && r->protocol != PROTOCOL_UDP && r->protocol != PROTOCOL_ICMP)
		return -RULES_EINVAL;
	if (r->protocol == PROTOCOL_ICMP && (r->first != 0 || r->last != 65535))
		return -RULES_EINVAL;
	if (r->kind == KIND_NAME || r->kind == KIND_SUFFIX ? !valid_name(p + 34, length) : length != 0)
		return -RULES_EINVAL;
	if (r->kind == KIND_PREFIX) {
		if (!is_ip_family(place.family) || r->bits > (place.family == FAMILY_INET ? 32 : 128) || place.scope != 0)
			return -RULES_EINVAL;
		/* It would never be met: such addresses are IPv4's by then. */
		if (place.family == FAMILY_INET6 && r->bits >= 96 && is_mapped(place.ip))
			return -RULES_EINVAL;
	} else if (place.family != 0 || r->bits != 0)
		return -RULES_EINVAL;
	r->family = (uint8_t)place.family;
	for (unsigned i = 0; i < 16; i++)
		r->ip[i] = place.ip[i];
	r->length = (uint8_t)length;
	r->name = name;
	for (unsigned i = 0; i < length; i++)
		name[i] = p[34 + i];
	return (int)all;
}
static int load_all(const uint8_t *file, unsigned size)
{
	if (size < 16 || little32(file) != 0x52554c45 || little16(file + 4) != 1)
		return -RULES_EINVAL;
	unsigned flags = little16(file + 6), rule_count = little16(file + 8), publications = little16(file + 10),
		 resolvers = little16(file + 12), at = 16, names = 0;
	if ((flags & ~(unsigned)FLAGS_ALL) != 0 || little16(file + 14) != 0)
		return -RULES_EINVAL;
	if (rule_count > RULES_MAX || publications > PUBLICATIONS_MAX || resolvers > RESOLVERS_MAX)
		return -RULES_E2BIG;
	if (size - at < resolvers * 24 + publications * 28)
		return -RULES_EINVAL;
	for (unsigned i = 0; i < resolvers; i++, at += 24) {
		struct place *r = &rules.resolvers[i];
		load_place(r, file + at);
		if (!is_ip_family(r->family) || r->port == 0)
			return -RULES_EINVAL;
	}
	for (unsigned i = 0; i < publications; i++, at += 28) {
		struct publication *p = &rules.publications[i];
		load_place(&p->place, file + at);
		p->protocol = little16(file + at + 24);
		p->port = little16(file + at + 26);
		if ((p->place.family != 0 && !is_ip_family(p->place.family)) || p->place.port == 0 || p->port == 0)
			return -RULES_EINVAL;
		if (p->protocol != PROTOCOL_TCP && p->protocol != PROTOCOL_UDP)
			return -RULES_EINVAL;
	}
	for (unsigned i = 0; i < rule_count; i++) {
		struct rule *r = &rules.rules[i];
		int n = load_rule(r, file + at, size - at, rules.names + names);
		if (n < 0)
			return n;
		at += (unsigned)n;
		names += r->length;
		rules.allow_count += !r->deny;
		for (r->target = 0; r->target < i; r->target++) {
			const struct rule *t = &rules.rules[r->target];
			if (t->kind == r->kind && t->deny == r->deny && t->length == r->length && same_bytes(t->name, r->name, r->length))
				break;
		}
	}
	if (at != size)
		return -RULES_EINVAL;
	rules.rule_count = rule_count;
	rules.publication_count = publications;
	rules.resolver_count = resolvers;
	rules_flags = flags;
	return 0;
}
int rules_load(const unsigned char *file, unsigned size)
{
	rules_flags = FLAG_RESTRICTED | FLAG_PUBLISH;
	rules.rule_count = rules.publication_count = rules.resolver_count = rules.allow_count = 0;
	names_forget();
	int r = load_all(file, size);
	if (r < 0)
		rules.allow_count = 0;
	return r;
}

int rules_restricted(void) { return (rules_flags & (FLAG_RESTRICTED | FLAG_SHARED)) != 0; }
int rules_raw(void) { return (rules_flags & FLAG_RAW) != 0; }

static int same_address(const struct place *a, const struct place *b)
{
	struct ip_address x, y;
	return normalise(a, &x) && normalise(b, &y) && x.family == y.family && same_bytes(x.ip, y.ip, 16);
}
int rules_is_resolver(int protocol, const struct place *at)
{
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP)
		return 0;
	for (unsigned i = 0; i < rules.resolver_count; i++)
		if (rules.resolvers[i].port == at->port && same_address(&rules.resolvers[i], at) &&
		    /* Behind another interface it is another host's. */
		    (rules.resolvers[i].scope == 0 || rules.resolvers[i].scope == at->scope))
			return 1;
	return 0;
}

static int rule_applies(const struct rule *r, int protocol, unsigned port)
{
	if (r->protocol == PROTOCOL_ICMP)
		return protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6;
	if (r->protocol != 0 && r->protocol != protocol)
		return 0;
	if (r->first == 0 && r->last == 65535)
		return 1;
	return (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP) && port >= r->first && port <= r->last;
}
static int has_name(const struct rule *r) { return r->kind == KIND_NAME || r->kind == KIND_SUFFIX; }
static int rule_covers(const struct rule *r, const struct ip_address *a)
{
	return r->kind == KIND_ALL || (r->kind == KIND_PREFIX && r->family == a->family && in_prefix(a->ip, r->ip, r->bits));
}
/* What must not be reached, although rules that name nothing in particular cover it: the reason, or 0. */
static int guard_reason(const struct ip_address *a, int protocol, unsigned port)
{
	for (unsigned i = 0; i < GUARDED_COUNT; i++) {
		const struct guarded *g = &guarded[i];
		if (!is_guarded(g, a) || (g->why == RULE_LOOPBACK && !(rules_flags & FLAG_SHARED)))
			continue;
		int named = 0;
		for (unsigned k = 0; k < rules.rule_count && !named; k++) {
			const struct rule *r = &rules.rules[k];
			named = !r->deny && r->kind == KIND_PREFIX && r->bits >= g->bits &&
				rule_applies(r, protocol, port) && rule_covers(r, a);
		}
		if (!named)
			return g->why;
	}
	return 0;
}

int rules_egress(int protocol, const struct place *to, unsigned long long now_ms, int *rule)
{
	/* The address itself, and what it might become. */
	struct ip_address forms[2];
	unsigned form_count = 1, port = to->port;
	int undecided = 0, unresolved = 0, allowed = RULE_NONE;
	*rule = RULE_NONE;
	if (!rules_restricted())
		return VERDICT_ALLOW;
	/* A program that writes headers itself writes the destination, too. */
	if (protocol == IPPROTO_RAW_ || !normalise(to, &forms[0]))
		return VERDICT_DENY;
	form_count += (unsigned)embedded(&forms[0], &forms[1]);

	int resolver = rules.allow_count > 0 && rules_is_resolver(protocol, to);
	for (unsigned i = 0; i < rules.rule_count; i++) {
		const struct rule *r = &rules.rules[i];
		if (!r->deny || !rule_applies(r, protocol, port))
			continue;
		if (resolver && !(r->kind == KIND_PREFIX && r->bits == (r->family == FAMILY_INET ? 32 : 128)))
			continue;
		for (unsigned f = 0; f < form_count; f++) {
			int state = NAMES_READY;
			int hit = has_name(r) ? names_know(r->target, &forms[f], now_ms) : rule_covers(r, &forms[f]);
			if (!hit && r->kind == KIND_NAME)
				state = names_fresh(r->target, forms[f].family, now_ms);
			if (hit || state == NAMES_FAILED) {
				*rule = (int)i;
				return VERDICT_DENY;
			}
			undecided |= state == NAMES_PENDING;
		}
	}
	if (resolver) {
		*rule = RULE_RESOLVER;
		return VERDICT_ALLOW;
	}
	for (unsigned f = 0; f < form_count; f++) {
		int why = guard_reason(&forms[f], protocol, port);
		if (why != 0) {
			*rule = why;
			return VERDICT_DENY;
		}
	}
	int by_name = !never_by_name(&forms[0]);
	for (unsigned i = 0; i < rules.rule_count && allowed == RULE_NONE; i++) {
		const struct rule *r = &rules.rules[i];
		if (!r->deny && rule_applies(r, protocol, port) &&
		    (has_name(r) ? by_name && names_know(r->target, &forms[0], now_ms) : rule_covers(r, &forms[0])))
			allowed = (int)i;
	}
	if (allowed != RULE_NONE) {
		*rule = undecided ? RULE_NONE : allowed;
		return undecided ? VERDICT_LATER : VERDICT_ALLOW;
	}
	undecided = 0;
	for (unsigned i = 0; i < rules.rule_count && by_name; i++) {
		const struct rule *r = &rules.rules[i];
		if (r->deny || r->kind != KIND_NAME || !rule_applies(r, protocol, port))
			continue;
		int state = names_fresh(r->target, forms[0].family, now_ms);
		undecided |= state == NAMES_PENDING;
		unresolved |= state == NAMES_FAILED;
	}
	if (undecided)
		return VERDICT_LATER;
	if (unresolved)
		*rule = RULE_UNRESOLVED;
	return VERDICT_DENY;
}

static int is_wildcard(const struct place *at)
{
	if (at->family == FAMILY_INET)
		return are_zero(at->ip, 4);
	return are_zero(at->ip, 16) || (is_mapped(at->ip) && are_zero(at->ip + 12, 4));
}
/* Would the guest be the resolver that decides what names stand for? */
static int poses_as_resolver(const struct place *at)
{
	for (unsigned i = 0; i < rules.resolver_count; i++) {
		const struct place *r = &rules.resolvers[i];
		if (r->port == at->port && (same_address(r, at) || (is_wildcard(at) && names_is_here(r))))
			return 1;
	}
	return 0;
}
static void map_place(struct place *at, const uint8_t *ip)
{
	for (unsigned i = 0; i < 16; i++)
		at->ip[i] = i < 10 ? 0 : i < 12 ? 0xff : ip[i - 12];
}
/* Where the host binds for what the guest binds at *at, into *at; 0: this publication is of something else. */
static int publish_at(const struct publication *p, struct place *at)
{
	const struct place *host = &p->place;
	int every = is_wildcard(at), six = at->family == FAMILY_INET6;
	if (host->family == FAMILY_INET6 && !six)
		return 0;
	if (host->family != 0 && !every) {
		/* A guest that binds one address has that one published, or none. */
		int same_family = (host->family == FAMILY_INET) == (!six || is_mapped(at->ip));
		if (is_wildcard(host) ? !same_family : !same_address(host, at))
			return 0;
	} else if (host->family == FAMILY_INET && six) {
		map_place(at, host->ip);
	} else if (host->family != 0) {
		for (unsigned i = 0; i < 16; i++)
			at->ip[i] = host->ip[i];
		at->scope = host->scope;
	}
	at->port = host->port;
	return 1;
}
int rules_publish(int protocol, struct place *at)
{
	int found = !(rules_flags & FLAG_PUBLISH);
	if (!is_ip_family(at->family))
		return 0;
	if (at->port == 0)
		return 1;
	for (unsigned i = 0; i < rules.publication_count && !found; i++) {
		const struct publication *p = &rules.publications[i];
		found = p->protocol == protocol && p->port == at->port && publish_at(p, at);
	}
	return found && !(rules_restricted() && poses_as_resolver(at));
}
int rules_listen(int protocol, const struct place *own)
{
	if (rules_restricted() && poses_as_resolver(own))
		return 0;
	if (!(rules_flags & FLAG_PUBLISH))
		return 1;
	for (unsigned i = 0; i < rules.publication_count; i++)
		if (rules.publications[i].protocol == protocol && rules.publications[i].place.port == own->port)
			return 1;
	return 0;
}

#endif
