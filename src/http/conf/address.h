/*
 * address.h: addresses to listen on: IPv4, IPv6, Unix sockets.
 *
 * Nothing is looked up anywhere and nothing blocks. Invariant: bytes that an address does not use are 0, so
 * two are the same if their bytes are.
 */
#ifndef CHANGEFEED_HTTP_CONF_ADDRESS_H
#define CHANGEFEED_HTTP_CONF_ADDRESS_H

#include <netinet/in.h>
#include <sys/un.h>

#include "core/bytes.h"

enum { ADDRESS_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

struct address {
	union {
		struct sockaddr_storage storage;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6;
		struct sockaddr_un path;
	};
	socklen_t size;
};

/*
 * The addresses of a host: an IPv4 or IPv6 address, `localhost` (the loopback addresses, without asking
 * anybody: RFC 6761 section 6.3), or NULL for every address of the machine. Returns how many, or 0 for any
 * other name.
 */
size_t address_resolve(const char *host, uint16_t port, struct address ret_addresses[2]);

/* False, *ret_address untouched, if the path is empty or too long. */
bool address_of_path(const char *path, struct address *ret_address);

/* Whether only this machine can reach it. */
bool address_is_local(const struct address *address);

/* Appends 127.0.0.1:7080, [::1]:7080 or unix:/run/feed.sock. */
void address_append_name(struct buffer *out, const struct address *address);

#endif
