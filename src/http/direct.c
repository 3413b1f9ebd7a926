/* direct.c: see direct.h. */
#include "http/direct.h"

#include <sys/socket.h>

int direct_fd_of(h2o_req_t *req)
{
	h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);

	if (req->version >= 0x200 || socket == NULL || socket->ssl != NULL)
		return -1;
	return h2o_socket_get_fd(socket);
}

size_t direct_send(int fd, struct bytes bytes)
{
	ssize_t sent = send(fd, bytes.data, bytes.size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? 0 : (size_t)sent;
}
