/*
 * Which addresses the names of rules stand for: a client of DNS (RFC 1035, 2181, 2308, 6891, 7766), and what replies to
 * the guest's own questions say. Part of broker-rules.h.
 *
 * A name is resolved when a verdict hangs on it, for the family of the address in question. Each question has a socket
 * of its own (so a port of the host's choice), connected to the resolver that is asked, and a random id; a reply counts
 * with the same id and question alone. Of a reply count the addresses to which CNAMEs lead from the question.
 *
 * An address is good for its time to live, at least GOOD_MIN and at most TTL_MAX seconds, from when it was last seen;
 * what is denied, for DENIED_GOOD. Names are asked for again after TTL_MIN to TTL_MAX. A guest that learned a name's
 * addresses from elsewhere than a configured resolver finds out that addresses decide.
 *
 * Everything here is bounded: TARGET_ADDRESSES for each name of a rule (the one that ends first gives way),
 * RULES_POLLFDS questions at a time (more of them wait), RECORDS of a reply, HOPS of a chain.
 */
enum { NAMES_READY, NAMES_PENDING, NAMES_FAILED };
enum { TARGET_ADDRESSES = 256, RECORDS = 256, HOPS = 16, STREAM_MAX = 16384, DATAGRAM_MAX = 4096 };
/* Seconds. */
enum { TTL_MIN = 5, TTL_MAX = 3600, GOOD_MIN = 60, DENIED_GOOD = 86400, NEGATIVE_MAX = 300, NEGATIVE_DEFAULT = 30 };
/*
 * A name is resolved within LOOKUP_MS or not at all; TRY_MS for the first try with each resolver. What failed is tried
 * anew after FAILED_MS.
 */
enum { LOOKUP_MS = 4500, TRY_MS = 1000, FAILED_MS = 5000, TRIES_MAX = 12 };
enum { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_AAAA = 28, DNS_OPT = 41, DNS_IN = 1, DNS_PORT_SIZE = 1232 };
enum { DNS_QR = 0x8000, DNS_OPCODE = 0x7800, DNS_TC = 0x0200, DNS_RD = 0x0100 };
enum { DNS_FORMERR = 1, DNS_NXDOMAIN = 3, DNS_NOTIMP = 4 };
enum { RULES_EINTR = 4, RULES_EAGAIN = 11, RULES_EINPROGRESS = 115 };
enum { RULES_POLLIN = 1, RULES_POLLOUT = 4 };
enum { RULES_STREAM = 1, RULES_DGRAM = 2, RULES_SOCK_FLAGS = 02000000 | 04000, RULES_NOSIGNAL = 0x4000 };

struct known {
	uint64_t until;
	uint8_t family, ip[16];
};
enum { NEVER, ASKING, KNOWN, FAILED };
/* Of one name and one type. until: of ASKING the last moment for an answer, else when to ask again. */
struct lookup {
	uint64_t until;
	uint8_t state, begun;
};
enum { UNUSED, DATAGRAM, STREAM_CONNECTING, STREAM_READING };
struct question {
	uint64_t until; /* of this try */
	int fd;
	unsigned have; /* of buffer */
	uint16_t target, id;
	/* failed: bits of resolvers that are of no use for this; plain: without EDNS. */
	uint8_t six, mode, resolver, failed, tries, plain;
	uint8_t buffer[STREAM_MAX + 2];
};
static struct {
	struct lookup lookups[RULES_MAX][2];
	uint16_t counts[RULES_MAX];
	struct known known[RULES_MAX][TARGET_ADDRESSES];
	/* fd is meant where mode is not UNUSED. */
	struct question questions[RULES_POLLFDS];
	/* lookups that are ASKING; the resolver that answered last; where looking for the next to begin goes on. */
	unsigned asking, preferred, next;
} names;

static unsigned big16(const uint8_t *p) { return (unsigned)(p[0] << 8 | p[1]); }
static uint32_t big32(const uint8_t *p) { return (uint32_t)big16(p) << 16 | big16(p + 2); }
static void put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* Reading of packets. Positions are checked against `size`; pointers lead back only, so every name ends. */

