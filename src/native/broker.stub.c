/*
 * The broker: makes the sockets of a sandbox in the network outside, whose own process may make none. [UID GID]: the ids that it
 * takes on, where it may (65534).
 *
 * flags: -Wl,-z,noexecstack -Wl,--build-id=none
 *
 * Descriptor 0 is its socket to the sandbox process (broker.h), 1 the file of rules (broker-rules.h), 2 for one line before it
 * ends in a way that it should not. Its starter has put it into the network namespace. It reads the rules, gives away
 * its root, ids, capabilities and system calls, and serves until the socket is closed. What comes from the sandbox is not believed:
 * whoever takes that over has what the rules allow.
 *
 * Where rules restrict what is reached, sockets that can send anywhere at any time (datagrams, raw) stay here, and the sandbox gets
 * a relay for each. TCP sockets are handed over: connect, bind and listen are not for the sandbox process to call.
 *
 * No memory is allocated. Every table has its end; while an answer waits for the sandbox to read, no further request is
 * read, but relays go on.
 */
#include <asm/poll.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>

#include "broker.h"

enum { CONTROL = 0, RULES = 1, LOG = 2 };
enum {
	EPERM_ = 1, EINTR_ = 4, EBADF_ = 9, EAGAIN_ = 11, EACCES_ = 13, EBUSY_ = 16, EINVAL_ = 22, ENFILE_ = 23, EPIPE_ = 32,
	ENOTSOCK_ = 88, EDESTADDRREQ_ = 89, EPROTONOSUPPORT_ = 93, ESOCKTNOSUPPORT_ = 94, EOPNOTSUPP_ = 95, EAFNOSUPPORT_ = 97,
	EADDRINUSE_ = 98, ECONNRESET_ = 104, ENOBUFS_ = 105, ECONNREFUSED_ = 111, EINPROGRESS_ = 115, E2BIG_ = 7, EIO_ = 5,
};
enum { AF_UNIX_ = 1, AF_NETLINK_ = 16, SOCK_SEQPACKET_ = 5, SOCK_OPEN_ = 02000000 | 04000 /* CLOEXEC | NONBLOCK */ };
enum { O_NONBLOCK_ = 04000, F_GETFL_ = 3 };
enum { MSG_PEEK_ = 2, MSG_CTRUNC_ = 8, MSG_TRUNC_ = 0x20, MSG_DONTWAIT_ = 0x40, MSG_ERRQUEUE_ = 0x2000, MSG_NOSIGNAL_ = 0x4000, MSG_CMSG_CLOEXEC_ = 0x40000000 };
enum { SOL_IP_ = 0, SOL_SOCKET_ = 1, SOL_IPV6_ = 41, SOL_ICMPV6_ = 58, SOL_RAW_ = 255, SCM_RIGHTS_ = 1 };
enum {
	SO_REUSEADDR_ = 2, SO_TYPE_ = 3, SO_ERROR_ = 4, SO_BROADCAST_ = 6, SO_SNDBUF_ = 7, SO_RCVBUF_ = 8, SO_PRIORITY_ = 12, SO_REUSEPORT_ = 15,
	SO_PROTOCOL_ = 38, SO_DOMAIN_ = 39, SO_COOKIE_ = 57, SO_NETNS_COOKIE_ = 71, IP_FREEBIND_ = 15, IP_RECVERR_ = 11, IPV6_RECVERR_ = 25, IPV6_V6ONLY_ = 26,
};
enum { EPOLLIN_ = 1, EPOLLOUT_ = 4, EPOLLERR_ = 8, EPOLLHUP_ = 0x10, EPOLLRDHUP_ = 0x2000, EPOLL_ADD = 1, EPOLL_DEL = 2, EPOLL_MOD = 3 };

/* How long a name may take to be resolved, which decides of a connection. */
#define PATIENCE_MS 5000
/* Turns of one relay, and requests, before the others have theirs. */
#define TURNS 16

static long call6(long nr, long a, long b, long c, long d, long e, long f)
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
static long call3(long nr, long a, long b, long c) { return call6(nr, a, b, c, 0, 0, 0); }
static long call5(long nr, long a, long b, long c, long d, long e) { return call6(nr, a, b, c, d, e, 0); }

/* The compiler calls these, too. */
void *memcpy(void *to, const void *from, size_t n)
{
	void *result = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return result;
}
void *memset(void *to, int byte, size_t n)
{
	void *result = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return result;
}
int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}
static int same(const void *a, const void *b, size_t n) { return memcmp(a, b, n) == 0; }

static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}
static char *append_number(char *to, unsigned long value, unsigned base)
{
	char digits[24];
	int n = 0;
	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
	return to;
}
__attribute__((noreturn)) static void leave(int code)
{
	for (;;)
		call3(__NR_exit_group, code, 0, 0);
}
/* Ends with a line that says why. */
__attribute__((noreturn)) static void give_up(const char *what, long error)
{
	char line[160], *end = append(append(line, "runts-broker: "), what);
	if (error < 0)
		end = append_number(append(end, ": errno "), (unsigned long)-error, 10);
	end = append(end, "\n");
	call3(__NR_write, LOG, (long)line, end - line);
	leave(1);
}

#include "broker-rules.h"

static unsigned long long now_ms(void)
{
	long time[2] = { 0, 0 };
	call3(__NR_clock_gettime, 1 /* MONOTONIC */, (long)time, 0);
	return (unsigned long long)time[0] * 1000 + (unsigned long long)time[1] / 1000000;
}
static void close_fd(int fd)
{
	if (fd >= 0)
		call3(__NR_close, fd, 0, 0);
}

/* --- Addresses --- */

/* sockaddr_in and sockaddr_in6. */
union sockaddress {
	struct {
		uint16_t family, port;
		uint8_t ip[4], zero[8];
	} v4;
	struct {
		uint16_t family, port;
		uint32_t flow;
		uint8_t ip[16];
		uint32_t scope;
	} v6;
};
static uint16_t swap(uint16_t n) { return (uint16_t)(n << 8 | n >> 8); }
static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* The address of a place for sockets of that domain; its length, or -errno. IPv4 has its form among IPv6 addresses. */
static long to_address(int domain, const struct place *place, union sockaddress *out)
{
	memset(out, 0, sizeof *out);
	if (domain == FAMILY_INET && place->family == FAMILY_INET) {
		out->v4.family = FAMILY_INET;
		out->v4.port = swap(place->port);
		memcpy(out->v4.ip, place->ip, 4);
		return sizeof out->v4;
	}
	if (domain != FAMILY_INET6 || (place->family != FAMILY_INET && place->family != FAMILY_INET6))
		return -EAFNOSUPPORT_;
	out->v6.family = FAMILY_INET6;
	out->v6.port = swap(place->port);
	out->v6.scope = place->scope;
	if (place->family == FAMILY_INET) {
		memcpy(out->v6.ip, mapped, 12);
		memcpy(out->v6.ip + 12, place->ip, 4);
	} else
		memcpy(out->v6.ip, place->ip, 16);
	return sizeof out->v6;
}
static void to_place(const union sockaddress *address, struct place *out)
{
	memset(out, 0, sizeof *out);
	if (address->v4.family != FAMILY_INET && address->v4.family != FAMILY_INET6)
		return;
	out->family = address->v4.family;
	out->port = swap(address->v4.port);
	if (out->family == FAMILY_INET)
		memcpy(out->ip, address->v4.ip, 4);
	else {
		memcpy(out->ip, address->v6.ip, 16);
		out->scope = address->v6.scope;
	}
}
static void own_place(int fd, struct place *out)
{
	union sockaddress address;
	int length = sizeof address;
	memset(&address, 0, sizeof address);
	call3(__NR_getsockname, fd, (long)&address, (long)&length);
	to_place(&address, out);
}
static char *append_place(char *to, const struct place *place)
{
	if (place->family == FAMILY_INET)
		for (int i = 0; i < 4; i++)
			to = append_number(i ? append(to, ".") : to, place->ip[i], 10);
	else {
		/* The longest row of zeros is left out. */
		int from = 8, most = 1;
		for (int i = 0, n = 0; i < 8; i++) {
			n = place->ip[2 * i] || place->ip[2 * i + 1] ? 0 : n + 1;
			if (n > most)
				most = n, from = i - n + 1;
		}
		to = append(to, "[");
		for (int i = 0; i < 8; i++) {
			if (i == from) {
				to = append(to, "::");
				i += most - 1;
				continue;
			}
			if (i > 0 && i != from + most)
				to = append(to, ":");
			to = append_number(to, (unsigned long)(place->ip[2 * i] << 8 | place->ip[2 * i + 1]), 16);
		}
		to = append(to, "]");
	}
	return place->port ? append_number(append(to, ":"), place->port, 10) : to;
}

/* --- Sockets --- */

