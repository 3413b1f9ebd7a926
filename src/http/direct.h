/*
 * direct.h: writes the bytes of a response to its connection, past libh2o.
 *
 * What a stream over cleartext HTTP/1.1 is sent behind its head goes to the socket as it is: it is not
 * chunked, see stream.c, and not encrypted. The way through libh2o, from h2o_send() to the completion,
 * touches the request, the connection and the socket once more, which are seldom in the processor's cache: it
 * costs an event about as much as everything else that is done for it outside of the kernel.
 */
#ifndef CHANGEFEED_HTTP_DIRECT_H
#define CHANGEFEED_HTTP_DIRECT_H

#include <h2o.h>

#include "core/bytes.h"

/* The descriptor to write to, as long as the request lives. -1: HTTP/2 or TLS, what is sent has to go through
 * libh2o. */
int direct_fd_of(h2o_req_t *req);

/*
 * Writes what the socket takes at once, and returns how many bytes those are. The head of the response must
 * have been sent and no h2o_send() be under way. An error is 0 bytes: libh2o meets it again with the rest.
 */
size_t direct_send(int fd, struct bytes bytes);

#endif
