/* address.c: see address.h. */
#include "http/conf/address.h"

#include <arpa/inet.h>
#include <strings.h>
#include <unistd.h>

static struct address ip4_address(struct in_addr address, uint16_t port)
{
	struct address result = {.size = sizeof(struct sockaddr_in)};
	result.ip4.sin_family = AF_INET;
	result.ip4.sin_addr = address;
	result.ip4.sin_port = htons(port);
	return result;
}

static struct address ip6_address(struct in6_addr address, uint16_t port)
{
	struct address result = {.size = sizeof(struct sockaddr_in6)};
	result.ip6.sin6_family = AF_INET6;
	result.ip6.sin6_addr = address;
	result.ip6.sin6_port = htons(port);
	return result;
}

bool address_is_local(const struct address *address)
{
	if (address->storage.ss_family == AF_INET)
		return ntohl(address->ip4.sin_addr.s_addr) >> 24 == 127;
	if (address->storage.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&address->ip6.sin6_addr);
	return true;
}

void address_append_name(struct buffer *out, const struct address *address)
{
	char text[INET6_ADDRSTRLEN];
	if (address->storage.ss_family == AF_UNIX)
		buffer_printf(out, "unix:%s", address->path.sun_path);
	else if (address->storage.ss_family == AF_INET)
		buffer_printf(out, "%s:%u", inet_ntop(AF_INET, &address->ip4.sin_addr, text, sizeof(text)),
					  ntohs(address->ip4.sin_port));
	else
		buffer_printf(out, "[%s]:%u", inet_ntop(AF_INET6, &address->ip6.sin6_addr, text, sizeof(text)),
					  ntohs(address->ip6.sin6_port));
}

/* A machine without IPv6 has no ::1; `localhost` is then 127.0.0.1 alone. */
static bool ip6_loopback_exists(void)
{
	struct address any_port = ip6_address(in6addr_loopback, 0);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool exists = fd >= 0 && bind(fd, (struct sockaddr *)&any_port.ip6, any_port.size) == 0;
	if (fd >= 0)
		close(fd);
	return exists;
}

size_t address_resolve(const char *host, uint16_t port, struct address ret_addresses[2])
{
	struct in_addr ip4;
	struct in6_addr ip6;
	if (host == NULL) {
		ret_addresses[0] = ip4_address((struct in_addr){htonl(INADDR_ANY)}, port);
		ret_addresses[1] = ip6_address(in6addr_any, port);
		return 2;
	}
	if (strcasecmp(host, "localhost") == 0) {
		ret_addresses[0] = ip4_address((struct in_addr){htonl(INADDR_LOOPBACK)}, port);
		ret_addresses[1] = ip6_address(in6addr_loopback, port);
		return ip6_loopback_exists() ? 2 : 1;
	}
	if (inet_pton(AF_INET, host, &ip4) == 1)
		ret_addresses[0] = ip4_address(ip4, port);
	else if (inet_pton(AF_INET6, host, &ip6) == 1)
		ret_addresses[0] = ip6_address(ip6, port);
	else
		return 0;
	return 1;
}

bool address_of_path(const char *path, struct address *ret_address)
{
	size_t size = strlen(path);
	if (path[0] == '\0' || size > ADDRESS_PATH_MAX)
		return false;
	*ret_address = (struct address){.size = sizeof(struct sockaddr_un)};
	ret_address->path.sun_family = AF_UNIX;
	memcpy(ret_address->path.sun_path, path, size);
	return true;
}