static int get_option(int fd, int level, int name, void *out, int size)
{
	int length = size;
	long r = call5(__NR_getsockopt, fd, level, name, (long)out, (long)&length);
	return r < 0 ? (int)r : length == size ? 0 : -EINVAL_;
}
static int option_of(int fd, int name)
{
	int value = 0, r = get_option(fd, SOL_SOCKET_, name, &value, sizeof value);
	return r < 0 ? r : value;
}
static int set_option(int fd, int level, int name, int value)
{
	return (int)call5(__NR_setsockopt, fd, level, name, (long)&value, sizeof value);
}
static int set_flags(int fd, int domain, uint32_t flags)
{
	int r = 0;
	if (r == 0 && flags & BROKER_REUSEADDR)
		r = set_option(fd, SOL_SOCKET_, SO_REUSEADDR_, 1);
	if (r == 0 && flags & BROKER_REUSEPORT)
		r = set_option(fd, SOL_SOCKET_, SO_REUSEPORT_, 1);
	if (r == 0 && flags & BROKER_BROADCAST)
		r = set_option(fd, SOL_SOCKET_, SO_BROADCAST_, 1);
	if (r == 0 && flags & BROKER_FREEBIND)
		r = set_option(fd, SOL_IP_, IP_FREEBIND_, 1);
	/* In both directions, since namespaces have a default of their own. */
	if (r == 0 && domain == FAMILY_INET6 && flags & BROKER_V6ONLY)
		r = set_option(fd, SOL_IPV6_, IPV6_V6ONLY_, 1);
	return r;
}

/* A socket that the request is about: made for it, come with it, or a relay's. */
struct relay;
struct subject {
	int fd, domain, type, protocol;
	struct relay *relay;
};

/* Of our network namespace, as far as the host tells (0: it does not). */
static uint64_t namespace_cookie;

/*
 * What a descriptor is, which may be anything. Only what could be one of ours is worked with: a socket that would wait, or that is in
 * another network, is not.
 */
static int examine(int fd, struct subject *out)
{
	uint64_t cookie;
	out->relay = NULL;
	out->fd = fd;
	if ((out->domain = option_of(fd, SO_DOMAIN_)) < 0)
		return out->domain;
	out->type = option_of(fd, SO_TYPE_);
	out->protocol = option_of(fd, SO_PROTOCOL_);
	if (out->domain != FAMILY_INET && out->domain != FAMILY_INET6)
		return -EINVAL_;
	if (out->type != TYPE_STREAM && out->type != TYPE_DGRAM && out->type != TYPE_RAW)
		return -EINVAL_;
	if (out->type == TYPE_STREAM && out->protocol != PROTOCOL_TCP)
		return -EINVAL_;
	/* Never handed over under such rules. */
	if (out->type != TYPE_STREAM && rules_restricted())
		return -EINVAL_;
	if (namespace_cookie && get_option(fd, SOL_SOCKET_, SO_NETNS_COOKIE_, &cookie, sizeof cookie) == 0 && cookie != namespace_cookie)
		return -EINVAL_;
	long flags = call3(__NR_fcntl, fd, F_GETFL_, 0);
	return flags < 0 || !(flags & O_NONBLOCK_) ? -EINVAL_ : 0;
}
/* Is it a kind of socket that there is, under these rules? */
static int check_kind(const struct broker_request *q)
{
	int echo = q->family == FAMILY_INET ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
	if (q->family != FAMILY_INET && q->family != FAMILY_INET6)
		return -EAFNOSUPPORT_;
	if (q->type == TYPE_STREAM)
		return q->protocol == 0 || q->protocol == PROTOCOL_TCP ? 0 : -EPROTONOSUPPORT_;
	if (q->type == TYPE_DGRAM)
		return q->protocol == 0 || q->protocol == PROTOCOL_UDP || q->protocol == echo ? 0 : -EPROTONOSUPPORT_;
	if (q->type != TYPE_RAW)
		return -ESOCKTNOSUPPORT_;
	if (!rules_raw())
		return -EPERM_;
	/* Whoever writes headers himself chooses ports that no rule has seen. */
	if (rules_restricted() && q->protocol != echo)
		return -EPERM_;
	return q->protocol > 0 && q->protocol <= 255 ? 0 : -EPROTONOSUPPORT_;
}

/* --- What goes to the sandbox --- */

struct vector {
	void *base;
	size_t length;
};
struct message {
	void *name;
	int name_length;
	struct vector *vectors;
	size_t vector_count;
	void *control;
	size_t control_length;
	int flags;
};
/* cmsghdr, with room for two descriptors. */
struct control {
	size_t length;
	int level, type;
	int fds[2];
};

#define TEXT 160
struct outgoing {
	struct broker_answer_head head;
	char text[TEXT];
	unsigned size;
	int fd;
};
/* Answers that wait. No request is read meanwhile; what comes by itself is one for each pending connection, and refusals. */
#define QUEUE 128
static struct outgoing queue[QUEUE];
static unsigned queue_first, queue_count;
/*
 * Who does not read for long gets no more than these numbers kept, and its requests refused: among them may be the last descriptor
 * of the sandbox's end, without which we would never hear that it is gone.
 */
#define UNSERVED 1024
#define STALL_MS 1000
static uint32_t unserved[UNSERVED];
static unsigned unserved_count;
/* A message of routes, and how much of it waits to be sent. */
static struct broker_answer routes;
static unsigned routes_size;

/* 1: sent, 0: not now, or -errno */
static int send_control(const void *bytes, unsigned size, int fd)
{
	struct control control = { offsetof(struct control, fds) + sizeof(int), SOL_SOCKET_, SCM_RIGHTS_, { fd, 0 } };
	struct vector vector = { (void *)bytes, size };
	struct message m = { .vectors = &vector, .vector_count = 1 };
	if (fd >= 0) {
		m.control = &control;
		m.control_length = control.length;
	}
	long n;
	while ((n = call3(__NR_sendmsg, CONTROL, (long)&m, MSG_NOSIGNAL_ | MSG_DONTWAIT_)) == -EINTR_)
		;
	return n == -EAGAIN_ ? 0 : n < 0 ? (int)n : 1;
}
__attribute__((noreturn)) static void finish(void);

/* Sends it, and closes its descriptor; 0 when that cannot be now. */
static int deliver(struct outgoing *out)
{
	int r = send_control(&out->head, out->size, out->fd);
	if (r < 0 && out->fd >= 0 && r != -EPIPE_ && r != -ECONNRESET_) {
		/* The host has too many descriptors on their way. */
		close_fd(out->fd);
		out->fd = -1;
		out->head.result = -ENFILE_;
		out->head.flags = 0;
		r = send_control(&out->head, out->size, -1);
	}
	if (r < 0)
		finish();
	if (r > 0)
		close_fd(out->fd);
	return r;
}
static int is_full(void) { return queue_count || routes_size || unserved_count; }
/* The sandbox is gone: nobody hears of anything. */
static int ending;

/* Sends it now or later. Its descriptor is ours to close. */
static void post(struct outgoing *out)
{
	if (ending) {
		close_fd(out->fd);
		return;
	}
	if (!is_full() && deliver(out))
		return;
	if (queue_count == QUEUE)
		close_fd(out->fd);
	else
		queue[(queue_first + queue_count++) % QUEUE] = *out;
}
static void begin_answer(struct outgoing *out, uint32_t seq, int result)
{
	memset(&out->head, 0, sizeof out->head);
	out->head.seq = seq;
	out->head.result = result;
	out->size = BROKER_ANSWER_HEAD;
	out->fd = -1;
}
/* Sends what waits, as far as the sandbox reads. */
static void flush(void)
{
	if (routes_size) {
		int r = send_control(&routes, routes_size, -1);
		if (r < 0)
			finish();
		if (r == 0)
			return;
		routes_size = 0;
	}
	while (queue_count && deliver(&queue[queue_first])) {
		queue_first = (queue_first + 1) % QUEUE;
		queue_count--;
	}
	while (!queue_count && unserved_count) {
		struct outgoing out;
		begin_answer(&out, unserved[unserved_count - 1], -ENOBUFS_);
		if (!deliver(&out))
			return;
		unserved_count--;
	}
}
/*
 * about: the socket whose address is told, or -1; send: a descriptor that goes along, or -1, closed here; drop: one that is
 * closed before, or -1: who hears of it may count on being the only one who has that socket.
 */
static void answer(uint32_t seq, int result, int about, int send, int flags, int drop)
{
	struct outgoing out;
	begin_answer(&out, seq, result);
	if (about >= 0)
		own_place(about, &out.head.place);
	close_fd(drop);
	out.fd = send;
	out.head.flags = (uint16_t)(send >= 0 ? ANSWER_DESCRIPTOR | flags : 0);
	post(&out);
}

