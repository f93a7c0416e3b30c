/* Addresses of the two Internet programs. */
#ifndef INET_H
#define INET_H

#include "guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>

static struct sockaddr_in at(const char *ip, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, ip, &a.sin_addr);
  return a;
}
static int port_of(int fd) {
  struct sockaddr_in6 a;
  socklen_t l = sizeof a;
  NEED(getsockname(fd, (void *)&a, &l));
  return ntohs(a.sin6_port);
}

#endif
