/* direct.c: see direct.h. */
#include "http/direct.h"

#include <sys/socket.h>

#include "http/libh2o.h"

int direct_fd_of(h2o_req_t *req)
{
	h2o_socket_t *socket = request_socket(req);

	if (request_is_http2(req) || socket == NULL || socket->ssl != NULL)
		return -1;
	return h2o_socket_get_fd(socket);
}

size_t direct_send(int fd, struct bytes bytes)
{
	ssize_t sent = send(fd, bytes.data, bytes.size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? 0 : (size_t)sent;
}