/* Tells the log what was refused: at most twenty a second, and only while the sandbox reads. */
static void refused(const char *what, int protocol, const struct place *place, int rule)
{
	static unsigned long long second;
	static int told;
	unsigned long long now = now_ms();
	if (now - second >= 1000)
		second = now, told = 0;
	if (told++ >= 20 || queue_count > QUEUE / 4)
		return;
	struct outgoing out;
	begin_answer(&out, 0, 0);
	out.head.kind = ANSWER_REFUSAL;
	out.head.place = *place;
	char *end = append(append(out.text, what), " ");
	switch (protocol) {
	case PROTOCOL_TCP: end = append(end, "tcp "); break;
	case PROTOCOL_UDP: end = append(end, "udp "); break;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6: end = append(end, "icmp "); break;
	default: end = append(append_number(append(end, "protocol "), (unsigned)protocol, 10), " ");
	}
	end = append_place(end, place);
	switch (rule) {
	case RULE_NONE: end = append(end, ": no rule allows it"); break;
	case RULE_METADATA: end = append(end, ": where secrets of hosts are told"); break;
	case RULE_LOOPBACK: end = append(end, ": the host's loopback"); break;
	case RULE_UNRESOLVED: end = append(end, ": a name of the rules cannot be resolved"); break;
	default: end = rule < 0 ? end : append_number(append(end, ": rule "), (unsigned)rule + 1, 10);
	}
	out.head.length = (uint32_t)(end - out.text);
	out.size += out.head.length;
	post(&out);
}

/* --- Relays --- */

struct relay {
	/* Our socket outside, our end of the pair; pair < 0: this entry is free. */
	int socket, pair;
	uint64_t cookie; /* of the sandbox's end: by it a descriptor that comes back is known */
	uint32_t watched[2];
	int16_t domain, protocol;
	uint8_t type;
	uint8_t connected; /* to peer */
	uint8_t allowed;   /* and the rules let it */
	uint8_t serves;    /* bound to a port of its choice: whoever sends to it gets its replies */
	uint8_t paused;    /* what the sandbox sends waits, see below */
	uint8_t blocked;   /* what comes in waits: the sandbox does not read */
	uint8_t hung;      /* the sandbox has closed its end, or is as good as gone */
	uint8_t expired;   /* the name was waited for */
	unsigned long long deadline;
	struct place peer;
};
enum { PAUSED_NAME = 1, PAUSED_SOCKET = 2 };
enum { SIDE_SOCKET = 0, SIDE_PAIR = 1 };
#define RELAYS 512
static struct relay relays[RELAYS];
static unsigned relay_top; /* entries beyond it were never used */
static unsigned relays_paused;
static int epoll = -1;
/* Verdicts may be others than before: what waits for one is looked at again, and now and then in any case. */
static int names_changed;
#define LOOK_MS 100

/* One message of a relay. */
static struct {
	struct place place;
	uint8_t payload[RELAY_PAYLOAD + 1];
} relayed;

/* Who has sent to a socket that serves, lately. A later one takes the place of an earlier one. */
#define HEARD 1024
#define HEARD_MS 60000
static struct {
	uint64_t cookie;
	unsigned long long until;
	struct place from;
} heard[HEARD];

static unsigned heard_at(const struct relay *r, const struct place *from)
{
	uint32_t hash = (uint32_t)r->cookie * 2654435761u + from->port * 40503u;
	for (int i = 0; i < 16; i++)
		hash = (hash ^ from->ip[i]) * 16777619u;
	return (hash ^ hash >> 16) % HEARD;
}
static void hear(const struct relay *r, const struct place *from, unsigned long long now)
{
	unsigned at = heard_at(r, from);
	heard[at].cookie = r->cookie;
	heard[at].from = *from;
	heard[at].until = now + HEARD_MS;
}
static int was_heard(const struct relay *r, const struct place *to, unsigned long long now)
{
	unsigned at = heard_at(r, to);
	return r->serves && heard[at].cookie == r->cookie && heard[at].until > now && same(&heard[at].from, to, sizeof *to);
}

static long watch(struct relay *r, int side, uint32_t events)
{
	struct {
		uint32_t events;
		uint64_t data;
	} __attribute__((packed)) event = { events, (uint64_t)(r - relays) << 1 | (unsigned)side };
	if (r->watched[side] == events)
		return 0;
	int op = events == 0 ? EPOLL_DEL : r->watched[side] == 0 ? EPOLL_ADD : EPOLL_MOD;
	long n = call6(__NR_epoll_ctl, epoll, op, side == SIDE_PAIR ? r->pair : r->socket, (long)&event, 0, 0);
	if (n == 0)
		r->watched[side] = events;
	return n;
}
static void close_relay(struct relay *r);
/*
 * What it waits for. Errors and ends are told always: who cannot take them is not watched at all. One that the host cannot watch,
 * for want of memory, is closed; that is its end for the sandbox, too. 0 or -errno.
 */
static long rewatch(struct relay *r)
{
	uint32_t socket = r->paused == PAUSED_SOCKET ? EPOLLOUT_ : 0, pair = 0;
	if (!r->hung) {
		pair = EPOLLRDHUP_ | (r->paused ? 0 : EPOLLIN_) | (r->blocked ? EPOLLOUT_ : 0);
		socket |= r->blocked ? 0 : EPOLLIN_;
	}
	long n = watch(r, SIDE_SOCKET, socket);
	if (n == 0)
		n = watch(r, SIDE_PAIR, pair);
	if (n < 0)
		close_relay(r);
	return n;
}
static void pause_for(struct relay *r, int why)
{
	relays_paused += (why == PAUSED_NAME) - (r->paused == PAUSED_NAME);
	r->paused = (uint8_t)why;
}
static void close_relay(struct relay *r)
{
	pause_for(r, 0);
	watch(r, SIDE_SOCKET, 0);
	watch(r, SIDE_PAIR, 0);
	close_fd(r->socket);
	close_fd(r->pair);
	r->pair = -1;
}
static struct relay *relay_of(uint64_t cookie)
{
	for (unsigned i = 0; i < relay_top; i++)
		if (relays[i].pair >= 0 && relays[i].cookie == cookie)
			return &relays[i];
	return NULL;
}
/* Makes one for a socket, which is its own from then on, or closed. Returns the sandbox's end, or -errno. */
static int make_relay(int socket, int domain, int type, int protocol, struct relay **out)
{
	struct relay *r = NULL;
	int pair[2];
	for (unsigned i = 0; i < relay_top && !r; i++)
		if (relays[i].pair < 0)
			r = &relays[i];
	if (!r && relay_top < RELAYS)
		r = &relays[relay_top];
	long n = r ? call6(__NR_socketpair, AF_UNIX_, SOCK_SEQPACKET_ | SOCK_OPEN_, 0, (long)pair, 0, 0) : -ENFILE_;
	if (n < 0) {
		close_fd(socket);
		return (int)n;
	}
	memset(r, 0, sizeof *r);
	n = get_option(pair[1], SOL_SOCKET_, SO_COOKIE_, &r->cookie, sizeof r->cookie);
	if (r == &relays[relay_top])
		relay_top++;
	if (n < 0) {
		r->pair = -1;
		close_fd(socket);
		close_fd(pair[0]);
		close_fd(pair[1]);
		return (int)n;
	}
	r->socket = socket;
	r->pair = pair[0];
	r->domain = (int16_t)domain;
	r->protocol = (int16_t)protocol;
	r->type = (uint8_t)type;
	*out = r;
	n = rewatch(r);
	if (n == 0)
		return pair[1];
	close_fd(pair[1]);
	return (int)n;
}

/* Hands a message in. */
static void hand_in(struct relay *r, const void *bytes, size_t size)
{
	long n = call6(__NR_sendto, r->pair, (long)bytes, (long)size, MSG_NOSIGNAL_ | MSG_DONTWAIT_, 0, 0);
	if (n == -EAGAIN_)
		r->blocked = 1;
	else if (n == -EPIPE_ || n == -ECONNRESET_)
		r->hung = 1;
}
/* An error of the socket's, or of the rules'. */
static void tell(struct relay *r, long error)
{
	struct place place;
	uint32_t value = (uint32_t)error;
	memset(&place, 0, sizeof place);
	place.family = RELAY_ERROR;
	memcpy(place.ip, &value, 4);
	hand_in(r, &place, sizeof place);
}
/*
 * May it send there? Of a name that was waited for long enough: no. Where nothing but the lack of a rule forbids it, who serves may
 * answer, as he may on a connection that he has accepted.
 */