/* Behind the name at `at`; 0: the packet is not one. */
static unsigned skip_name(const uint8_t *p, unsigned size, unsigned at)
{
	while (at < size) {
		if (p[at] == 0)
			return at + 1;
		if ((p[at] & 0xc0) == 0xc0)
			return at + 2 <= size ? at + 2 : 0;
		if ((p[at] & 0xc0) != 0)
			return 0;
		at += p[at] + 1u;
	}
	return 0;
}
/* The name as text, in lower case, without a last dot; its length, -1: none that a rule could mean. */
static int read_name(const uint8_t *p, unsigned size, unsigned at, uint8_t out[NAME_MAX])
{
	unsigned n = 0, begun = at;
	while (at < size) {
		unsigned length = p[at];
		if (length == 0)
			return (int)n;
		if ((length & 0xc0) == 0xc0) {
			if (at + 2 > size)
				return -1;
			at = big16(p + at) & 0x3fff;
			if (at >= begun)
				return -1;
			begun = at;
			continue;
		}
		if (length > 63 || at + 1 + length > size || n + (n > 0) + length > NAME_MAX)
			return -1;
		if (n > 0)
			out[n++] = '.';
		for (unsigned i = 0; i < length; i++) {
			uint8_t c = p[at + 1 + i];
			/* A dot within a label would look as one between two. */
			if (c <= ' ' || c > '~' || c == '.')
				return -1;
			out[n++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
		}
		at += 1 + length;
	}
	return -1;
}

struct record {
	unsigned owner, data, length, type;
	uint32_t ttl;
};
/* Behind the record at `at`; 0: there is none. */
static unsigned read_record(const uint8_t *p, unsigned size, unsigned at, struct record *out, unsigned *class)
{
	unsigned head = skip_name(p, size, at);
	if (head == 0 || size - head < 10)
		return 0;
	out->owner = at;
	out->type = big16(p + head);
	*class = big16(p + head + 2);
	out->ttl = big32(p + head + 4);
	if (out->ttl > 0x7fffffff)
		out->ttl = 0;
	out->length = big16(p + head + 8);
	out->data = head + 10;
	return size - out->data < out->length ? 0 : out->data + out->length;
}

/* A reply that has been read. */
static struct {
	unsigned id, flags, type, record_count, address_count, chain_count;
	uint32_t ttl, negative_ttl;
	struct record records[RECORDS];
	/* The question, and where CNAMEs lead to from there. */
	uint8_t chain[HOPS + 1][NAME_MAX];
	uint8_t chain_length[HOPS + 1];
	uint8_t addresses[RECORDS][16];
} reply;

static int is_owner(const uint8_t *p, unsigned size, const struct record *r, const uint8_t *name, unsigned length)
{
	uint8_t owner[NAME_MAX];
	return read_name(p, size, r->owner, owner) == (int)length && same_bytes(owner, name, length);
}
/* How long it holds that there are no addresses: the zone's word, in the section of authority. */
static uint32_t negative_ttl(const uint8_t *p, unsigned size, unsigned at, unsigned count)
{
	for (unsigned class; count > 0; count--) {
		struct record r;
		at = read_record(p, size, at, &r, &class);
		if (at == 0)
			break;
		if (r.type != DNS_SOA || r.length < 22)
			continue;
		uint32_t minimum = big32(p + r.data + r.length - 4);
		return minimum < r.ttl ? minimum : r.ttl;
	}
	return NEGATIVE_DEFAULT;
}
/* 0: it is no reply to a question for addresses. */
static int read_reply(const uint8_t *p, unsigned size)
{
	if (size < 12)
		return 0;
	reply.id = big16(p);
	reply.flags = big16(p + 2);
	reply.record_count = reply.address_count = reply.chain_count = 0;
	reply.ttl = TTL_MAX;
	reply.negative_ttl = NEGATIVE_DEFAULT;
	if ((reply.flags & (DNS_QR | DNS_OPCODE)) != DNS_QR || big16(p + 4) != 1)
		return 0;
	unsigned at = skip_name(p, size, 12), answers = big16(p + 6), class;
	int length = read_name(p, size, 12, reply.chain[0]);
	if (at == 0 || size - at < 4 || length <= 0 || big16(p + at + 2) != DNS_IN)
		return 0;
	reply.type = big16(p + at);
	reply.chain_length[0] = (uint8_t)length;
	reply.chain_count = 1;
	at += 4;
	if (reply.type != DNS_A && reply.type != DNS_AAAA)
		return 0;
	for (unsigned i = 0; i < answers; i++) {
		struct record r;
		at = read_record(p, size, at, &r, &class);
		if (at == 0)
			return 0;
		if (class == DNS_IN && (r.type == reply.type || r.type == DNS_CNAME) && reply.record_count < RECORDS)
			reply.records[reply.record_count++] = r;
	}
	reply.negative_ttl = negative_ttl(p, size, at, big16(p + 8));

	const uint8_t *name = reply.chain[0];
	for (int more = 1; more && reply.chain_count <= HOPS;) {
		more = 0;
		for (unsigned i = 0; i < reply.record_count && !more; i++) {
			const struct record *r = &reply.records[i];
			if (r->type != DNS_CNAME || !is_owner(p, size, r, name, (unsigned)length))
				continue;
			uint8_t *next = reply.chain[reply.chain_count];
			length = read_name(p, size, r->data, next);
			if (length <= 0)
				return 1;
			reply.chain_length[reply.chain_count++] = (uint8_t)length;
			if (r->ttl < reply.ttl)
				reply.ttl = r->ttl;
			name = next;
			more = 1;
		}
	}
	unsigned bytes = reply.type == DNS_A ? 4 : 16;
	for (unsigned i = 0; i < reply.record_count; i++) {
		const struct record *r = &reply.records[i];
		if (r->type != reply.type || r->length != bytes || !is_owner(p, size, r, name, (unsigned)length))
			continue;
		/* It would be an IPv4 address that an IPv4 question did not bring. */
		if (bytes == 16 && is_mapped(p + r->data))
			continue;
		uint8_t *to = reply.addresses[reply.address_count++];
		for (unsigned k = 0; k < 16; k++)
			to[k] = k < bytes ? p[r->data + k] : 0;
		if (r->ttl < reply.ttl)
			reply.ttl = r->ttl;
	}
	return 1;
}

/* What is known. */

static int names_know(unsigned target, const struct ip_address *a, uint64_t now)
{
	for (unsigned i = 0; i < names.counts[target]; i++) {
		const struct known *k = &names.known[target][i];
		if (k->until > now && k->family == a->family && same_bytes(k->ip, a->ip, 16))
			return 1;
	}
	return 0;
}
static void add_address(unsigned target, int family, const uint8_t *ip, uint64_t until)
{
	struct known *table = names.known[target], *to = table;
	for (unsigned i = 0; i < names.counts[target]; i++) {
		if (table[i].family == family && same_bytes(table[i].ip, ip, 16)) {
			if (table[i].until < until)
				table[i].until = until;
			return;
		}
		if (table[i].until < to->until)
			to = &table[i];
	}
	if (names.counts[target] < TARGET_ADDRESSES)
		to = &table[names.counts[target]++];
	to->until = until;
	to->family = (uint8_t)family;
	for (unsigned i = 0; i < 16; i++)
		to->ip[i] = ip[i];
}
static int is_of(const struct rule *r, const uint8_t *name, unsigned length)
{
	if (r->kind == KIND_NAME)
		return r->length == length && same_bytes(r->name, name, length);
	return r->kind == KIND_SUFFIX && length > r->length + 1u && name[length - r->length - 1] == '.' &&
	       same_bytes(r->name, name + length - r->length, r->length);
}
/* Gives a reply's addresses to the rules about the name that was asked, and to those that deny a name of its chain. */
static void take_reply(uint64_t now)
{
	uint32_t seconds = reply.ttl < GOOD_MIN ? GOOD_MIN : reply.ttl;
	for (unsigned i = 0; i < rules.rule_count; i++) {
		const struct rule *r = &rules.rules[i];
		unsigned links = r->deny ? reply.chain_count : 1, link = 0;
		if (r->target != i)
			continue;
		while (link < links && !is_of(r, reply.chain[link], reply.chain_length[link]))
			link++;
		for (unsigned k = 0; k < reply.address_count && link < links; k++)
			add_address(i, reply.type == DNS_A ? FAMILY_INET : FAMILY_INET6, reply.addresses[k],
				    now + 1000ull * (r->deny ? DENIED_GOOD : seconds));
	}
}
void rules_learn(const unsigned char *dns, unsigned size, unsigned long long now_ms)
{
	if (rules_restricted() && read_reply(dns, size) && (reply.flags & 15) == 0)
		take_reply(now_ms);
}

/* Asking. */

static unsigned resolver_sockaddr(const struct place *place, uint8_t out[28])
{
	unsigned four = place->family == FAMILY_INET;
	for (unsigned i = 0; i < 28; i++)
		out[i] = 0;
	out[0] = (uint8_t)place->family;
	put16(out + 2, place->port);
	for (unsigned i = 0; i < (four ? 4u : 16u); i++)
		out[(four ? 4 : 8) + i] = place->ip[i];
	for (unsigned i = 0; i < 4 && !four; i++)
		out[24 + i] = (uint8_t)(place->scope >> (8 * i));
	return four ? 16 : 28;
}
/* Is this an address of the namespace itself? */
static int names_is_here(const struct place *at)
{
	uint8_t address[28];
	struct place any_port = *at;
	any_port.port = 0;
	int fd = (int)rules_call(__NR_socket, at->family, RULES_DGRAM | RULES_SOCK_FLAGS, 0, 0, 0, 0);
	/* Without a way to know, it may be. */
	if (fd < 0)
		return 1;
	long r = rules_call(__NR_bind, fd, (long)address, resolver_sockaddr(&any_port, address), 0, 0, 0);
	rules_call(__NR_close, fd, 0, 0, 0, 0, 0);
	return r == 0;
}

/* The question as a message, behind the two bytes of length that streams have in front. */
static unsigned write_question(const struct question *q, uint8_t *out)
{
	const struct rule *r = &rules.rules[q->target];
	uint8_t *p = out + 2;
	unsigned n = 12, label = n++;
	for (unsigned i = 0; i < 12; i++)
		p[i] = 0;
	put16(p, q->id);
	put16(p + 2, DNS_RD);
	p[5] = 1;
	p[11] = !q->plain;
	for (unsigned i = 0; i <= r->length; i++) {
		if (i < r->length && r->name[i] != '.') {
			p[n++] = r->name[i];
			continue;
		}
		p[label] = (uint8_t)(n - label - 1);
		label = n++;
	}
	p[label] = 0;
	put16(p + n, q->six ? DNS_AAAA : DNS_A);
	put16(p + n + 2, DNS_IN);
	n += 4;
	if (!q->plain) {
		for (unsigned i = 0; i < 11; i++)
			p[n + i] = 0;
		put16(p + n + 1, DNS_OPT);
		put16(p + n + 3, DNS_PORT_SIZE);
		n += 11;
	}
	put16(out, n);
	return n + 2;
}
enum { QUESTION_MAX = 2 + 12 + NAME_MAX + 2 + 4 + 11 };
static int send_question(const struct question *q)
{
	uint8_t message[QUESTION_MAX];
	unsigned n = write_question(q, message), from = q->mode == DATAGRAM ? 2 : 0;
	long r;
	do
		r = rules_call(__NR_sendto, q->fd, (long)message + from, n - from, RULES_NOSIGNAL, 0, 0);
	while (r == -RULES_EINTR);
	return r == (long)(n - from) ? 0 : r < 0 ? (int)r : -RULES_EINVAL;
}
static void hang_up(struct question *q)
{
	if (q->fd >= 0)
		rules_call(__NR_close, q->fd, 0, 0, 0, 0, 0);
	q->fd = -1;
}
/* Asks the resolver of q->resolver, by q->mode. */
static int ask_resolver(struct question *q, uint64_t now)
{
	const struct lookup *lookup = &names.lookups[q->target][q->six];
	const struct place *resolver = &rules.resolvers[q->resolver];
	uint8_t address[28];
	int type = q->mode == DATAGRAM ? RULES_DGRAM : RULES_STREAM, r;
	hang_up(q);
	if (rules_call(__NR_getrandom, (long)&q->id, sizeof q->id, 0, 0, 0, 0) != sizeof q->id)
		return -RULES_EINVAL;
	q->fd = (int)rules_call(__NR_socket, resolver->family, type | RULES_SOCK_FLAGS, 0, 0, 0, 0);
	if (q->fd < 0)
		return q->fd;
	q->have = 0;
	r = (int)rules_call(__NR_connect, q->fd, (long)address, resolver_sockaddr(resolver, address), 0, 0, 0);
	if (r < 0 && !(r == -RULES_EINPROGRESS && q->mode == STREAM_CONNECTING))
		return r;
	if (q->mode == DATAGRAM) {
		r = send_question(q);
		if (r < 0 && r != -RULES_EAGAIN)
			return r;
	}
	/* The first round is quick; the second has what time is left. */
	q->until = q->mode == DATAGRAM && q->tries < rules.resolver_count ? now + TRY_MS : lookup->until;
	q->tries++;
	return 0;
}
static void settle_lookup(struct question *q, int state, uint32_t seconds, uint64_t now)
{
	struct lookup *lookup = &names.lookups[q->target][q->six];
	hang_up(q);
	q->mode = UNUSED;
	lookup->state = (uint8_t)state;
	lookup->begun = 0;
	lookup->until = now + (state == FAILED ? (uint64_t)FAILED_MS : 1000ull * seconds);
	names.asking--;
}
/* Asks one resolver after the other, from q->resolver on, until one can be asked at all. */
static void ask_on(struct question *q, uint64_t now)
{
	for (unsigned n = 0; n < rules.resolver_count && q->tries < TRIES_MAX; n++) {
		if (!(q->failed >> q->resolver & 1)) {
			if (ask_resolver(q, now) == 0)
				return;
			q->failed |= (uint8_t)(1 << q->resolver);
		}
		q->resolver = (uint8_t)((q->resolver + 1) % rules.resolver_count);
		q->mode = DATAGRAM;
	}
	settle_lookup(q, FAILED, 0, now);
}
/* This resolver is of no use here. */
static void give_up_resolver(struct question *q, uint64_t now)
{
	q->failed |= (uint8_t)(1 << q->resolver);
	q->mode = DATAGRAM;
	ask_on(q, now);
}
static void begin_question(struct question *q, unsigned target, unsigned six, uint64_t now)
{
	q->fd = -1;
	q->target = (uint16_t)target;
	q->six = (uint8_t)six;
	q->mode = DATAGRAM;
	q->resolver = (uint8_t)names.preferred;
	q->failed = q->tries = q->plain = 0;
	names.lookups[target][six].begun = 1;
	ask_on(q, now);
}
/* Does anything wait for room? Then names.next is its number. */
static int find_waiting(void)
{
	unsigned begun = 0, all = rules.rule_count * 2;
	for (unsigned i = 0; i < RULES_POLLFDS; i++)
		begun += names.questions[i].mode != UNUSED;
	for (unsigned n = 0; n < all && begun < names.asking; n++) {
		names.next = (names.next + 1) % all;
		const struct lookup *lookup = &names.lookups[names.next / 2][names.next % 2];
		if (lookup->state == ASKING && !lookup->begun)
			return 1;
	}
	return 0;
}
static void begin_waiting(uint64_t now)
{
	for (unsigned i = 0; i < RULES_POLLFDS; i++)
		while (names.questions[i].mode == UNUSED && find_waiting())
			begin_question(&names.questions[i], names.next / 2, names.next % 2, now);
}
static int names_fresh(unsigned target, int family, uint64_t now)
{
	struct lookup *lookup = &names.lookups[target][family == FAMILY_INET6];
	if (lookup->state == ASKING)
		return NAMES_PENDING;
	if (lookup->state != NEVER && now < lookup->until)
		return lookup->state == KNOWN ? NAMES_READY : NAMES_FAILED;
	if (rules.resolver_count == 0)
		return NAMES_FAILED;
	lookup->state = ASKING;
	lookup->begun = 0;
	lookup->until = now + LOOKUP_MS;
	names.asking++;
	begin_waiting(now);
	return lookup->state == ASKING ? NAMES_PENDING : NAMES_FAILED;
}

/* Answers. */

static void ask_plainly(struct question *q, uint64_t now)
{
	q->plain = 1;
	q->mode = DATAGRAM;
	ask_on(q, now);
}
/* Is it the answer to the question? Takes what it says, and what follows from it. */
static int is_answer(struct question *q, const uint8_t *p, unsigned size, uint64_t now)
{
	const struct rule *r = &rules.rules[q->target];
	unsigned code, empty;
	/* Some answer with the head alone to what they do not understand. */
	if (size == 12 && big16(p) == q->id && (p[2] & 0x80) && big16(p + 4) == 0 && (p[3] & 15) == DNS_FORMERR && !q->plain) {
		ask_plainly(q, now);
		return 1;
	}
	if (!read_reply(p, size) || reply.id != q->id || reply.type != (q->six ? DNS_AAAA : DNS_A))
		return 0;
	if (reply.chain_length[0] != r->length || !same_bytes(reply.chain[0], r->name, r->length))
		return 0;
	code = reply.flags & 15;
	if ((code == DNS_FORMERR || code == DNS_NOTIMP) && !q->plain) {
		ask_plainly(q, now);
		return 1;
	}
	if (code != 0 && code != DNS_NXDOMAIN) {
		give_up_resolver(q, now);
		return 1;
	}
	if (code == 0)
		take_reply(now);
	if ((reply.flags & DNS_TC) && q->mode == DATAGRAM) {
		q->mode = STREAM_CONNECTING;
		ask_on(q, now);
		return 1;
	}
	names.preferred = q->resolver;
	empty = code != 0 || reply.address_count == 0;
	uint32_t seconds = empty ? reply.negative_ttl : reply.ttl, most = empty ? NEGATIVE_MAX : TTL_MAX;
	settle_lookup(q, KNOWN, seconds < TTL_MIN ? TTL_MIN : seconds > most ? most : seconds, now);
	return 1;
}
static long receive_reply(const struct question *q, uint8_t *to, unsigned size)
{
	long n;
	do
		n = rules_call(__NR_recvfrom, q->fd, (long)to, size, 0, 0, 0);
	while (n == -RULES_EINTR);
	return n;
}
static void read_datagrams(struct question *q, uint64_t now)
{
	static uint8_t packet[DATAGRAM_MAX];
	for (int i = 0; i < 16; i++) {
		long n = receive_reply(q, packet, sizeof packet);
		if (n == -RULES_EAGAIN)
			return;
		if (n < 0) {
			give_up_resolver(q, now);
			return;
		}
		if (is_answer(q, packet, (unsigned)n, now))
			return;
	}
}
static void read_stream(struct question *q, uint64_t now)
{
	if (q->mode == STREAM_CONNECTING) {
		int r = send_question(q);
		if (r == -RULES_EAGAIN)
			return;
		if (r < 0) {
			give_up_resolver(q, now);
			return;
		}
		q->mode = STREAM_READING;
	}
	for (;;) {
		unsigned want = q->have < 2 ? 2 : 2 + big16(q->buffer);
		if (want > sizeof q->buffer) {
			give_up_resolver(q, now);
			return;
		}
		if (q->have >= 2 && q->have == want) {
			if (!is_answer(q, q->buffer + 2, want - 2, now))
				give_up_resolver(q, now);
			return;
		}
		long n = receive_reply(q, q->buffer + q->have, want - q->have);
		if (n == -RULES_EAGAIN)
			return;
		if (n <= 0) {
			give_up_resolver(q, now);
			return;
		}
		q->have += (unsigned)n;
	}
}
int rules_readable(int fd, unsigned long long now_ms)
{
	for (unsigned i = 0; i < RULES_POLLFDS; i++) {
		struct question *q = &names.questions[i];
		if (q->mode == UNUSED || q->fd != fd)
			continue;
		if (q->mode == DATAGRAM)
			read_datagrams(q, now_ms);
		else
			read_stream(q, now_ms);
		begin_waiting(now_ms);
		return 1;
	}
	return 0;
}
int rules_pollfds(struct pollfd_ *out)
{
	int n = 0;
	for (unsigned i = 0; i < RULES_POLLFDS; i++) {
		const struct question *q = &names.questions[i];
		if (q->mode == UNUSED)
			continue;
		out[n].fd = q->fd;
		out[n].events = q->mode == STREAM_CONNECTING ? RULES_POLLOUT : RULES_POLLIN;
		out[n++].revents = 0;
	}
	return n;
}
/* A try was in vain. With nobody else to ask it is the same question again: the answer to the first may come yet. */
static void try_again(struct question *q, uint64_t now)
{
	unsigned next = q->resolver;
	do
		next = (next + 1) % rules.resolver_count;
	while (next != q->resolver && (q->failed >> next & 1));
	if (next != q->resolver) {
		q->resolver = (uint8_t)next;
		q->mode = DATAGRAM;
		ask_on(q, now);
	} else if (q->mode != DATAGRAM || q->tries >= TRIES_MAX || send_question(q) < 0) {
		give_up_resolver(q, now);
	} else {
		q->tries++;
		q->until = now + TRY_MS;
	}
}
int rules_tick(unsigned long long now_ms)
{
	uint64_t next = UINT64_MAX;
	if (names.asking == 0)
		return -1;
	for (unsigned i = 0; i < RULES_POLLFDS; i++) {
		struct question *q = &names.questions[i];
		if (q->mode == UNUSED)
			continue;
		if (now_ms >= names.lookups[q->target][q->six].until)
			settle_lookup(q, FAILED, 0, now_ms);
		else if (now_ms >= q->until)
			try_again(q, now_ms);
	}
	/* Those that nobody has begun with. */
	for (unsigned i = 0; i < rules.rule_count * 2; i++) {
		struct lookup *lookup = &names.lookups[i / 2][i % 2];
		if (lookup->state == ASKING && !lookup->begun && now_ms >= lookup->until) {
			lookup->state = FAILED;
			lookup->until = now_ms + FAILED_MS;
			names.asking--;
		}
	}
	begin_waiting(now_ms);
	for (unsigned i = 0; i < rules.rule_count * 2; i++) {
		const struct lookup *lookup = &names.lookups[i / 2][i % 2];
		if (lookup->state == ASKING && lookup->until < next)
			next = lookup->until;
	}
	for (unsigned i = 0; i < RULES_POLLFDS; i++) {
		const struct question *q = &names.questions[i];
		if (q->mode != UNUSED && q->until < next)
			next = q->until;
	}
	if (next == UINT64_MAX)
		return -1;
	return next > now_ms ? (int)(next - now_ms) : 0;
}
static void names_forget(void)
{
	for (unsigned i = 0; i < RULES_POLLFDS; i++)
		if (names.questions[i].mode != UNUSED) {
			hang_up(&names.questions[i]);
			names.questions[i].mode = UNUSED;
		}
	for (unsigned i = 0; i < RULES_MAX; i++) {
		names.counts[i] = 0;
		names.lookups[i][0].state = names.lookups[i][1].state = NEVER;
	}
	names.asking = names.preferred = names.next = 0;
}
