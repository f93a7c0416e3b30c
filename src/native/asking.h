/*
 * What the set-up helper and the opener are asked, and what they answer (sandbox.c, opener.stub.c): messages of a socket
 * that keeps their bounds, with descriptors.
 */
#include <stdint.h>

enum { ASK_OPEN_TREE = 1, ASK_OPEN_FOR_USE, ASK_ATTRIBUTES, ASK_MAKE_ROOT, ASK_ENTER_ROOT, ASK_SPAWN, ASK_DONE };
#define ASK_FDS 6
struct request {
	int32_t op;
	/* ids of the stub */
	uint32_t uid, gid, clear_groups;
	uint64_t attributes;
	char path[4096];
};
struct answer {
	int32_t result, has_fd;
};