static int verdict(struct relay *r, const struct place *to, int *rule, unsigned long long now)
{
	int v = rules_egress(r->protocol, to, now, rule);
	if (v == VERDICT_LATER && r->expired) {
		*rule = RULE_UNRESOLVED;
		v = VERDICT_DENY;
	}
	return v == VERDICT_DENY && *rule < 0 && was_heard(r, to, now) ? VERDICT_ALLOW : v;
}
/* Sends on what the sandbox has put into the pair. A message is taken out when it is dealt with. */
static void outbound(struct relay *r, int turns)
{
	while (turns-- > 0) {
		long n = call6(__NR_recvfrom, r->pair, (long)&relayed, sizeof relayed, MSG_PEEK_ | MSG_DONTWAIT_, 0, 0);
		if (n == -EAGAIN_)
			return;
		if (n < 0) {
			r->hung = 1;
			return;
		}
		if (n == 0 && r->hung)
			return;
		if (n >= (long)sizeof relayed.place && n < (long)sizeof relayed) {
			struct place to = relayed.place;
			unsigned long long now = now_ms();
			int rule = -1, v, connected = to.family == FAMILY_NONE;
			if (connected)
				to = r->peer;
			if (connected && !r->connected)
				tell(r, EDESTADDRREQ_);
			else if (to.family != FAMILY_INET && to.family != FAMILY_INET6)
				tell(r, EAFNOSUPPORT_);
			else {
				v = connected && r->allowed ? VERDICT_ALLOW : verdict(r, &to, &rule, now);
				if (v == VERDICT_LATER) {
					pause_for(r, PAUSED_NAME);
					r->deadline = now + PATIENCE_MS;
					return;
				}
				r->expired = 0;
				if (v != VERDICT_ALLOW) {
					refused("egress", r->protocol, &to, rule);
					tell(r, connected ? ECONNREFUSED_ : EACCES_);
				} else {
					union sockaddress address;
					long length = connected ? 0 : to_address(r->domain, &to, &address);
					if (connected)
						r->allowed = 1;
					long sent = length < 0 ? length
							       : call6(__NR_sendto, r->socket, (long)relayed.payload, n - (long)sizeof relayed.place, MSG_NOSIGNAL_ | MSG_DONTWAIT_,
								       connected ? 0 : (long)&address, length);
					if (sent == -EAGAIN_) {
						pause_for(r, PAUSED_SOCKET);
						return;
					}
					if (sent < 0)
						tell(r, -sent);
				}
			}
		}
		/* Nothing, of a message: the rest of it goes. */
		call6(__NR_recvfrom, r->pair, (long)&relayed, 0, MSG_DONTWAIT_, 0, 0);
	}
}
/* What was sent before the end is dealt with whole. */
static int turns_of(const struct relay *r) { return r->hung ? 1024 : TURNS; }
/* Hands in what has come from outside. */
static void inbound(struct relay *r)
{
	for (int turns = TURNS; turns > 0 && !r->blocked && !r->hung; turns--) {
		union sockaddress address;
		struct vector vector = { relayed.payload, sizeof relayed.payload };
		struct message m = { .name = &address, .name_length = sizeof address, .vectors = &vector, .vector_count = 1 };
		memset(&address, 0, sizeof address);
		long n = call3(__NR_recvmsg, r->socket, (long)&m, MSG_DONTWAIT_);
		if (n == -EAGAIN_)
			return;
		if (n < 0) {
			tell(r, -n);
			continue;
		}
		/* Its peer is one that the rules forbid, or have not decided on. */
		if ((r->connected && !r->allowed) || n > RELAY_PAYLOAD)
			continue;
		to_place(&address, &relayed.place);
		unsigned long long now = now_ms();
		if (r->protocol == PROTOCOL_UDP && rules_is_resolver(PROTOCOL_UDP, &relayed.place)) {
			rules_learn(relayed.payload, (unsigned)n, now);
			names_changed = 1;
		}
		if (r->serves)
			hear(r, &relayed.place, now);
		hand_in(r, &relayed, sizeof relayed.place + (size_t)n);
	}
}
/* Errors that came by ICMP and were asked for by IP_RECVERR, and the one that a call would return. */
static void take_errors(struct relay *r)
{
	int error = 0;
	for (int turns = TURNS; turns > 0; turns--) {
		/* cmsghdr, then sock_extended_err, which begins with the errno. */
		struct {
			size_t length;
			int level, type;
			uint32_t error, rest[19];
		} control;
		struct vector vector = { relayed.payload, 1 };
		struct message m = { .vectors = &vector, .vector_count = 1, .control = &control, .control_length = sizeof control };
		memset(&control, 0, sizeof control);
		if (call3(__NR_recvmsg, r->socket, (long)&m, MSG_DONTWAIT_ | MSG_ERRQUEUE_) < 0)
			break;
		int ip = control.level == SOL_IP_ && control.type == IP_RECVERR_, ip6 = control.level == SOL_IPV6_ && control.type == IPV6_RECVERR_;
		if (m.control_length >= offsetof(typeof(control), rest) && (ip || ip6) && control.error)
			error = (int)control.error;
	}
	int pending = option_of(r->socket, SO_ERROR_);
	if (pending > 0)
		error = pending;
	if (error && !r->blocked && !r->hung)
		tell(r, error);
}
static void relay_event(unsigned index, int side, uint32_t events)
{
	struct relay *r = &relays[index];
	if (index >= relay_top || r->pair < 0)
		return;
	if (side == SIDE_PAIR) {
		if (events & (EPOLLHUP_ | EPOLLRDHUP_ | EPOLLERR_))
			r->hung = 1;
		if (events & EPOLLOUT_)
			r->blocked = 0;
		if (!r->paused)
			outbound(r, turns_of(r));
	} else {
		if (events & EPOLLERR_)
			take_errors(r);
		if (r->paused == PAUSED_SOCKET && events & (EPOLLOUT_ | EPOLLERR_)) {
			pause_for(r, 0);
			outbound(r, turns_of(r));
		}
		if (events & EPOLLIN_)
			inbound(r);
	}
	if (r->hung && !r->paused)
		close_relay(r);
	else
		rewatch(r);
}
/* Messages that waited for a name are looked at again. */
static void resume_relays(unsigned long long now)
{
	for (unsigned i = 0; i < relay_top && relays_paused; i++) {
		struct relay *r = &relays[i];
		if (r->pair < 0 || r->paused != PAUSED_NAME)
			continue;
		unsigned long long deadline = r->deadline;
		r->expired = now >= deadline;
		pause_for(r, 0);
		outbound(r, turns_of(r));
		/* The same message still waits, and no longer than it would have. */
		if (r->paused == PAUSED_NAME && deadline > now)
			r->deadline = deadline;
		if (r->hung && !r->paused)
			close_relay(r);
		else
			rewatch(r);
	}
}
/* The sandbox is gone. What it had sent goes on its way. */
__attribute__((noreturn)) static void finish(void)
{
	ending = 1;
	for (unsigned i = 0; i < relay_top; i++)
		if (relays[i].pair >= 0) {
			relays[i].hung = 1;
			outbound(&relays[i], 64);
		}
	leave(0);
}

/* --- Connections whose verdict waits for a name --- */

#define PENDING 64
static struct {
	uint32_t seq; /* 0: this entry is free */
	int made;     /* the socket is ours to hand over; otherwise it came with the request */
	struct subject subject;
	struct place to;
	unsigned long long deadline;
} pending[PENDING];
static unsigned pending_count;

static long connect_to(int fd, int domain, const struct place *to)
{
	union sockaddress address;
	long length = to_address(domain, to, &address);
	return length < 0 ? length : call3(__NR_connect, fd, (long)&address, length);
}
/* Answers a CONNECT by TCP as the verdict says. The descriptor is closed or handed over. */
static void connect_now(uint32_t seq, int made, const struct subject *s, const struct place *to, int allowed, int rule)
{
	long r = -ECONNREFUSED_;
	if (allowed)
		r = connect_to(s->fd, s->domain, to);
	else
		refused("egress", s->protocol, to, rule);
	int keep = made && (r == 0 || r == -EINPROGRESS_);
	answer(seq, (int)r, s->fd, keep ? s->fd : -1, 0, keep ? -1 : s->fd);
}
static void resume_pending(unsigned long long now)
{
	for (unsigned i = 0; i < PENDING && pending_count; i++) {
		int rule = -1;
		if (!pending[i].seq)
			continue;
		int v = rules_egress(PROTOCOL_TCP, &pending[i].to, now, &rule);
		if (v == VERDICT_LATER && now < pending[i].deadline)
			continue;
		uint32_t seq = pending[i].seq;
		pending[i].seq = 0;
		pending_count--;
		connect_now(seq, pending[i].made, &pending[i].subject, &pending[i].to, v == VERDICT_ALLOW, v == VERDICT_LATER ? RULE_UNRESOLVED : rule);
	}
}

/* --- Routes, addresses, devices, neighbours --- */

enum { NLMSG_ERROR_ = 2, NLMSG_DONE_ = 3, NLM_F_REQUEST_ = 1, NLM_F_DUMP_ = 0x300, NLM_F_DUMP_INTR_ = 16 };
/* nlmsghdr */
struct netlink_head {
	uint32_t length;
	uint16_t type, flags;
	uint32_t seq, port;
};
/* LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE, NEIGH, as the bits of their numbers. */
#define GROUPS (1u << 0 | 1u << 2 | 1u << 4 | 1u << 6 | 1u << 8 | 1u << 10)
static int changes = -1, dumps = -1;
/* RTM_GETLINK, GETADDR, GETROUTE, GETNEIGH, with the size of what each asks with, which begins with a family. */
static const struct {
	uint8_t type, family, size;
} dump_steps[] = {
	{ 18, 0, 16 }, { 22, FAMILY_INET, 8 }, { 22, FAMILY_INET6, 8 }, { 26, FAMILY_INET, 12 }, { 26, FAMILY_INET6, 12 }, { 30, FAMILY_INET, 12 }, { 30, FAMILY_INET6, 12 },
};
#define DUMP_STEPS (sizeof dump_steps / sizeof *dump_steps)
#define DUMPS_WAITING 8
static struct {
	uint32_t seq; /* of the NETWORK that is being answered; 0: none is */
	uint32_t waiting[DUMPS_WAITING], waiting_count;
	uint32_t netlink_seq;
	unsigned step, tries;
	int interrupted;
} dump;

