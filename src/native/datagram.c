/*
 * Datagrams of sockets that the network broker made: a message with its address and control data, in and out, without
 * waiting. Both functions return -errno.
 *
 * Descriptors never come or go this way: what a message brings along is closed, and control data of that kind is refused.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What goes with the bytes. DATAGRAM in datagram.ts has the same layout. */
struct datagram {
	uint32_t name_length, control_length, flags, reserved;
	uint8_t name[128];
	uint8_t control[1024];
};
_Static_assert(sizeof(struct datagram) == 1168, "layout of a datagram's record");

static int carries_descriptors(const struct cmsghdr *c)
{
	return c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS;
}

/* out: the sender's address, the control data, MSG_* flags of what came. With MSG_TRUNC the result may be larger than n. */
int d_receive(int fd, void *buf, int n, struct datagram *out, int flags)
{
	struct iovec iov = { buf, (size_t)n };
	struct msghdr m = {
		.msg_name = out->name, .msg_namelen = sizeof out->name, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = out->control, .msg_controllen = sizeof out->control,
	};
	out->name_length = out->control_length = out->flags = 0;
	long r = recvmsg(fd, &m, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (!carries_descriptors(c))
			continue;
		const int *got = (const int *)CMSG_DATA(c);
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			close(got[i]);
		/* Their numbers mean nothing any more: no control data that anybody knows. */
		c->cmsg_type = -1;
	}
	out->name_length = m.msg_namelen > sizeof out->name ? sizeof out->name : m.msg_namelen;
	out->control_length = (uint32_t)m.msg_controllen;
	out->flags = (uint32_t)(m.msg_flags & ~MSG_CMSG_CLOEXEC);
	return (int)r;
}

/* in: where it goes to (nothing: where the socket is connected to), and control data. */
int d_send(int fd, const void *buf, int n, struct datagram *in, int flags)
{
	struct iovec iov = { (void *)buf, (size_t)n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (in->name_length > sizeof in->name || in->control_length > sizeof in->control)
		return -EINVAL;
	if (in->name_length > 0) {
		m.msg_name = in->name;
		m.msg_namelen = in->name_length;
	}
	if (in->control_length > 0) {
		m.msg_control = in->control;
		m.msg_controllen = in->control_length;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (carries_descriptors(c))
				return -EINVAL;
	}
	long r = sendmsg(fd, &m, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
	return r < 0 ? -errno : (int)r;
}
