/*
 * spool.h: bytes that many sockets are sent without being copied for each.
 *
 * They lie in a file in memory (memfd_create(2)), and go to a socket by sendfile(2): the kernel queues
 * references to the file's pages, where send(2) would copy the bytes for every client. Such a page may wait in
 * a socket long after the call, so nothing in the file is ever overwritten, and no part of it is given back:
 * there is a file for each piece of memory, and when it is closed the kernel keeps the pages that wait. (To
 * punch holes into one large file would not do: a hole in a huge page is zeroed in place.)
 */
#ifndef CHANGEFEED_HTTP_SPOOL_H
#define CHANGEFEED_HTTP_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/bytes.h"

/* A descriptor, to be closed with close(2); -1 if there is none to be had. */
int spool_open(void);

/* Writes bytes where none have been written yet. Returns false out of memory. */
bool spool_write(int spool, size_t at, struct bytes bytes);

/*
 * Sends `size` bytes to a socket that does not block, as far as it takes them at once. Returns how many those
 * are, 0 after an error. A socket whose peer is gone raises SIGPIPE, which has to be ignored.
 */
size_t spool_send(int spool, size_t at, size_t size, int socket);

#endif