static int open_netlink(uint32_t groups)
{
	struct {
		uint16_t family, pad;
		uint32_t port, groups;
	} address = { AF_NETLINK_, 0, 0, groups };
	long fd = call3(__NR_socket, AF_NETLINK_, TYPE_RAW | SOCK_OPEN_, 0 /* NETLINK_ROUTE */);
	long r = fd < 0 ? fd : call3(__NR_bind, fd, (long)&address, sizeof address);
	return r < 0 ? (int)r : (int)fd;
}
static void begin_dump(uint32_t seq);
static void end_dump(int result)
{
	uint32_t seq = dump.seq;
	dump.seq = 0;
	answer(seq, result, -1, -1, 0, -1);
	if (dump.waiting_count == 0)
		return;
	seq = dump.waiting[0];
	dump.waiting_count--;
	for (unsigned i = 0; i < dump.waiting_count; i++)
		dump.waiting[i] = dump.waiting[i + 1];
	begin_dump(seq);
}
/* Asks for the next part; the answer says when there is none. */
static void ask_dump(void)
{
	struct {
		struct netlink_head head;
		uint8_t family, rest[15];
	} q;
	if (dump.step == DUMP_STEPS) {
		end_dump(0);
		return;
	}
	memset(&q, 0, sizeof q);
	q.head.length = (uint32_t)sizeof q.head + dump_steps[dump.step].size;
	q.head.type = dump_steps[dump.step].type;
	q.head.flags = NLM_F_REQUEST_ | NLM_F_DUMP_;
	q.head.seq = ++dump.netlink_seq;
	q.family = dump_steps[dump.step].family;
	dump.interrupted = 0;
	long n = call6(__NR_sendto, dumps, (long)&q, q.head.length, MSG_DONTWAIT_, 0, 0);
	if (n < 0)
		end_dump((int)n);
}
static void begin_dump(uint32_t seq)
{
	dump.seq = seq;
	dump.step = dump.tries = 0;
	ask_dump();
}
/* Receives from the host's kernel, and from nobody else. Bytes, 0 if it was somebody else's, or -errno. */
static long receive_netlink(int fd, void *to, size_t size)
{
	struct {
		uint16_t family, pad;
		uint32_t port, groups;
	} from;
	struct vector vector = { to, size };
	struct message m = { .name = &from, .name_length = sizeof from, .vectors = &vector, .vector_count = 1 };
	memset(&from, 0, sizeof from);
	long n = call3(__NR_recvmsg, fd, (long)&m, MSG_DONTWAIT_);
	if (n > 0 && m.flags & MSG_TRUNC_)
		return -ENOBUFS_;
	return n > 0 && (from.family != AF_NETLINK_ || from.port != 0) ? 0 : n;
}
static void send_routes(uint32_t seq, int result, unsigned length)
{
	routes.head = (struct broker_answer_head){ .seq = seq, .result = result, .kind = ANSWER_ROUTES, .length = length };
	routes_size = BROKER_ANSWER_HEAD + length;
	flush();
}
/* One message of a dump. `routes` is free, and nothing waits. */
static void read_dump(void)
{
	long n = receive_netlink(dumps, routes.data, sizeof routes.data);
	if (n == -EAGAIN_ || n == 0)
		return;
	if (n < 0) {
		end_dump((int)n);
		return;
	}
	unsigned at = 0;
	int done = 0, error = 0;
	while ((unsigned)n - at >= sizeof(struct netlink_head)) {
		struct netlink_head head;
		memcpy(&head, routes.data + at, sizeof head);
		if (head.length < sizeof head || head.length > (unsigned)n - at || head.seq != dump.netlink_seq)
			break;
		dump.interrupted |= head.flags & NLM_F_DUMP_INTR_;
		/* The end, with an errno. */
		if (head.type == NLMSG_DONE_ || head.type == NLMSG_ERROR_) {
			if (head.length >= sizeof head + sizeof error)
				memcpy(&error, routes.data + at + sizeof head, sizeof error);
			done = 1;
			break;
		}
		unsigned whole = (head.length + 3) & ~3u;
		at = whole > (unsigned)n - at ? (unsigned)n : at + whole;
	}
	uint32_t seq = dump.seq;
	if (at > 0)
		send_routes(seq, 0, at);
	if (!done)
		return;
	/* IPv6 may be missing. */
	if (error < 0 && error >= -4095 && error != -EOPNOTSUPP_ && error != -EAFNOSUPPORT_) {
		end_dump(error);
		return;
	}
	/* Something changed under it: entries may be missing. */
	if (dump.interrupted && dump.tries < 3)
		dump.tries++;
	else
		dump.step++, dump.tries = 0;
	ask_dump();
}
/* Changes, as many as one answer holds. */
static void read_changes(void)
{
	unsigned at = 0;
	int lost = 0;
	while (sizeof routes.data - at >= sizeof routes.data / 2) {
		long n = receive_netlink(changes, routes.data + at, sizeof routes.data - at);
		if (n < 0 && n != -EAGAIN_ && n != -EINTR_)
			lost = 1;
		if (n < 0)
			break;
		at += ((unsigned)n + 3) & ~3u;
		if (at > sizeof routes.data)
			at = sizeof routes.data;
	}
	/* What is left of them means nothing: whoever hears of it asks for all again. */
	if (lost)
		send_routes(0, -ENOBUFS_, 0);
	else if (at > 0)
		send_routes(0, 0, at);
}

/* --- Options that the sandbox process may not set itself, or not on a relay --- */

