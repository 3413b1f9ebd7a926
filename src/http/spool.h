/*
 * spool.h: bytes that many sockets are sent without being copied for each.
 *
 * A file in memory (memfd_create(2)). What is in it goes to a socket by sendfile(2): the kernel queues
 * references to the file's pages, where send(2) would copy the bytes for every client. Such a page may wait
 * in a socket long after the call, so nothing here is ever overwritten: what is dropped leaves a hole behind,
 * and its pages are freed when the last socket has done with them.
 */
#ifndef CHANGEFEED_HTTP_SPOOL_H
#define CHANGEFEED_HTTP_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"

struct spool {
	int fd;       /* -1: there is none, everything has to be copied */
	uint64_t end; /* all room before it was given away */
};

void spool_init(struct spool *spool);

/* Room for `size` bytes, in pages of its own. Returns where it is. Cannot fail: it takes memory only when it
 * is written. */
uint64_t spool_reserve(struct spool *spool, size_t size);

/* Writes bytes into room that has not been written yet. Returns false out of memory. */
bool spool_write(const struct spool *spool, uint64_t at, struct bytes bytes);

/* Gives room back, as it was reserved. */
void spool_drop(const struct spool *spool, uint64_t at, size_t size);

/*
 * Sends `size` bytes to a socket that does not block, as far as it takes them at once. Returns how many those
 * are, 0 after an error. A socket whose peer is gone raises SIGPIPE, which has to be ignored.
 */
size_t spool_send(const struct spool *spool, uint64_t at, size_t size, int socket);

#endif
