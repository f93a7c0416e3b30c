/*
 * What the sandbox process and the broker say to each other (broker.stub.c; src/kernel/net/outside/protocol.ts): one message of
 * a socket that keeps their bounds (SEQPACKET) each, little-endian, with at most one descriptor.
 */
#ifndef RUNTS_BROKER_H
#define RUNTS_BROKER_H
#include <stddef.h>
#include <stdint.h>

/* An address with its port. family: 0 (none), FAMILY_INET or FAMILY_INET6; port: in host order; of IPv4 the first four bytes. */
struct place {
	uint16_t family, port;
	uint32_t scope;
	uint8_t ip[16];
};

enum { FAMILY_NONE = 0, FAMILY_INET = 2, FAMILY_INET6 = 10 };
enum { TYPE_STREAM = 1, TYPE_DGRAM = 2, TYPE_RAW = 3 };
enum { PROTOCOL_ICMP = 1, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, PROTOCOL_ICMPV6 = 58 };

enum {
	BROKER_BIND = 1,   /* makes the socket if none comes with it */
	BROKER_CONNECT,    /* the same; result 0, -EINPROGRESS, or -errno */
	BROKER_LISTEN,     /* arg: backlog; needs a descriptor */
	BROKER_OPEN,       /* an unbound socket */
	BROKER_OPTION,     /* level, name, data: of a list, see broker.stub.c; needs a descriptor */
	BROKER_NETWORK,    /* answers of ANSWER_ROUTES, then one of ANSWER */
	BROKER_DISCONNECT, /* needs a descriptor */
	BROKER_PING,
};
/* flags of BIND, CONNECT and OPEN */
enum { BROKER_REUSEADDR = 1, BROKER_REUSEPORT = 2, BROKER_V6ONLY = 4, BROKER_BROADCAST = 8, BROKER_FREEBIND = 16 };

/* The longest option is struct group_source_req. */
#define BROKER_DATA 264
struct broker_request {
	uint32_t seq; /* not 0 */
	uint16_t op, family, type, protocol;
	int32_t arg;
	uint32_t flags;
	struct place place;
	uint16_t level, name;
	uint32_t reserved; /* 0 */
	uint32_t length;   /* of data; the message ends with it */
	uint8_t data[BROKER_DATA];
};
#define BROKER_REQUEST_HEAD offsetof(struct broker_request, data)

enum {
	ANSWER = 0,
	/*
	 * data: whole messages of rtnetlink, as they came; with the seq of NETWORK, or 0: changes. Changes with a result of -ENOBUFS
	 * and no data: some were lost, NETWORK is to be asked again.
	 */
	ANSWER_ROUTES,
	ANSWER_REFUSAL, /* data: text for the log; seq 0; place: what was to be reached, or bound */
};
/* flags of an answer */
enum { ANSWER_DESCRIPTOR = 1, ANSWER_RELAY = 2 };

#define BROKER_ANSWER_DATA 32768
struct broker_answer_head {
	uint32_t seq; /* of the request; 0: unasked */
	int32_t result;
	uint16_t kind, flags;
	/* The socket's own address, where it has one. With publications that is not always what was asked for: another port, another address. */
	struct place place;
	uint32_t reserved[2];
	uint32_t length; /* of data */
};
struct broker_answer {
	struct broker_answer_head head;
	uint8_t data[BROKER_ANSWER_DATA];
};
#define BROKER_ANSWER_HEAD sizeof(struct broker_answer_head)

/*
 * A relay: the end of a SEQPACKET socket pair that stands for a datagram or raw socket of the broker's. Each message is the
 * place it goes to (family 0: where the socket is connected to) or comes from, then its bytes. From the broker also, with a
 * family of RELAY_ERROR, an errno (positive, in the first four bytes of ip) and nothing behind it.
 */
enum { RELAY_ERROR = 0xffff };
#define RELAY_PAYLOAD 65535

_Static_assert(sizeof(struct place) == 24, "layout of a place");
_Static_assert(BROKER_REQUEST_HEAD == 56 && offsetof(struct broker_request, level) == 44, "layout of a request");
_Static_assert(BROKER_ANSWER_HEAD == 48 && offsetof(struct broker_answer, data) == 48, "layout of an answer");

/* pollfd, which has no header of its own without a libc. */
struct pollfd_ {
	int fd;
	short events, revents;
};
#endif