struct option {
	uint8_t level, name;
	uint8_t kind;
};
/* OPEN_ONLY: where nothing is restricted. Whoever writes IP headers writes addresses that no rule has seen. */
enum { PLAIN = 0, GROUP4, GROUP6, GROUP_REQUEST, SOURCE4, OPEN_ONLY };
static const struct option options[] = {
	{ SOL_SOCKET_, SO_REUSEADDR_, PLAIN },
	{ SOL_SOCKET_, 5, PLAIN },  /* DONTROUTE */
	{ SOL_SOCKET_, 11, PLAIN }, /* NO_CHECK */
	{ SOL_SOCKET_, 25, PLAIN }, /* BINDTODEVICE: addresses decide all the same */
	{ SOL_SOCKET_, SO_REUSEPORT_, PLAIN },
	{ SOL_SOCKET_, SO_BROADCAST_, PLAIN },
	{ SOL_SOCKET_, SO_SNDBUF_, PLAIN },
	{ SOL_SOCKET_, SO_RCVBUF_, PLAIN },
	{ SOL_SOCKET_, SO_PRIORITY_, PLAIN },
	{ SOL_IP_, 1, PLAIN },  /* TOS */
	{ SOL_IP_, 2, PLAIN },  /* TTL */
	{ SOL_IP_, 3, OPEN_ONLY }, /* HDRINCL */
	{ SOL_IP_, 8, PLAIN },  /* PKTINFO */
	{ SOL_IP_, 10, PLAIN }, /* MTU_DISCOVER */
	{ SOL_IP_, 11, PLAIN }, /* RECVERR */
	{ SOL_IP_, 12, PLAIN }, /* RECVTTL */
	{ SOL_IP_, 13, PLAIN }, /* RECVTOS */
	{ SOL_IP_, 15, PLAIN }, /* FREEBIND */
	{ SOL_IP_, 21, PLAIN }, /* MINTTL */
	{ SOL_IP_, 24, PLAIN }, /* BIND_ADDRESS_NO_PORT */
	{ SOL_IP_, 32, PLAIN }, /* MULTICAST_IF */
	{ SOL_IP_, 33, PLAIN }, /* MULTICAST_TTL */
	{ SOL_IP_, 34, PLAIN }, /* MULTICAST_LOOP */
	{ SOL_IP_, 35, GROUP4 }, /* ADD_MEMBERSHIP */
	{ SOL_IP_, 36, PLAIN },  /* DROP_MEMBERSHIP */
	{ SOL_IP_, 37, PLAIN },  /* UNBLOCK_SOURCE */
	{ SOL_IP_, 38, PLAIN },  /* BLOCK_SOURCE */
	{ SOL_IP_, 39, SOURCE4 }, /* ADD_SOURCE_MEMBERSHIP */
	{ SOL_IP_, 40, PLAIN },   /* DROP_SOURCE_MEMBERSHIP */
	{ SOL_IP_, 42, GROUP_REQUEST }, /* MCAST_JOIN_GROUP */
	{ SOL_IP_, 43, PLAIN },         /* MCAST_BLOCK_SOURCE */
	{ SOL_IP_, 44, PLAIN },         /* MCAST_UNBLOCK_SOURCE */
	{ SOL_IP_, 45, PLAIN },         /* MCAST_LEAVE_GROUP */
	{ SOL_IP_, 46, GROUP_REQUEST }, /* MCAST_JOIN_SOURCE_GROUP */
	{ SOL_IP_, 47, PLAIN },         /* MCAST_LEAVE_SOURCE_GROUP */
	{ SOL_IP_, 49, PLAIN },         /* MULTICAST_ALL */
	{ SOL_IP_, 50, PLAIN },         /* UNICAST_IF: as BINDTODEVICE */
	{ SOL_IPV6_, 7, PLAIN },  /* CHECKSUM */
	{ SOL_IPV6_, 16, PLAIN }, /* UNICAST_HOPS */
	{ SOL_IPV6_, 17, PLAIN }, /* MULTICAST_IF */
	{ SOL_IPV6_, 18, PLAIN }, /* MULTICAST_HOPS */
	{ SOL_IPV6_, 19, PLAIN }, /* MULTICAST_LOOP */
	{ SOL_IPV6_, 20, GROUP6 }, /* ADD_MEMBERSHIP */
	{ SOL_IPV6_, 21, PLAIN },  /* DROP_MEMBERSHIP */
	{ SOL_IPV6_, 23, PLAIN },  /* MTU_DISCOVER */
	{ SOL_IPV6_, 25, PLAIN },  /* RECVERR */
	{ SOL_IPV6_, 26, PLAIN },  /* V6ONLY */
	{ SOL_IPV6_, 29, PLAIN },  /* MULTICAST_ALL */
	{ SOL_IPV6_, 42, GROUP_REQUEST }, /* MCAST_JOIN_GROUP */
	{ SOL_IPV6_, 43, PLAIN },         /* MCAST_BLOCK_SOURCE */
	{ SOL_IPV6_, 44, PLAIN },         /* MCAST_UNBLOCK_SOURCE */
	{ SOL_IPV6_, 45, PLAIN },         /* MCAST_LEAVE_GROUP */
	{ SOL_IPV6_, 46, GROUP_REQUEST }, /* MCAST_JOIN_SOURCE_GROUP */
	{ SOL_IPV6_, 47, PLAIN },         /* MCAST_LEAVE_SOURCE_GROUP */
	{ SOL_IPV6_, 49, PLAIN }, /* RECVPKTINFO */
	{ SOL_IPV6_, 51, PLAIN }, /* RECVHOPLIMIT */
	{ SOL_IPV6_, 62, PLAIN }, /* DONTFRAG */
	{ SOL_IPV6_, 66, PLAIN }, /* RECVTCLASS */
	{ SOL_IPV6_, 67, PLAIN }, /* TCLASS */
	{ SOL_IPV6_, 72, PLAIN }, /* ADDR_PREFERENCES */
	{ SOL_IPV6_, 76, PLAIN }, /* UNICAST_IF */
	{ SOL_IPV6_, 78, PLAIN }, /* FREEBIND */
	{ SOL_ICMPV6_, 1, PLAIN }, /* ICMP6_FILTER */
	{ SOL_RAW_, 1, PLAIN },    /* ICMP_FILTER */
};
/* Of joining a group the routers hear: only where the group itself may be sent to. */
static int may_join(const struct broker_request *q, int kind)
{
	struct place group;
	int rule = -1;
	unsigned at = kind == GROUP_REQUEST ? 8 : 0;
	memset(&group, 0, sizeof group);
	if (kind == GROUP_REQUEST) {
		/* group_req, and group_source_req: an index, then a sockaddr_storage. */
		union sockaddress address;
		if (q->length < at + sizeof address)
			return 0;
		memcpy(&address, q->data + at, sizeof address);
		to_place(&address, &group);
	} else {
		group.family = kind == GROUP6 ? FAMILY_INET6 : FAMILY_INET;
		unsigned size = kind == GROUP6 ? 16 : 4;
		if (q->length < size)
			return 0;
		memcpy(group.ip, q->data, size);
	}
	group.port = 0;
	if (group.family == FAMILY_NONE)
		return 0;
	if (rules_egress(PROTOCOL_UDP, &group, now_ms(), &rule) == VERDICT_ALLOW)
		return 1;
	refused("multicast group", PROTOCOL_UDP, &group, rule);
	return 0;
}
static int option(const struct broker_request *q, int fd)
{
	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		const struct option *o = &options[i];
		if (o->level != q->level || o->name != q->name)
			continue;
		if (o->kind != PLAIN && rules_restricted() && (o->kind == OPEN_ONLY || !may_join(q, o->kind)))
			return -EPERM_;
		return (int)call5(__NR_setsockopt, fd, q->level, q->name, (long)q->data, q->length);
	}
	return -EPERM_;
}

/* --- Requests --- */

/* The socket that the request is about: in *s; *relay_end is what the sandbox gets for it, or -1. 0 or -errno. */
static int make_subject(const struct broker_request *q, struct subject *s, int *relay_end)
{
	int r = check_kind(q);
	*relay_end = -1;
	if (r < 0)
		return r;
	long fd = call3(__NR_socket, q->family, q->type | SOCK_OPEN_, q->protocol);
	if (fd < 0)
		return (int)fd;
	s->fd = (int)fd;
	s->domain = q->family;
	s->type = q->type;
	s->protocol = q->protocol ? q->protocol : q->type == TYPE_STREAM ? PROTOCOL_TCP : PROTOCOL_UDP;
	s->relay = NULL;
	if (s->type == TYPE_STREAM || !rules_restricted())
		return 0;
	r = make_relay(s->fd, s->domain, s->type, s->protocol, &s->relay);
	if (r < 0)
		return r;
	*relay_end = r;
	return 0;
}
/* A descriptor that came. It is not closed here. */
static int came_subject(int fd, struct subject *s)
{
	uint64_t cookie;
	if (option_of(fd, SO_DOMAIN_) != AF_UNIX_)
		return examine(fd, s);
	int r = get_option(fd, SOL_SOCKET_, SO_COOKIE_, &cookie, sizeof cookie);
	struct relay *relay = r < 0 ? NULL : relay_of(cookie);
	if (!relay)
		return -EINVAL_;
	*s = (struct subject){ relay->socket, relay->domain, relay->type, relay->protocol, relay };
	return 0;
}

static int is_place(const struct place *place) { return place->family == FAMILY_INET || place->family == FAMILY_INET6; }
static int do_bind(const struct broker_request *q, const struct subject *s)
{
	union sockaddress address;
	struct place at = q->place;
	if (s->type != TYPE_RAW && s->protocol != PROTOCOL_ICMP && s->protocol != PROTOCOL_ICMPV6 && !rules_publish(s->protocol, &at)) {
		refused("publish", s->protocol, &at, RULE_NONE);
		return -EACCES_;
	}
	long length = to_address(s->domain, &at, &address);
	if (length < 0)
		return (int)length;
	int r = (int)call3(__NR_bind, s->fd, (long)&address, length);
	if (r == 0 && s->relay && q->place.port)
		s->relay->serves = 1;
	return r;
}
/* Of a datagram socket: what it may send is looked at when it sends. */
static int do_connect_datagrams(const struct broker_request *q, const struct subject *s)
{
	int rule, r = (int)connect_to(s->fd, s->domain, &q->place);
	if (r == 0 && s->relay) {
		unsigned long long now = now_ms();
		s->relay->connected = 1;
		s->relay->peer = q->place;
		s->relay->allowed = verdict(s->relay, &q->place, &rule, now) == VERDICT_ALLOW;
	}
	return r;
}
static int do_listen(const struct broker_request *q, const struct subject *s)
{
	struct place own;
	if (s->type != TYPE_STREAM)
		return -EOPNOTSUPP_;
	own_place(s->fd, &own);
	/* One that is bound nowhere gets a port by listening. */
	if (own.port == 0) {
		union sockaddress any;
		long length = to_address(s->domain, &(struct place){ .family = (uint16_t)s->domain }, &any);
		long r = call3(__NR_bind, s->fd, (long)&any, length);
		if (r < 0)
			return (int)r;
		own_place(s->fd, &own);
	}
	if (!rules_listen(PROTOCOL_TCP, &own)) {
		refused("publish", PROTOCOL_TCP, &own, RULE_NONE);
		return -EACCES_;
	}
	return (int)call3(__NR_listen, s->fd, q->arg, 0);
}
static int do_disconnect(const struct subject *s)
{
	union sockaddress none;
	memset(&none, 0, sizeof none);
	int r = (int)call3(__NR_connect, s->fd, (long)&none, 16);
	if (r == 0 && s->relay)
		s->relay->connected = s->relay->allowed = 0;
	return r;
}

/* fd: what came along, or -1; closed here. */
static void serve(const struct broker_request *q, int fd)
{
	struct subject s = { -1, 0, 0, 0, NULL };
	int relay_end = -1, made = 0, r = 0;
	switch (q->op) {
	case BROKER_NETWORK:
	case BROKER_PING:
		if (fd >= 0)
			r = -EINVAL_;
		else if (q->op == BROKER_NETWORK && !dump.seq) {
			begin_dump(q->seq);
			return;
		} else if (q->op == BROKER_NETWORK && dump.waiting_count < DUMPS_WAITING) {
			dump.waiting[dump.waiting_count++] = q->seq;
			return;
		} else if (q->op == BROKER_NETWORK)
			r = -EBUSY_;
		answer(q->seq, r, -1, -1, 0, fd);
		return;
	case BROKER_BIND:
	case BROKER_CONNECT:
		if (!is_place(&q->place)) {
			r = -EAFNOSUPPORT_;
			break;
		}
		/* Fall through. */
	case BROKER_OPEN:
		made = fd < 0;
		r = q->op == BROKER_OPEN && !made ? -EINVAL_ : made ? make_subject(q, &s, &relay_end) : came_subject(fd, &s);
		break;
	case BROKER_LISTEN:
	case BROKER_OPTION:
	case BROKER_DISCONNECT:
		r = fd < 0 ? -EBADF_ : came_subject(fd, &s);
		break;
	default:
		r = -EINVAL_;
	}
	if (r < 0) {
		answer(q->seq, r, -1, -1, 0, fd);
		return;
	}
	if (q->op == BROKER_BIND || q->op == BROKER_CONNECT || q->op == BROKER_OPEN)
		r = set_flags(s.fd, s.domain, q->flags);
	if (r == 0 && q->op == BROKER_CONNECT && s.type == TYPE_STREAM) {
		unsigned long long now = now_ms();
		int rule = -1, v = rules_egress(PROTOCOL_TCP, &q->place, now, &rule);
		if (v != VERDICT_LATER) {
			connect_now(q->seq, made, &s, &q->place, v == VERDICT_ALLOW, rule);
			return;
		}
		for (unsigned i = 0; i < PENDING; i++) {
			if (pending[i].seq)
				continue;
			pending[i].seq = q->seq;
			pending[i].made = made;
			pending[i].subject = s;
			pending[i].to = q->place;
			pending[i].deadline = now + PATIENCE_MS;
			pending_count++;
			return;
		}
		r = -EAGAIN_;
	} else if (r == 0) {
		switch (q->op) {
		case BROKER_BIND: r = do_bind(q, &s); break;
		case BROKER_CONNECT: r = do_connect_datagrams(q, &s); break;
		case BROKER_LISTEN: r = do_listen(q, &s); break;
		case BROKER_OPTION: r = option(q, s.fd); break;
		case BROKER_DISCONNECT: r = do_disconnect(&s); break;
		}
	}
	int hand = !made || r < 0 ? -1 : s.relay ? relay_end : s.fd;
	answer(q->seq, r, s.fd, hand, s.relay ? ANSWER_RELAY : 0, fd);
	/* What was made in vain goes again; of a relay whose other end goes we hear by its pair. */
	if (made && r < 0) {
		if (s.relay) {
			close_relay(s.relay);
			close_fd(relay_end);
		} else
			close_fd(s.fd);
	}
}

/* One request: served, or noted to be refused. 0: there is none. */
static int receive_request(int served)
{
	static struct {
		struct broker_request q;
		uint8_t more;
	} in;
	struct control control;
	struct vector vector = { &in, sizeof in };
	struct message m = { .vectors = &vector, .vector_count = 1, .control = &control, .control_length = sizeof control };
	int fds[2], count = 0;
	memset(&in.q, 0, sizeof in.q);
	long n = call3(__NR_recvmsg, CONTROL, (long)&m, MSG_DONTWAIT_ | MSG_CMSG_CLOEXEC_);
	if (n == -EAGAIN_ || n == -EINTR_)
		return 0;
	if (n == 0 || n == -ECONNRESET_)
		finish();
	if (n < 0)
		give_up("cannot receive", n);
	if (m.control_length >= offsetof(struct control, fds) && control.level == SOL_SOCKET_ && control.type == SCM_RIGHTS_)
		for (size_t left = control.length - offsetof(struct control, fds); count < 2 && left >= sizeof(int); left -= sizeof(int))
			fds[count] = control.fds[count], count++;
	if (n < (long)BROKER_REQUEST_HEAD || in.q.seq == 0)
		give_up("what the sandbox says makes no sense", 0);
	int odd = m.flags & (MSG_CTRUNC_ | MSG_TRUNC_) || count > 1 || in.q.reserved != 0 || in.q.length > BROKER_DATA || n != (long)(BROKER_REQUEST_HEAD + in.q.length);
	if (!odd && served) {
		serve(&in.q, count ? fds[0] : -1);
		return 1;
	}
	while (count > 0)
		close_fd(fds[--count]);
	if (served)
		answer(in.q.seq, -EINVAL_, -1, -1, 0, -1);
	else if (unserved_count < UNSERVED)
		unserved[unserved_count++] = in.q.seq;
	else
		give_up("the sandbox asks and does not listen", 0);
	return 1;
}
static void refuse_requests(void)
{
	while (receive_request(0))
		;
}

/* --- Its own jail --- */

#define SYS(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM_)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
/* Sockets of the Internet, pairs of local ones, and what is done with them; no files, processes or memory. */
static const struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	IS(AUDIT_ARCH_X86_64, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	SYS(recvfrom), SYS(sendto), SYS(recvmsg), SYS(sendmsg), SYS(ppoll), SYS(epoll_pwait), SYS(epoll_ctl), SYS(clock_gettime),
	SYS(close), SYS(connect), SYS(bind), SYS(listen), SYS(getsockname), SYS(getsockopt), SYS(setsockopt), SYS(getrandom),
	SYS(exit_group), SYS(restart_syscall),
	IS(__NR_socket, 0, 5),
	ARGUMENT(0), IS(FAMILY_INET, 2, 0), IS(FAMILY_INET6, 1, 0), REFUSE, ALLOW,
	/* Such a pair is connected for good: of others one end could be connected to somebody else. */
	IS(__NR_socketpair, 0, 6),
	ARGUMENT(0), IS(AF_UNIX_, 0, 2), ARGUMENT(1), IS(SOCK_SEQPACKET_ | SOCK_OPEN_, 1, 0), REFUSE, ALLOW,
	IS(__NR_fcntl, 0, 4),
	ARGUMENT(1), IS(F_GETFL_, 1, 0), REFUSE, ALLOW,
	IS(__NR_write, 0, 4),
	ARGUMENT(0), IS(LOG, 1, 0), REFUSE, ALLOW,
	REFUSE,
};

enum { CLONE_NEWNS_ = 0x20000, MS_REC_ = 16384, MS_PRIVATE_ = 1 << 18, MNT_DETACH_ = 2, AT_FDCWD_ = -100 };
/*
 * An empty file system becomes the root, and nothing else can be reached any more. Where it may not, it has the root of its
 * starter, and no system call that would open anything of it.
 */
static void leave_root(void)
{
	if (call3(__NR_unshare, CLONE_NEWNS_, 0, 0) < 0 || call5(__NR_mount, 0, (long)"/", 0, MS_REC_ | MS_PRIVATE_, 0) < 0)
		return;
	long fs = call3(__NR_fsopen, (long)"tmpfs", 1 /* CLOEXEC */, 0);
	if (fs < 0)
		return;
	call5(__NR_fsconfig, fs, 1 /* SET_STRING */, (long)"size", (long)"4k", 0);
	call5(__NR_fsconfig, fs, 1 /* SET_STRING */, (long)"mode", (long)"0555", 0);
	long mount = call5(__NR_fsconfig, fs, 6 /* CMD_CREATE */, 0, 0, 0);
	if (mount == 0)
		mount = call3(__NR_fsmount, fs, 1 /* CLOEXEC */, 1 | 2 | 4 | 8 /* RDONLY, NOSUID, NODEV, NOEXEC */);
	close_fd((int)fs);
	if (mount < 0)
		return;
	/* Over the old root, then in its place. Where that is none that can be left (initramfs) it is only out of sight. */
	if (call5(__NR_move_mount, mount, (long)"", AT_FDCWD_, (long)"/", 4 /* F_EMPTY_PATH */) == 0 && call3(__NR_fchdir, mount, 0, 0) == 0 &&
	    call3(__NR_pivot_root, (long)".", (long)".", 0) == 0)
		call3(__NR_umount2, (long)".", MNT_DETACH_, 0);
	else if (call3(__NR_fchdir, mount, 0, 0) == 0)
		call3(__NR_chroot, (long)".", 0, 0);
	call3(__NR_chdir, (long)"/", 0, 0);
	close_fd((int)mount);
}

enum { PR_SET_DUMPABLE_ = 4, PR_SET_KEEPCAPS_ = 8, PR_SET_NAME_ = 15, PR_CAPBSET_READ_ = 23, PR_CAPBSET_DROP_ = 24, PR_SET_SECCOMP_ = 22, PR_SET_SECUREBITS_ = 28, PR_SET_NO_NEW_PRIVS_ = 38, PR_CAP_AMBIENT_ = 47 };
static long prctl(long what, long a, long b) { return call5(__NR_prctl, what, a, b, 0, 0); }

static long capability_sets(const uint32_t permitted[2])
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { permitted[0], permitted[0], 0 }, { permitted[1], permitted[1], 0 } };
	return call3(__NR_capset, (long)&head, (long)data, 0);
}
static void leave_rights(uint32_t uid, uint32_t gid)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2];
	memset(now, 0, sizeof now);
	call3(__NR_capget, (long)&head, (long)now, 0);
	uint32_t have[2] = { now[0].permitted, now[1].permitted };
	uint32_t keep[2] = { have[0] & (1u << CAP_NET_BIND_SERVICE | (rules_raw() ? 1u << CAP_NET_RAW : 0)), 0 };

	if (prctl(PR_SET_SECUREBITS_, SECBIT_NO_SETUID_FIXUP, 0) < 0)
		prctl(PR_SET_KEEPCAPS_, 1, 0);
	/* Namespaces may forbid the first, and not have the ids. */
	call3(__NR_setgroups, 0, 0, 0);
	call3(__NR_setresgid, gid, gid, gid);
	call3(__NR_setresuid, uid, uid, uid);
	capability_sets(have);
	for (int cap = 0; cap < 64; cap++)
		if (!(keep[cap / 32] >> (cap % 32) & 1) && prctl(PR_CAPBSET_READ_, cap, 0) == 1)
			prctl(PR_CAPBSET_DROP_, cap, 0);
	call5(__NR_prctl, PR_CAP_AMBIENT_, 4 /* CLEAR_ALL */, 0, 0, 0);
	prctl(PR_SET_SECUREBITS_, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0);
	long r = capability_sets(keep);
	if (r < 0)
		give_up("cannot drop its capabilities", r);
	/* Nobody of its ids looks into it. */
	prctl(PR_SET_DUMPABLE_, 0, 0);
	if ((r = prctl(PR_SET_NO_NEW_PRIVS_, 1, 0)) < 0)
		give_up("cannot give up new privileges", r);
}
/* Local sockets without a file belong to the network namespace, which may be the host's. Hosts before Linux 6.12 cannot fence them off. */
static void leave_others_alone(void)
{
	/* landlock_ruleset_attr: what is handled of files and ports (nothing), then the scopes: local sockets, signals. */
	uint64_t attributes[3] = { 0, 0, 1 | 2 };
	long fd = call3(444 /* landlock_create_ruleset */, (long)attributes, sizeof attributes, 0);
	if (fd < 0)
		return;
	call3(446 /* landlock_restrict_self */, fd, 0, 0);
	close_fd((int)fd);
}
static void set_limit(int which, unsigned long soft, unsigned long hard)
{
	unsigned long now[2], next[2];
	if (call5(__NR_prlimit64, 0, which, 0, (long)now, 0) < 0)
		return;
	next[1] = now[1] < hard ? now[1] : hard;
	next[0] = next[1] < soft ? next[1] : soft;
	call5(__NR_prlimit64, 0, which, (long)next, 0, 0);
}
static void ignore_signals(void)
{
	/* What a terminal sends, and of writing to who is gone. */
	static const uint8_t ignored[] = { 1 /* HUP */, 2 /* INT */, 3 /* QUIT */, 13 /* PIPE */, 20 /* TSTP */, 21 /* TTIN */, 22 /* TTOU */, 28 /* WINCH */ };
	/* handler (SIG_IGN), flags, restorer, mask */
	unsigned long action[4] = { 1, 0, 0, 0 };
	for (unsigned i = 0; i < sizeof ignored; i++)
		call5(__NR_rt_sigaction, ignored[i], (long)action, 0, 8, 0);
}
static void read_rules(void)
{
	static uint8_t file[RULES_FILE_MAX + 1];
	unsigned size = 0;
	for (;;) {
		long n = call5(__NR_pread64, RULES, (long)(file + size), (long)(sizeof file - size), size, 0);
		if (n < 0)
			give_up("cannot read its rules", n);
		size += (unsigned)n;
		if (n == 0)
			break;
		if (size == sizeof file)
			give_up("cannot read its rules", -E2BIG_);
	}
	int r = rules_load(file, size);
	if (r < 0)
		give_up("its rules make no sense", r);
}
static int number(const char *text, uint32_t *out)
{
	uint64_t value = 0;
	const char *at = text;
	for (; *at >= '0' && *at <= '9' && value <= 0xffffffff; at++)
		value = value * 10 + (uint64_t)(*at - '0');
	*out = (uint32_t)value;
	return at != text && !*at && value < 0xffffffff;
}
static void get_ready(long argc, char **argv)
{
	uint32_t uid = 65534, gid = 65534;
	if (argc == 3 ? !number(argv[1], &uid) || !number(argv[2], &gid) : argc > 1)
		give_up("usage: [UID GID]", 0);
	if (option_of(CONTROL, SO_DOMAIN_) != AF_UNIX_ || option_of(CONTROL, SO_TYPE_) != SOCK_SEQPACKET_)
		give_up("its descriptor 0 is no socket to a sandbox", 0);
	ignore_signals();
	read_rules();
	close_fd(RULES);
	call3(__NR_close_range, 3, ~0u, 0);
	prctl(PR_SET_NAME_, (long)"runts-broker", 0);
	changes = open_netlink(GROUPS);
	dumps = open_netlink(0);
	long r = call3(__NR_epoll_create1, 02000000 /* CLOEXEC */, 0, 0);
	epoll = (int)r;
	if (changes < 0 || dumps < 0 || r < 0)
		give_up("cannot ask for the network", changes < 0 ? changes : dumps < 0 ? dumps : r);
	set_option(changes, SOL_SOCKET_, SO_RCVBUF_, 1 << 20);
	get_option(changes, SOL_SOCKET_, SO_NETNS_COOKIE_, &namespace_cookie, sizeof namespace_cookie);
	/* Descriptors on their way count as well, by user, up to this limit. */
	set_limit(7 /* NOFILE */, 65536, ~0ul);
	set_limit(6 /* NPROC */, 0, 0);
	set_limit(4 /* CORE */, 1, 1);
	leave_root();
	leave_rights(uid, gid);
	leave_others_alone();
	struct sock_fprog program = { sizeof filter / sizeof *filter, (struct sock_filter *)filter };
	r = prctl(PR_SET_SECCOMP_, 2 /* MODE_FILTER */, (long)&program);
	if (r < 0)
		give_up("cannot restrict its system calls", r);
}

/* --- The loop --- */

static void relay_events(void)
{
	struct {
		uint32_t events;
		uint64_t data;
	} __attribute__((packed)) events[64];
	long n = call6(__NR_epoll_pwait, epoll, (long)events, 64, 0, 0, 8);
	for (long i = 0; i < n; i++)
		relay_event((unsigned)(events[i].data >> 1), events[i].data & 1, events[i].events);
}
/* The sooner of two waits; -1: for ever. */
static int sooner(int a, int b) { return a < 0 ? b : b < 0 || a < b ? a : b; }
static int until(unsigned long long deadline, unsigned long long now) { return deadline <= now ? 0 : (int)(deadline - now); }

__attribute__((noreturn)) static void run(void)
{
	enum { AT_CONTROL, AT_RELAYS, AT_DUMPS, AT_CHANGES, AT_RULES };
	struct pollfd_ fds[AT_RULES + RULES_POLLFDS];
	unsigned long long looked = 0, stalled = 0;
	for (;;) {
		unsigned long long now = now_ms();
		int wait = rules_tick(now);
		if (pending_count || relays_paused) {
			if (names_changed || now - looked >= LOOK_MS) {
				looked = now;
				names_changed = 0;
				resume_pending(now);
				resume_relays(now);
			}
			/* Its time may have come between two looks. */
			if (pending_count || relays_paused)
				wait = sooner(wait, until(looked + LOOK_MS, now));
		}
		int full = is_full();
		if (!full || !stalled)
			stalled = now;
		else if (now - stalled >= STALL_MS) {
			stalled = now;
			refuse_requests();
		}
		if (full)
			wait = sooner(wait, until(stalled + STALL_MS, now));
		fds[AT_CONTROL] = (struct pollfd_){ CONTROL, full ? POLLOUT : POLLIN, 0 };
		fds[AT_RELAYS] = (struct pollfd_){ epoll, POLLIN, 0 };
		/* What was asked for first: changes are to be newer than that. */
		fds[AT_DUMPS] = (struct pollfd_){ full || !dump.seq ? -1 : dumps, POLLIN, 0 };
		fds[AT_CHANGES] = (struct pollfd_){ full || dump.seq ? -1 : changes, POLLIN, 0 };
		int count = AT_RULES + rules_pollfds(fds + AT_RULES);
		long time[2] = { wait / 1000, wait % 1000 * 1000000l };
		long n = call5(__NR_ppoll, (long)fds, count, wait < 0 ? 0 : (long)time, 0, 8);
		if (n == -EINTR_)
			continue;
		if (n < 0)
			give_up("cannot wait", n);
		now = now_ms();
		for (int i = AT_RULES; i < count; i++)
			if (fds[i].revents && rules_readable(fds[i].fd, now))
				names_changed = 1;
		if (fds[AT_RELAYS].revents)
			relay_events();
		if (fds[AT_CONTROL].revents & (POLLHUP | POLLERR))
			finish();
		if (fds[AT_CONTROL].revents & POLLOUT) {
			stalled = now;
			flush();
		}
		for (int turns = TURNS; fds[AT_CONTROL].revents & POLLIN && turns > 0 && !is_full(); turns--)
			if (!receive_request(1))
				break;
		if (fds[AT_DUMPS].revents && dump.seq && !is_full())
			read_dump();
		if (fds[AT_CHANGES].revents && !is_full())
			read_changes();
	}
}

/* stack: argc, argv as execve leaves them. */
__attribute__((noreturn, used)) static void broker(long *stack)
{
	get_ready(stack[0], (char **)(stack + 1));
	run();
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall broker\n\tud2\n");
